/* Prints the system call tables for a person who wants to know what a jail may do, and why. */
#include "runner/seccomp.h"

#include <errno.h>
#include <inttypes.h>

static void put_groups(const struct seccomp_group *groups, const char *title, struct buf *to)
{
    buf_addf(to, "\n%s\n", title);
    for (const struct seccomp_group *g = groups; g->names; g++) {
        size_t column = 0;
        buf_addf(to, "\n  %s\n", g->why);
        for (const char *const *name = g->names; *name; name++) {
            if (column == 0 || column > 76) {
                buf_adds(to, column ? "\n    " : "    ");
                column = 4;
            }
            size_t before = to->len;
            buf_addf(to, "%s ", *name);
            column += to->len - before;
        }
        buf_adds(to, "\n");
    }
}

static void put_test(const struct seccomp_test *t, struct buf *to)
{
    static const char *const ops[] = {
        [SECCOMP_IS] = "is",
        [SECCOMP_IS_NOT] = "is not",
        [SECCOMP_ABOVE] = "is above",
        [SECCOMP_HAS] = "has",
    };
    buf_addf(to, " argument %u %s 0x%" PRIx64, t->arg + 1, ops[t->op], t->value);
}

static void put_rule(const struct seccomp_rule *r, struct buf *to)
{
    const size_t most = sizeof r->tests / sizeof *r->tests;
    if (r->why)
        buf_addf(to, "\n  %s\n", r->why);
    buf_addf(to, "    %s %s when",
             r->answer == SECCOMP_GRANT ? "allow"
             : r->answer                ? "deny"
                                        : "skip",
             r->call);
    for (size_t i = 0; i < most && r->tests[i].op; i++) {
        buf_adds(to, i ? " and" : "");
        put_test(&r->tests[i], to);
    }
    buf_adds(to, r->plain_only ? "; not with nested_userns\n" : "\n");
}

int seccomp_explain(struct buf *to)
{
    buf_adds(to, "Every call that is not named here is answered ENOSYS, a denied one EPERM;\n"
                 "a skipped one is answered as if it had been made. Denials come before all else.\n"
                 "Calls of other architectures and of x32 end the process.\n");
    put_groups(seccomp_allowed, "ALLOWED", to);
    put_groups(seccomp_denied, "DENIED", to);
    put_groups(seccomp_nested, "OF THOSE ALLOWED when a task's policy says nested_userns", to);
    buf_adds(to, "\nBY ARGUMENT\n");
    for (const struct seccomp_rule *r = seccomp_rules; r->call; r++)
        put_rule(r, to);
    return to->failed ? -1 : 0;
}
