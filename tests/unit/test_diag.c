/* Diagnostics: one line, by level, and nothing hostile in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/diag.h"

/* What diag() wrote on stderr, through a pipe put in its place. */
#define SAID(to, level, ...)                                     \
    do {                                                         \
        int fds[2], keep = dup(STDERR_FILENO);                   \
        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0); \
        assert_true(dup2(fds[1], STDERR_FILENO) >= 0);           \
        errno = ENOENT;                                          \
        diag(level, __VA_ARGS__);                                \
        assert_int_equal(errno, ENOENT);                         \
        dup2(keep, STDERR_FILENO);                               \
        close(keep);                                             \
        ssize_t got = read(fds[0], (to), sizeof(to) - 1);        \
        (to)[got > 0 ? got : 0] = 0;                             \
        close(fds[0]);                                           \
        close(fds[1]);                                           \
    } while (0)

static void lines_by_level(void **state)
{
    char text[256];
    diag_init("creel", DIAG_INFO);
    SAID(text, DIAG_ERROR, "no %s", "host");
    assert_string_equal(text, "creel: error: no host\n");
    SAID(text, DIAG_WARN, "w");
    assert_string_equal(text, "creel: warning: w\n");
    SAID(text, DIAG_INFO, "%d tasks", 3);
    assert_string_equal(text, "creel: 3 tasks\n");
    SAID(text, DIAG_DEBUG, "d");
    assert_string_equal(text, "");
    diag_init("creel-runner", DIAG_DEBUG);
    SAID(text, DIAG_DEBUG, "d");
    assert_string_equal(text, "creel-runner: debug: d\n");
}

static void hostile_text_is_neutral_and_bounded(void **state)
{
    char text[32768], longer[5000];
    diag_init("creel", DIAG_INFO);
    SAID(text, DIAG_ERROR, "%s", "\x1b[2J\nfake: line\xe2\x80\xae");
    assert_string_equal(text, "creel: error: \\x1b[2J\\x0afake: line\\u{202e}\n");
    memset(longer, 1, sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    SAID(text, DIAG_INFO, "%s", longer);
    assert_int_equal(strlen(text), strlen("creel: ") + 4 * 2044 + strlen("...\n"));
    assert_non_null(strstr(text, "\\x01...\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_by_level),
        cmocka_unit_test(hostile_text_is_neutral_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
