/* Options: every kind and form, every mistake with its line, defaults from the environment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/opts.h"

struct o {
    bool follow, yes;
    const char *host;
    struct strv tests;
    unsigned slots, calls;
};

static const struct opt table[] = {
    {"follow", 'f', OPT_FLAG, offsetof(struct o, follow), NULL, "keep following", NULL},
    {"yes", 0, OPT_FLAG, offsetof(struct o, yes), NULL, "do not ask", "CREEL_TEST_YES"},
    {"host", 'H', OPT_TEXT, offsetof(struct o, host), "NAME", "which host", "CREEL_TEST_HOST"},
    {"test", 't', OPT_MANY, offsetof(struct o, tests), "CMD", "a test; may be repeated", NULL},
    {"slots", 0, OPT_UINT, offsetof(struct o, slots), "N", "attempts at once", "CREEL_TEST_SLOTS"},
    {"calls", 0, OPT_COUNT, offsetof(struct o, calls), "N", "how many", NULL},
    {0},
};

static struct o o;
static char *rest[32];
static size_t nrest;
static bool help;
static struct err err;

static int run(int stop, ...)
{
    char *argv[32] = {(char *)(uintptr_t) "prog"};
    int argc = 1;
    va_list ap;
    va_start(ap, stop);
    for (char *a; (a = va_arg(ap, char *)); argc++)
        argv[argc] = a;
    va_end(ap);
    strv_done(&o.tests);
    o = (struct o){0};
    err = ERR_INIT;
    nrest = 0;
    help = false;
    return opts_parse(table, argc, argv, &o, stop != 0, rest, &nrest, &help, &err);
}

#define RUN(...)  run(0, __VA_ARGS__, NULL)
#define STOP(...) run(1, __VA_ARGS__, NULL)

static void assert_usage(int r, const char *part)
{
    assert_int_equal(r, -ERR_USAGE);
    if (!strstr(err.msg, part))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, part);
}

static void every_form(void **state)
{
    assert_int_equal(
        RUN("-f", "--host", "a", "--test=make check", "-t", "x", "pos", "--slots=7", "-"), 0);
    assert_true(o.follow);
    assert_false(o.yes);
    assert_string_equal(o.host, "a");
    assert_int_equal(o.tests.n, 2);
    assert_string_equal(o.tests.v[0], "make check");
    assert_string_equal(o.tests.v[1], "x");
    assert_int_equal(o.slots, 7);
    assert_int_equal(nrest, 2);
    assert_string_equal(rest[0], "pos");
    assert_string_equal(rest[1], "-");
    assert_null(rest[2]);
    assert_int_equal(RUN("--host=", "-f", "--follow"), 0); /* an empty value; a flag twice */
    assert_string_equal(o.host, "");
    assert_int_equal(RUN("--test", "--yes"), 0); /* a value may look like an option */
    assert_string_equal(o.tests.v[0], "--yes");
}

static void where_options_end(void **state)
{
    assert_int_equal(RUN("a", "-f", "--", "-H", "--x"), 0);
    assert_true(o.follow);
    assert_int_equal(nrest, 3);
    assert_string_equal(rest[1], "-H");
    assert_int_equal(STOP("-f", "ls", "-l", "--", "x"), 0);
    assert_int_equal(nrest, 4);
    assert_string_equal(rest[1], "-l");
    assert_string_equal(rest[2], "--");
    assert_int_equal(STOP("--", "-f", "--help"), 0);
    assert_false(o.follow);
    assert_false(help);
    assert_int_equal(nrest, 2);
}

