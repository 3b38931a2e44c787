/* Agents' event streams, as the real agents printed them (tests/fixtures/agents/NAME.jsonl), come out as
 * lines for people (NAME.txt), whatever the split; and what is no event comes out as itself, harmless. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cm.h"

#include "common/file.h"
#include "controller/events/event_stream.h"
#include "controller/events/event_json.h"
#include "proto/json.h"

#define FILE_MAX (1u << 20)

static struct buf shown(enum agent_events format, const void *bytes, size_t n, size_t step)
{
    struct event_stream *a = event_stream_new(format);
    struct buf out;

    assert_non_null(a);
    buf_init(&out, 64u << 20);
    for (size_t at = 0; at < n; at += step)
        assert_int_equal(
            event_stream_feed(a, (const uint8_t *)bytes + at, n - at < step ? n - at : step, &out),
            0);
    assert_int_equal(event_stream_end(a, &out), 0);
    event_stream_free(a);
    return out;
}

static void assert_shown(enum agent_events format, const char *text, const char *want)
{
    struct buf out = shown(format, text, strlen(text), strlen(text) + 1);

    assert_string_equal(buf_str(&out), want);
    buf_done(&out);
}

static void slurp(const char *name, const char *suffix, struct buf *to)
{
    struct buf path;
    struct err err = ERR_INIT;

    buf_init(&path, 4096);
    buf_addf(&path, "%s/tests/fixtures/agents/%s%s", SOURCE_ROOT, name, suffix);
    buf_init(to, FILE_MAX);
    if (file_read(AT_FDCWD, buf_str(&path), to, &err) < 0)
        fail_msg("%s", err.msg);
    buf_done(&path);
}

static const struct {
    const char *name;
    enum agent_events format;
} samples[] = {
    {"codex", AGENT_CODEX_JSON},          {"codex-refused", AGENT_CODEX_JSON},
    {"claude", AGENT_CLAUDE_STREAM_JSON}, {"claude-refused", AGENT_CLAUDE_STREAM_JSON},
    {"opencode", AGENT_OPENCODE_JSON},    {"opencode-refused", AGENT_OPENCODE_JSON},
    {"openclaw", AGENT_OPENCLAW_JSON},
};

static void test_real_streams(void **state)
{
    static const size_t steps[] = {1, 7, 4096, FILE_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(*samples); i++) {
        struct buf in, want;

        slurp(samples[i].name, ".jsonl", &in);
        slurp(samples[i].name, ".txt", &want);
        for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++) {
            struct buf out = shown(samples[i].format, in.data, in.len, steps[k]);

            assert_string_equal(buf_str(&out), buf_str(&want));
            buf_done(&out);
        }
        buf_done(&in);
        buf_done(&want);
    }
}

static void test_other_lines(void **state)
{
    (void)state;
    assert_shown(AGENT_CODEX_JSON, "plain words\n\n{\"type\":\"new.kind\"}\nlast",
                 "plain words\n\n{\"type\":\"new.kind\"}\nlast\n");
    /* Nearly events: each stays the line that it is. */
    assert_shown(AGENT_CODEX_JSON, "{\"type\":\"error\",\"message\":3}\n",
                 "{\"type\":\"error\",\"message\":3}\n");
    assert_shown(AGENT_CODEX_JSON, "{\"type\":\"error\",\"type\":\"error\",\"message\":\"x\"}\n",
                 "{\"type\":\"error\",\"type\":\"error\",\"message\":\"x\"}\n");
    assert_shown(AGENT_CLAUDE_STREAM_JSON,
                 "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"odd\"}]}}\n",
                 "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"odd\"}]}}\n");
    assert_shown(AGENT_OPENCLAW_JSON, "{\nnot json\n}\nafter\n", "{\nnot json\n}\nafter\n");
}

/* A tool without a name or arguments, as none calls it. */
static void test_nothing_said(void **state)
{
    (void)state;
    assert_shown(AGENT_CODEX_JSON,
                 "{\"type\":\"item.started\",\"item\":{\"type\":\"mcp_tool_call\"}}\n", "uses\n");
}

