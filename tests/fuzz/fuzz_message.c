/* Messages from any bytes (the first is the type): what is decoded goes out as one frame that
 * decodes to the same, and a failure names no type. */
#include <string.h>

#include "proto/message.h"
#include "tests/fuzz/fuzz.h"

static void send_and_take(const struct msg *m)
{
    struct err err = ERR_INIT;
    struct msg again;
    struct frame f;
    struct buf one, two;
    size_t used;

    buf_init(&one, FRAME_PAYLOAD_MAX + FRAME_HEAD_BYTES);
    buf_init(&two, FRAME_PAYLOAD_MAX + FRAME_HEAD_BYTES);
    MUST(msg_put(&one, m, &err) == 0);
    MUST(frame_get(one.data, one.len, &f, &used, &err) == 1 && used == one.len);
    MUST(msg_decode(&f, &again, &err) == 0 && again.type == m->type);
    MUST(msg_put(&two, &again, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    msg_done(&again);
    buf_done(&one);
    buf_done(&two);
}

static bool legal_somewhere(enum msg_type type)
{
    bool legal = false;

    for (int c = 0; c < CHANNEL_COUNT; c++)
        legal |= msg_legal(SIDE_CONTROLLER, (enum channel)c, type) ||
                 msg_legal(SIDE_RUNNER, (enum channel)c, type);
    return legal;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct frame f;
    struct msg m;

    if (len == 0 || len > FRAME_PAYLOAD_MAX)
        return 0;
    f = (struct frame){.type = bytes[0], .payload = bytes + 1, .len = len - 1};
    if (msg_decode(&f, &m, &err) == 0) {
        MUST((uint8_t)m.type == bytes[0] && legal_somewhere(m.type));
        send_and_take(&m);
    } else {
        MUST(err.code == ERR_FAIL && err.msg[0] && (int)m.type == 0);
    }
    msg_done(&m);
    return 0;
}
