/* The signed task from any bytes: what is read satisfies task_check, is written in one form, and
 * that form reads back to itself. */
#include <string.h>

#include "proto/task.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct task t, again;
    struct buf one, two;

    if (task_decode(bytes, len, &t, &err) < 0) {
        MUST(err.code != ERR_NONE && err.msg[0]);
        MUST(t.command.n == 0 && t.id[0] == 0 && t.policy.egress.n == 0);
        return 0;
    }
    MUST(task_check(&t, &err) == 0 && t.command.n > 0);
    MUST(t.exp - t.iat <= TASK_LIFE_MAX_S && id_valid(t.id));
    buf_init(&one, JSON_BYTES_MAX);
    buf_init(&two, JSON_BYTES_MAX);
    MUST(task_encode(&t, &one, &err) == 0);
    MUST(task_decode(one.data, one.len, &again, &err) == 0);
    MUST(task_encode(&again, &two, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    task_done(&t);
    task_done(&again);
    buf_done(&one);
    buf_done(&two);
    return 0;
}
