/* Answers of model APIs: usage, their end, what they said; cut anywhere, fed in any pieces. */
#include "tests/unit/cm.h"

#include <string.h>

#include "controller/broker/dialect.h"

static struct err err;

/* Feeds `text` in pieces of `step` bytes (0: at once). */
static int meter(enum dialect_id id, bool stream, const char *text, size_t n, size_t step,
                 struct meter_end *end)
{
    struct meter *m = meter_new(dialect_of(id), stream);
    int rc = 0;

    assert_non_null(m);
    err = ERR_INIT;
    if (step == 0)
        step = n;
    for (size_t at = 0; rc == 0 && at < n; at += step)
        rc = meter_feed(m, text + at, n - at < step ? n - at : step, &err);
    meter_finish(m, end);
    meter_free(m);
    return rc;
}

static const char responses_stream[] =
    "event: response.created\n"
    "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\","
    "\"usage\":null}}\n\n"
    "event: response.output_text.delta\n"
    "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Fix\"}\n\n"
    "event: response.output_item.done\n"
    "data: "
    "{\"type\":\"response.output_item.done\",\"item\":{\"type\":\"function_call\",\"call_id\":"
    "\"c1\",\"name\":\"exec_command\",\"arguments\":\"{\\\"cmd\\\":\\\"ls\\\"}\"}}\n\n"
    "event: response.completed\n"
    "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\","
    "\"usage\":{\"input_tokens\":1200,\"input_tokens_details\":{\"cached_tokens\":200},"
    "\"output_tokens\":40,\"output_tokens_details\":{\"reasoning_tokens\":10},"
    "\"total_tokens\":1240}}}\n\n";

static const char chat_stream[] =
    ": keep-alive\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Fix\"}}]}\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":"
    "{\"name\":\"bash\",\"arguments\":\"{}\"}}]}}]}\r\n\r\n"
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":null}\r\n\r\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":900,\"completion_tokens\":30,"
    "\"total_tokens\":930,\"prompt_tokens_details\":{\"cached_tokens\":100}}}\r\n\r\n"
    "data: [DONE]\r\n\r\n";

static const char messages_stream[] =
    "event: message_start\r"
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":100,"
    "\"cache_creation_input_tokens\":70,\"cache_read_input_tokens\":3000,\"cache_creation\":"
    "{\"ephemeral_5m_input_tokens\":20,\"ephemeral_1h_input_tokens\":50},\"output_tokens\":1}}}\r\r"
    "event: ping\rdata: {\"type\":\"ping\"}\r\r"
    "event: content_block_start\r"
    "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\","
    "\"id\":\"toolu_1\",\"name\":\"Bash\",\"input\":{}}}\r\r"
    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_json_delta\","
    "\"partial_json\":\"{\\\"a\\\"\"}}\r\r"
    "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_json_delta\","
    "\"partial_json\":\":1}\"}}\r\r"
    "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\r\r"
    "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":25}}\r\r"
    "event: message_stop\rdata: {\"type\":\"message_stop\"}\r\r";

static const struct stream {
    enum dialect_id id;
    const char *text;
    size_t n;
    struct usage usage;
} streams[] = {
    {DIALECT_RESPONSES, responses_stream, sizeof(responses_stream) - 1, {1000, 200, 0, 0, 40}},
    {DIALECT_CHAT, chat_stream, sizeof(chat_stream) - 1, {800, 100, 0, 0, 30}},
    {DIALECT_MESSAGES, messages_stream, sizeof(messages_stream) - 1, {100, 3000, 20, 50, 25}},
};
#define STREAMS (sizeof(streams) / sizeof(streams[0]))

static void is_whole(const struct meter_end *end, const struct usage *u)
{
    assert_true(end->complete && !end->failed && end->have_usage);
    assert_int_equal(end->usage.input, u->input);
    assert_int_equal(end->usage.cache_read, u->cache_read);
    assert_int_equal(end->usage.cache_write, u->cache_write);
    assert_int_equal(end->usage.cache_write_1h, u->cache_write_1h);
    assert_int_equal(end->usage.output, u->output);
}

static void in_any_pieces(void **state)
{
    struct meter_end first, end;

    (void)state;
    for (size_t i = 0; i < STREAMS; i++) {
        const struct stream *s = &streams[i];

        assert_int_equal(meter(s->id, true, s->text, s->n, 0, &first), 0);
        is_whole(&first, &s->usage);
        for (size_t step = 1; step < 100; step++) {
            assert_int_equal(meter(s->id, true, s->text, s->n, step, &end), 0);
            assert_memory_equal(&first, &end, sizeof(end));
        }
    }
}

