/* Frames from any bytes: lengths stay within what was given, what was read is written back the same,
 * and a reader that gets the bytes in two pieces sees what one that gets them at once sees. */
#include <string.h>

#include "proto/frame.h"
#include "tests/fuzz/fuzz.h"

static void messages(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct buf again;
    size_t at = 0, used = 0;
    struct frame f;
    int r;
    buf_init(&again, len);
    while ((r = frame_get(bytes + at, len - at, &f, &used, &err)) == 1) {
        MUST(used == FRAME_HEAD_BYTES + f.len && used <= len - at && f.len <= FRAME_PAYLOAD_MAX);
        MUST(frame_get(bytes + at, used - 1, &f, &used, &err) == 0);
        MUST(frame_put(&again, f.type, f.payload, f.len) == 0);
        at += used;
    }
    MUST(r == 0 || err.code == ERR_FAIL);
    MUST(again.len == at && memcmp(again.data, bytes, at) == 0);
    buf_done(&again);
}

static void logs(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct buf again;
    size_t at = 0, used = 0;
    struct log_frame f;
    int r;
    buf_init(&again, len);
    while ((r = log_frame_get(bytes + at, len - at, &f, &used, &err)) == 1) {
        MUST(used == LOG_FRAME_HEAD_BYTES + f.len && used <= len - at && f.len <= LOG_PAYLOAD_MAX);
        MUST(log_frame_get(bytes + at, used - 1, &f, &used, &err) == 0);
        MUST(log_frame_put(&again, f.stream, f.at_us, f.payload, f.len) == 0);
        at += used;
    }
    MUST(r == 0 || err.code == ERR_FAIL);
    MUST(again.len == at && memcmp(again.data, bytes, at) == 0);
    buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    messages(bytes, len);
    logs(bytes, len);
    return 0;
}
