/* The jail's system call filter.
 *
 * One program, compiled once by the warden and only loaded when a jail starts. Its first half answers
 * EPERM to what is dangerous, by name or by argument; its second allows what programs need and answers
 * ENOSYS to everything else, so that a libc falls back. Foreign architectures and x32 die. There are two
 * of it: the second, for a task whose policy says `nested_userns`, also has what it takes to build a
 * sandbox inside the jail. What stands in them is data, in seccomp_table.c. */
#ifndef RUNNER_SECCOMP_H
#define RUNNER_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/filter.h>

#include "proto/buf.h"
#include "proto/err.h"

enum seccomp_variant { SECCOMP_PLAIN, SECCOMP_NESTED, SECCOMP_VARIANTS };

struct seccomp_filter {
    struct sock_fprog programs[SECCOMP_VARIANTS]; /* owned */
};

struct seccomp_group {
    const char *why;          /* one line: why this stands where it stands */
    const char *const *names; /* NULL-terminated */
};

/* The names, each in one table only; a group with NULL names ends a table. */
extern const struct seccomp_group seccomp_allowed[];
extern const struct seccomp_group seccomp_denied[];
/* Names of seccomp_denied that SECCOMP_NESTED allows; `why` says what each costs. */
extern const struct seccomp_group seccomp_nested[];

enum seccomp_op { SECCOMP_IS = 1, SECCOMP_IS_NOT, SECCOMP_ABOVE, SECCOMP_HAS };

/* One condition on argument `arg`: (argument & mask) op value. HAS: every bit of value is set. IS_NOT
 * and ABOVE compare all 64 bits; what the kernel reads as an int may then carry junk in its upper half,
 * which must only ever deny more. */
struct seccomp_test {
    unsigned arg;
    enum seccomp_op op; /* 0 ends a rule's tests */
    uint64_t value, mask;
};

/* A call by its arguments. All tests of a rule must hold. */
struct seccomp_rule {
    const char *call;
    int answer; /* errno; SECCOMP_GRANT: the call is made; 0: not made, and answered as if it were */
    bool plain_only; /* not a rule of SECCOMP_NESTED */
    struct seccomp_test tests[3];
    const char *why; /* NULL: as the rule before */
};

#define SECCOMP_GRANT (-1)

/* A rule with a NULL call ends it. */
extern const struct seccomp_rule seccomp_rules[];

int seccomp_compile(struct seccomp_filter *out, struct err *err);
void seccomp_done(struct seccomp_filter *f);
/* Loads one into the calling thread, for good. Needs no_new_privs. */
int seccomp_apply(const struct seccomp_filter *f, enum seccomp_variant variant, struct err *err);
/* Appends the tables for a person: each group and rule with its reason (`creel-runner seccomp`). */
int seccomp_explain(struct buf *to);

#endif