/* Before the dialect's own end nothing is whole, however much was there. */
static void cut_anywhere(void **state)
{
    struct meter_end end;

    (void)state;
    for (size_t i = 0; i < STREAMS; i++) {
        const struct stream *s = &streams[i];

        for (size_t n = 0; n < s->n - 3; n++) {
            meter(s->id, true, s->text, n, 0, &end);
            if (end.complete)
                fail_msg("%s is whole after %zu of %zu bytes", dialect_names[s->id], n, s->n);
        }
    }
}

static void what_was_said(void **state)
{
    static const char one[] = "data: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}]}\n\n"
                              "data: {\"choices\":[{\"delta\":{\"content\":\"c\"}}]}\n\n";
    static const char same[] = "data: {\"id\":\"other\",\"created\":7,\"choices\":[{\"delta\":"
                               "{\"content\":\"a\"}}]}\n\n"
                               "data: {\"choices\":[{\"delta\":{\"content\":\"bc\"}}]}\n\n";
    static const char other[] = "data: {\"choices\":[{\"delta\":{\"content\":\"abd\"}}]}\n\n";
    static const char none[] = "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n";
    static const uint8_t zero[32];
    struct meter_end a, b;

    (void)state;
    meter(DIALECT_CHAT, true, one, sizeof(one) - 1, 0, &a);
    meter(DIALECT_CHAT, true, same, sizeof(same) - 1, 0, &b);
    assert_memory_equal(a.fingerprint, b.fingerprint, 32);
    meter(DIALECT_CHAT, true, other, sizeof(other) - 1, 0, &b);
    assert_memory_not_equal(a.fingerprint, b.fingerprint, 32);
    meter(DIALECT_CHAT, true, none, sizeof(none) - 1, 0, &b);
    assert_memory_equal(b.fingerprint, zero, 32);
}

static const struct {
    enum dialect_id id;
    bool stream;
    const char *text;
    bool complete, failed, have_usage;
    uint64_t input, output;
} rows[] = {
    {DIALECT_RESPONSES, false,
     "{\"object\":\"response\",\"status\":\"completed\",\"error\":null,\"output\":[{\"type\":"
     "\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"x\"}]}],\"usage\":"
     "{\"input_tokens\":10,\"output_tokens\":5,\"total_tokens\":15}}",
     true, false, true, 10, 5},
    {DIALECT_RESPONSES, false, "{\"status\":\"in_progress\"}", false, false, false, 0, 0},
    {DIALECT_RESPONSES, false, "{\"error\":{\"message\":\"x\"}}", true, true, false, 0, 0},
    {DIALECT_RESPONSES, true,
     "data: {\"type\":\"response.incomplete\",\"response\":{\"status\":\"incomplete\",\"usage\":"
     "{\"input_tokens\":10,\"output_tokens\":5}}}\n\n",
     true, false, true, 10, 5},
    {DIALECT_RESPONSES, true,
     "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"usage\":null}}\n\n",
     true, true, false, 0, 0},
    {DIALECT_RESPONSES, true, "event: error\ndata: {\"type\":\"error\",\"message\":\"x\"}\n\n",
     true, true, false, 0, 0},
    /* all zero, no output though something was said, nonsense: as good as nothing */
    {DIALECT_CHAT, false,
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}", true, false, false,
     0, 0},
    {DIALECT_CHAT, false,
     "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":9,"
     "\"completion_tokens\":0}}",
     true, false, false, 0, 0},
    {DIALECT_CHAT, false, "{\"choices\":[],\"usage\":{\"prompt_tokens\":9}}", true, false, false, 0,
     0},
    {DIALECT_CHAT, false,
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":-9,\"completion_tokens\":1}}", true, false,
     false, 0, 0},
    {DIALECT_CHAT, false,
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":9e1,\"completion_tokens\":1}}", true, false,
     false, 0, 0},
    {DIALECT_CHAT, false,
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":18446744073709551615,\"completion_tokens\":1}}",
     true, false, false, 0, 0},
    {DIALECT_CHAT, false,
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,"
     "\"prompt_tokens_details\":{\"cached_tokens\":10}}}",
     true, false, false, 0, 0},
    {DIALECT_CHAT, false, "{\"choices\":[],\"usage\":7}", true, false, false, 0, 0},
    /* reasoning that is only in the total */
    {DIALECT_CHAT, false,
     "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"total_tokens\":50}}",
     true, false, true, 9, 41},
    {DIALECT_CHAT, true, "data: {\"error\":{\"message\":\"x\"}}\n\n", true, true, false, 0, 0},
    /* the largest counts */
    {DIALECT_CHAT, true,
     "data: {\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":7}}\n\n"
     "data: {\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
     true, false, true, 9, 7},
    {DIALECT_CHAT, true, "data: [DONE]\n", true, false, false, 0, 0},
    {DIALECT_CHAT, true, "data:[DONE]\n\n", true, false, false, 0, 0},
    {DIALECT_CHAT, true, "data: [DONE]", false, false, false, 0, 0},
    {DIALECT_CHAT, true, "event: [DONE]\n\n", false, false, false, 0, 0},
    {DIALECT_CHAT, true, "data: {\"a\":\ndata: 1}\n\ndata: [DONE]\n\n", true, false, false, 0, 0},
    {DIALECT_CHAT, true, "data: {\"a\":\r\ndata: 1}\r\n\r\ndata: [DONE]\r\n", true, false, false, 0,
     0},
    {DIALECT_CHAT, true,
     "\xef\xbb\xbf"
     "data: [DONE]\n\n",
     true, false, false, 0, 0},
    {DIALECT_MESSAGES, false,
     "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"usage\":"
     "{\"input_tokens\":10,\"output_tokens\":5}}",
     true, false, true, 10, 5},
    {DIALECT_MESSAGES, false, "{\"type\":\"error\",\"error\":{}}", true, true, false, 0, 0},
    {DIALECT_MESSAGES, true, "event: error\ndata: {\"type\":\"error\",\"error\":{}}\n\n", true,
     true, false, 0, 0},
    /* the beginning alone tells no output */
    {DIALECT_MESSAGES, true,
     "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,"
     "\"output_tokens\":5}}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
     true, false, false, 0, 0},
    {DIALECT_MESSAGES, false, "no JSON", false, false, false, 0, 0},
};