static void mistakes_have_their_line(void **state)
{
    assert_usage(RUN("--hots", "x"), "unknown option --hots; did you mean --host?");
    assert_usage(RUN("--tests=x"), "did you mean --test?");
    assert_usage(RUN("--zzzzzzzz"), "unknown option --zzzzzzzz; see --help");
    assert_usage(RUN("-z"), "unknown option -z");
    assert_usage(RUN("-fz"), "unknown option -fz");
    assert_usage(RUN("--host"), "--host needs a value: --host NAME");
    assert_usage(RUN("-H"), "-H needs a value");
    assert_usage(RUN("--host", "a", "-H", "b"), "-H is given twice");
    assert_usage(RUN("--slots=1", "--slots=1"), "--slots is given twice");
    assert_usage(RUN("--follow=1"), "--follow takes no value");
    assert_usage(RUN("--no-follow"), "unknown option --no-follow"); /* no variable sets it */
    assert_usage(RUN("--no-host"), "unknown option");
    static const char *const bad[] = {"",    "-1",         "+1",          " 1", "1 ",
                                      "0x1", "4294967296", "99999999999", "1.0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_usage(RUN("--slots", bad[i]), "is not a whole number");
    assert_int_equal(RUN("--slots", "4294967295"), 0);
    assert_true(o.slots == 4294967295u);
    assert_int_equal(RUN("--slots", "0", "--calls", "1"), 0);
    assert_true(o.calls == 1);
    assert_usage(RUN("--calls", "0"), "is not a whole number above 0"); /* not: the default */
    char longer[400];
    memset(longer, 'q', sizeof(longer));
    memcpy(longer, "--", 2);
    longer[sizeof(longer) - 1] = 0;
    assert_usage(RUN(longer), "unknown option --qqq");
}

static void environment_gives_defaults(void **state)
{
    setenv("CREEL_TEST_YES", "1", 1);
    setenv("CREEL_TEST_HOST", "fromenv", 1);
    setenv("CREEL_TEST_SLOTS", "3", 1);
    assert_int_equal(RUN("x"), 0);
    assert_true(o.yes);
    assert_string_equal(o.host, "fromenv");
    assert_int_equal(o.slots, 3);
    assert_int_equal(RUN("--no-yes", "--host", "cli", "--slots=9"), 0);
    assert_false(o.yes);
    assert_string_equal(o.host, "cli");
    assert_int_equal(o.slots, 9);
    setenv("CREEL_TEST_YES", "off", 1);
    assert_int_equal(RUN("x"), 0);
    assert_false(o.yes);
    setenv("CREEL_TEST_YES", "maybe", 1);
    assert_usage(RUN("x"), "CREEL_TEST_YES");
    assert_int_equal(RUN("--yes"), 0); /* given: the variable is not looked at */
    setenv("CREEL_TEST_YES", "", 1);
    setenv("CREEL_TEST_SLOTS", "many", 1);
    assert_usage(RUN("x"), "CREEL_TEST_SLOTS: \"many\"");
    assert_int_equal(RUN("--help"), 0); /* help is there even then */
    assert_true(help);
    unsetenv("CREEL_TEST_YES");
    unsetenv("CREEL_TEST_HOST");
    unsetenv("CREEL_TEST_SLOTS");
}

static void help_comes_from_the_rows(void **state)
{
    struct buf b;
    assert_int_equal(RUN("--help"), 0);
    assert_true(help);
    assert_int_equal(RUN("-h"), 0);
    assert_true(help);
    buf_init(&b, 4096);
    assert_int_equal(opts_help(table, &b), 0);
    assert_string_equal(buf_str(&b), "  -f, --follow     keep following\n"
                                     "      --yes        do not ask [CREEL_TEST_YES]\n"
                                     "  -H, --host NAME  which host [CREEL_TEST_HOST]\n"
                                     "  -t, --test CMD   a test; may be repeated\n"
                                     "      --slots N    attempts at once [CREEL_TEST_SLOTS]\n"
                                     "      --calls N    how many\n"
                                     "  -h, --help       show this\n");
    buf_done(&b);
    strv_done(&o.tests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),
        cmocka_unit_test(where_options_end),
        cmocka_unit_test(mistakes_have_their_line),
        cmocka_unit_test(environment_gives_defaults),
        cmocka_unit_test(help_comes_from_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
