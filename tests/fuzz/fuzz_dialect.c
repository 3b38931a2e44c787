/* Requests of model calls from any bytes (the first one says in which dialect): what passes is strict
 * JSON, bounded, capped, and passes again as it is. */
#include <string.h>

#include "controller/broker/dialect.h"
#include "proto/json_view.h"
#include "tests/fuzz/fuzz.h"

#define CAP 5000

static const struct json_bounds bounds = {
    .bytes = CALL_BODY_MAX, .items = 1 << 20, .loose_escapes = true};
static const struct strv none;
static const struct call_rules rules = {
    .models = &none, .more_models = &none, .hosted_tools = &none, .output_tokens = CAP};

static void check_capped(struct json_view request, uint64_t cap)
{
    static const char *const names[] = {"max_output_tokens", "max_completion_tokens", "max_tokens"};
    struct json_view v;
    uint64_t n, most = 0;
    int found = 0;

    for (size_t i = 0; i < 3; i++) {
        if (!json_view_get(request, names[i], &v))
            continue;
        MUST(json_view_u64(v, &n) && n <= CAP);
        most = n > most ? n : most;
        found++;
    }
    MUST(found > 0 && most == cap && cap <= CAP);
}

static void check_sent(const struct buf *sent)
{
    static const char *const never[] = {"background",
                                        "previous_response_id",
                                        "client_metadata",
                                        "mcp_servers",
                                        "metadata",
                                        "container",
                                        "audio",
                                        "prediction",
                                        "user"};
    struct json_view request = json_view_root(sent->data, sent->len), v;
    struct err err = ERR_INIT;

    MUST(json_check_within(sent->data, sent->len, &bounds, &err) == 0);
    MUST(json_view_type(request) == '{' && json_view_get(request, "model", &v));
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        MUST(!json_view_get(request, never[i], &v));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct call_ask ask = {0}, again = {0};
    struct err err = ERR_INIT;
    struct buf sent, same;
    const struct dialect *d;

    if (len == 0)
        return 0;
    d = dialect_of(bytes[0] % DIALECT_COUNT);
    buf_init(&sent, len + CALL_SENT_EXTRA);
    buf_init(&same, len + 2 * CALL_SENT_EXTRA);
    if (dialect_request(d, &rules, bytes + 1, len - 1, &ask, &sent, &err) != 0) {
        MUST(err.code == ERR_REFUSED && err.msg[0] && sent.len == 0);
    } else {
        check_sent(&sent);
        check_capped(json_view_root(sent.data, sent.len), ask.output_cap);
        MUST(ask.input_bound >= sent.len && ask.model[0]);
        MUST(dialect_request(d, &rules, sent.data, sent.len, &again, &same, &err) == 0);
        MUST(same.len == sent.len && memcmp(same.data, sent.data, same.len) == 0);
        MUST(memcmp(again.fingerprint, ask.fingerprint, 32) == 0 && !again.left_out[0]);
        MUST(again.output_cap == ask.output_cap && again.stream == ask.stream);
    }
    buf_done(&sent);
    buf_done(&same);
    return 0;
}
