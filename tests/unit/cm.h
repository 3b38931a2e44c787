/* cmocka with what it needs before it, and the two checks that most tests of ours use. */
#ifndef TESTS_UNIT_CM_H
#define TESTS_UNIT_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The call succeeds, or its error's text is shown. Needs `struct err err` in scope. */
#define assert_ok(call)                         \
    do {                                        \
        err = ERR_INIT;                         \
        if ((call) != 0)                        \
            fail_msg("%s: %s", #call, err.msg); \
    } while (0)

/* The call fails and its error's text holds `words`. */
#define assert_says(call, words)                                            \
    do {                                                                    \
        err = ERR_INIT;                                                     \
        if ((call) >= 0)                                                    \
            fail_msg("%s: passed, but should say \"%s\"", #call, words);    \
        if (!strstr(err.msg, words))                                        \
            fail_msg("%s: says \"%s\", not \"%s\"", #call, err.msg, words); \
    } while (0)

#endif
