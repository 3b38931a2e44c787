/* Pushes as git clients say them: which may pass, and what the others are told. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <string.h>

#include "controller/broker/git_push.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define Z "0000000000000000000000000000000000000000"
#define L "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static struct err err;
static struct git_push push;
static struct buf b;

/* Packets of the lines up to NULL, then a flush; '|' in a line stands for NUL. */
static void lines(const char *const *line)
{
    buf_clear(&b);
    for (; *line; line++) {
        char text[1024];
        size_t n = (size_t)snprintf(text, sizeof(text), "%s", *line);

        for (size_t i = 0; i < n; i++)
            text[i] = text[i] == '|' ? 0 : text[i];
        pkt_put(&b, text, n);
    }
    pkt_flush(&b);
}

static int parse(const char **ret_why)
{
    size_t used = 0;
    int rc = git_push_parse(b.data, b.len, &push, &used, ret_why);

    if (rc == 1)
        assert_int_equal(used, b.len);
    return rc;
}

static const struct {
    const char *lines[4];
    const char *tip;
    const char *words; /* NULL: it passes */
} rows[] = {
    {{Z " " A " refs/heads/creel/1| report-status side-band-64k"}, Z, NULL},
    {{A " " B " refs/heads/creel/1|report-status\n"}, A, NULL},
    {{A " " B " refs/heads/creel/1| atomic report-status-v2"}, A, NULL},
    {{L " " L " refs/heads/creel/1| object-format=sha256 report-status"}, L, NULL},
    {{A " " B " refs/heads/creel/1"}, A, "report-status"},
    {{A " " B " refs/heads/creel/1| atomic xreport-status"}, A, "report-status"},
    {{A " " B " refs/heads/main|x"}, A, "only branch creel/1"},
    {{A " " B " refs/heads/creel/11|x"}, A, "only branch"},
    {{A " " B " refs/heads/creel|x"}, A, "only branch"},
    {{A " " B " refs/tags/creel/1|x"}, A, "only branch"},
    {{A " " B " refs/heads/refs/heads/creel/1|x"}, A, "only branch"},
    {{A " " B " creel/1|x"}, A, "only branch"},
    {{A " " B " HEAD|x"}, A, "only branch"},
    {{A " " Z " refs/heads/creel/1|x"}, A, "deleted"},
    {{A " " B " refs/heads/creel/1|x", A " " B " refs/heads/main"}, A, "only branch"},
    {{A " " B " refs/heads/main|x", A " " B " refs/heads/creel/1"}, A, "only branch"},
    {{A " " B " refs/heads/creel/1|x", A " " B " refs/heads/creel/1"}, A, "one ref"},
    {{A " " B " refs/heads/creel/1|report-status push-options"}, A, "push options"},
    {{A " " B " refs/heads/creel/1|report-status\tpush-options"}, A, "push options"},
    {{A " " B " refs/heads/creel/1|report-status push-options=1"}, A, "push options"},
    {{A " " B " refs/heads/creel/1|report-status push-options\n"}, A, "push options"},
    {{A " " B " refs/heads/creel/1|report-status\r\npush-options\r"}, A, "push options"},
    {{A " " B " refs/heads/creel/1||push-options report-status"}, A, "push options"},
    {{B " " A " refs/heads/creel/1|report-status"}, A, "somebody else"},
    {{Z " " A " refs/heads/creel/1|report-status"}, B, "somebody else"},
    {{A " " B " refs/heads/creel/1|report-status"}, Z, "somebody else"},
    {{A " " B " refs/heads/creel/1|report-status"}, "", "not known"},
};

static void which_pushes(void **state)
{
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int rc;

        lines(rows[i].lines);
        assert_int_equal(parse(&why), 1);
        err = ERR_INIT;
        rc = git_push_judge(&push, "creel/1", rows[i].tip, &err);
        if ((rc == 0) != !rows[i].words || (rc < 0 && !strstr(err.msg, rows[i].words)))
            fail_msg("%s: %d %s", rows[i].lines[0], rc, err.msg);
    }
}