static void the_table(void **state)
{
    struct meter_end end;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (meter(rows[i].id, rows[i].stream, rows[i].text, strlen(rows[i].text), 0, &end) != 0)
            fail_msg("%s\n%s", rows[i].text, err.msg);
        if (end.complete != rows[i].complete || end.failed != rows[i].failed ||
            end.have_usage != rows[i].have_usage || end.usage.input != rows[i].input ||
            end.usage.output != rows[i].output)
            fail_msg("%s\ncomplete %d failed %d usage %d input %llu output %llu", rows[i].text,
                     end.complete, end.failed, end.have_usage, (unsigned long long)end.usage.input,
                     (unsigned long long)end.usage.output);
    }
}

static void what_is_no_answer(void **state)
{
    struct meter *m = meter_new(dialect_of(DIALECT_CHAT), true);
    static const char x[4096] = "data: ";
    char lines[4096];
    struct meter_end end;
    int rc = 0;

    (void)state;
    assert_says(meter(DIALECT_CHAT, true, "data: {\n\n", 9, 0, &end), "not JSON");
    err = ERR_INIT;
    for (size_t n = 0; rc == 0 && n <= CALL_EVENT_MAX; n += sizeof(x))
        rc = meter_feed(m, x, sizeof(x), &err);
    assert_int_equal(rc, -ERR_REFUSED);
    assert_non_null(strstr(err.msg, "too long"));
    meter_free(m);
    m = meter_new(dialect_of(DIALECT_CHAT), true);
    rc = 0;
    memset(lines, '\n', sizeof(lines));
    for (size_t n = 0; rc == 0 && n <= CALL_ANSWER_MAX; n += sizeof(lines))
        rc = meter_feed(m, lines, sizeof(lines), &err);
    assert_int_equal(rc, -ERR_REFUSED);
    assert_non_null(strstr(err.msg, "MiB"));
    meter_free(m);
}

/* What the broker itself says at a stream's end is understood as a failure. */
static void our_own_failure(void **state)
{
    struct meter_end end;
    struct buf b;

    (void)state;
    buf_init(&b, 8192);
    for (size_t i = 0; i < STREAMS; i++) {
        buf_clear(&b);
        assert_int_equal(
            dialect_failure(dialect_of(streams[i].id), "budget: \"it\" is\nused up", &b), 0);
        assert_int_equal(meter(streams[i].id, true, buf_str(&b), b.len, 0, &end), 0);
        assert_true(end.complete && end.failed && !end.have_usage);
    }
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_any_pieces),     cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(what_was_said),     cmocka_unit_test(the_table),
        cmocka_unit_test(what_is_no_answer), cmocka_unit_test(our_own_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