static void test_harmless(void **state)
{
    (void)state;
    assert_shown(AGENT_CODEX_JSON, "a\x1b[2Jb\xff\n", "a\\x1b[2Jb\\xff\n");
    assert_shown(
        AGENT_CODEX_JSON,
        "{\"type\":\"error\",\"message\":\"\\u001b]0;t\\u0007 \\u202e\\r\\nnext\\u0000\"}\n",
        "{\"type\":\"error\",\"message\":\"\\u001b]0;t\\u0007 \\u202e\\r\\nnext\\u0000\"}\n");
    assert_shown(AGENT_CODEX_JSON,
                 "{\"type\":\"error\",\"message\":\"\\u001b]0;t\\u0007 \\u202e\\r\\nnext\"}\n",
                 "error  \\x1b]0;t\\x07 \\u{202e}\\x0d\n       next\n");
}

static void test_output_is_short(void **state)
{
    struct buf in, out;

    (void)state;
    buf_init(&in, FILE_MAX);
    buf_adds(&in,
             "{\"type\":\"item.completed\",\"item\":{\"type\":\"command_execution\",\"exit_code\":"
             "null,\"aggregated_output\":\"");
    for (int i = 1; i <= 50; i++)
        buf_addf(&in, "%d\\n", i);
    buf_adds(&in, "\"}}\n");
    out = shown(AGENT_CODEX_JSON, in.data, in.len, in.len);
    assert_non_null(strstr(buf_str(&out), "     | 20\n     | ... 30 more lines\n"));
    assert_null(strstr(buf_str(&out), "| 21"));
    buf_done(&in);
    buf_done(&out);
}

static void test_long_line(void **state)
{
    size_t n = 3 * EVENTS_LINE_MAX;
    char *in = malloc(n + 6);

    (void)state;
    assert_non_null(in);
    memset(in, 'x', n);
    memcpy(in + n, "\nnext\n", 6);
    for (size_t step = 1000; step < 2 * n; step *= 60) {
        struct buf out = shown(AGENT_CODEX_JSON, in, n + 6, step);

        assert_true(out.len > 4096 && out.len < 5000);
        assert_non_null(strstr(buf_str(&out), "--raw has all of it)\nnext\n"));
        buf_done(&out);
    }
    free(in);
}

static struct event_value value(const char *text)
{
    struct err err;

    assert_int_equal(json_check(text, strlen(text), &err), 0);
    return event_value_of(text, strlen(text));
}

static void assert_text(struct event_value v, const char *want)
{
    struct buf b;

    buf_init(&b, 1000);
    assert_true(event_text(v, &b));
    assert_string_equal(buf_str(&b), want);
    buf_done(&b);
}

static void test_spans(void **state)
{
    struct event_value v =
        value(" {\"a\" : [ 1 , {\"x]\":\"}\"},\"s\\\"\",[ ] ] ,\n\"b\":{\"c\":"
              "\"\\u00e9\\ud83d\\ude00\\\\n\"},\"t\":true,\"n\":18446744073709551616} ");
    struct event_value it = {0};
    struct buf b;
    uint64_t n = 0;

    (void)state;
    assert_true(event_next(event_at(v, "a"), &it) && event_uint(it, &n));
    assert_int_equal(n, 1);
    assert_true(event_next(event_at(v, "a"), &it));
    assert_text(event_at(it, "x]"), "}");
    assert_true(event_next(event_at(v, "a"), &it));
    assert_text(it, "s\"");
    assert_true(event_next(event_at(v, "a"), &it) && it.len == 3);
    assert_false(event_next(event_at(v, "a"), &it));
    assert_text(event_at(v, "b.c"), "\xc3\xa9\xf0\x9f\x98\x80\\n");
    assert_true(event_true(event_at(v, "t")));
    assert_false(event_uint(event_at(v, "n"), &n));
    assert_null(event_at(v, "b.c.d").at);
    assert_null(event_at(v, "zz").at);
    buf_init(&b, 10);
    assert_false(event_text(event_at(v, "b"), &b));
    assert_false(event_text(event_at(v, "absent"), &b));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_streams),    cmocka_unit_test(test_other_lines),
        cmocka_unit_test(test_harmless),        cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_output_is_short), cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_spans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