static const struct {
    const char *lines[3];
    const char *words;
} bad[] = {
    {{"shallow " A, Z " " A " refs/heads/creel/1|x"}, "shallow"},
    {{"push-cert|push-options"}, "certificate"},
    {{"push-cert-end"}, "certificate"},
    {{A " " B}, "list of commands"},
    {{A " " B " "}, "list of commands"},
    {{A " " L " refs/heads/creel/1"}, "list of commands"},
    {{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA " B " refs/heads/creel/1"}, "list of commands"},
    {{"aaaa bbbb refs/heads/creel/1"}, "list of commands"},
    {{A " " B " refs/heads/creel/1\tx"}, "plain characters"},
    {{A " " B " refs/heads/creel/1 x"}, "plain characters"},
    {{A " " B " refs/heads/creel/1|x", A " " B " refs/heads/creel/1|y"}, "list of commands"},
    {{""}, "list of commands"},
    {{"|"}, "list of commands"},
};

static void what_is_no_push(void **state)
{
    const char *why = "";

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        lines(bad[i].lines);
        if (parse(&why) != -1 || !strstr(why, bad[i].words))
            fail_msg("%s: %s", bad[i].lines[0], why);
    }
    buf_clear(&b);
    buf_adds(&b, "00zz");
    assert_int_equal(parse(&why), -1);
    buf_clear(&b);
    buf_adds(&b, "0003");
    assert_int_equal(parse(&why), -1);
    buf_clear(&b);
    buf_adds(&b, "fff4");
    assert_int_equal(parse(&why), -1);
    buf_clear(&b); /* git's question before a long push */
    pkt_flush(&b);
    assert_int_equal(parse(&why), 1);
    assert_int_equal(push.n, 0);
}

static void more_bytes_are_needed(void **state)
{
    const char *const line[] = {Z " " A " refs/heads/creel/1| report-status", NULL};
    const char *why = "";
    size_t used;

    (void)state;
    lines(line);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(git_push_parse(b.data, n, &push, &used, &why), 0);
    assert_int_equal(git_push_parse(b.data, b.len, &push, &used, &why), 1);
    buf_clear(&b);
    for (int i = 0; i <= GIT_COMMANDS_MAX; i++)
        pkt_puts(&b, Z " " A " refs/heads/x");
    assert_int_equal(git_push_parse(b.data, b.len, &push, &used, &why), -1);
    assert_non_null(strstr(why, "too many refs"));
}

static void what_a_client_is_told(void **state)
{
    const char *const plain[] = {A " " B " refs/heads/main|report-status", A " " B " refs/tags/v1",
                                 NULL};
    const char *const band[] = {A " " B " refs/heads/main|report-status side-band-64k", NULL};
    const char *why;
    struct buf to;

    (void)state;
    buf_init(&to, 65536);
    lines(plain);
    assert_int_equal(parse(&why), 1);
    assert_int_equal(git_push_refusal(&push, "no", &to), 0);
    assert_string_equal(buf_str(&to), "000eunpack ok\n"
                                      "002eng refs/heads/main creel: not allowed: no\n"
                                      "002bng refs/tags/v1 creel: not allowed: no\n0000");
    assert_false(git_push_taken(to.data, to.len, &push, "refs/heads/main"));
    lines(band);
    assert_int_equal(parse(&why), 1);
    buf_clear(&to);
    assert_int_equal(git_push_refusal(&push, "no", &to), 0);
    assert_memory_equal(buf_str(&to), "0045\001000eunpack ok\n", 19);
    assert_memory_equal(buf_str(&to) + to.len - 8, "00000000", 8);
    buf_done(&to);
}

static void what_a_forge_took(void **state)
{
    static const char plain[] = "000eunpack ok\n0017ok refs/heads/main\n0000";
    static const char band[] = "0012\002hello, remote"
                               "0013\001000eunpack ok\n"
                               "001c\0010017ok refs/heads/main\n00000000";

    (void)state;
    push = (struct git_push){0};
    assert_true(
        git_push_taken((const uint8_t *)plain, sizeof(plain) - 1, &push, "refs/heads/main"));
    assert_false(
        git_push_taken((const uint8_t *)plain, sizeof(plain) - 1, &push, "refs/heads/mai"));
    push.side_band = true;
    assert_true(git_push_taken((const uint8_t *)band, sizeof(band) - 1, &push, "refs/heads/main"));
    for (size_t n = 0; n < sizeof(band) - 13; n++)
        assert_false(git_push_taken((const uint8_t *)band, n, &push, "refs/heads/main"));
    assert_false(git_push_taken((const uint8_t *)"0020\002ok refs/heads/main", 23, &push,
                                "refs/heads/main"));
}

static const struct {
    const char *lines[4]; /* behind "# service=.." and its flush */
    const char *tip;      /* NULL: nothing is known */
} lists[] = {
    {{A " refs/heads/creel/1|caps\n", B " refs/heads/main\n"}, A},
    {{A " refs/heads/main|caps\n", B " refs/heads/creel/1\n"}, B},
    {{A " refs/heads/main|caps\n", B " refs/heads/creel/12\n"}, Z},
    {{Z " capabilities^{}|caps\n"}, Z},
    {{"version 1\n", A " refs/heads/creel/1|caps\n", "shallow " A}, A},
    {{"ERR no such repository\n"}, NULL},
    {{NULL}, NULL},
};

static void where_a_branch_stands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct buf all;

        buf_init(&all, 65536);
        pkt_puts(&all, "# service=git-receive-pack\n");
        pkt_flush(&all);
        lines(lists[i].lines);
        buf_add(&all, b.data, b.len);
        for (size_t step = 1; step <= all.len; step += 7) {
            char tip[GIT_OID_SIZE] = "";
            struct git_tips t;

            git_tips_init(&t, "creel/1");
            for (size_t at = 0; at < all.len; at += step)
                git_tips_feed(&t, all.data + at, all.len - at < step ? all.len - at : step);
            if (git_tips_end(&t, tip) != (lists[i].tip != NULL) ||
                (lists[i].tip && strcmp(tip, lists[i].tip) != 0))
                fail_msg("list %zu by %zu: %s", i, step, tip);
            git_tips_done(&t);
            git_tips_init(&t, "creel/1"); /* cut before its end: nothing is known */
            git_tips_feed(&t, all.data, all.len - 1);
            assert_false(git_tips_end(&t, tip));
            git_tips_done(&t);
        }
        buf_done(&all);
    }
}

static int set_up(void **state)
{
    (void)state;
    buf_init(&b, 1 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_done(&b);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_pushes),          cmocka_unit_test(what_is_no_push),
        cmocka_unit_test(more_bytes_are_needed), cmocka_unit_test(what_a_client_is_told),
        cmocka_unit_test(what_a_forge_took),     cmocka_unit_test(where_a_branch_stands),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
