/* The jail's system call filter.
 *
 * Two programs, compiled once by the warden and only loaded when a jail starts. The first allows what
 * programs need and answers ENOSYS to everything else, so that a libc falls back. The second answers
 * EPERM to what is dangerous, by name or by argument; the kernel takes the stricter of the two.
 * Foreign architectures and x32 die. */
#ifndef RUNNER_SECCOMP_H
#define RUNNER_SECCOMP_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/filter.h>

#include "proto/err.h"

struct seccomp_filter {
    struct sock_fprog allow, deny; /* owned */
};

struct seccomp_group {
    const char *why;          /* one line: why this stands where it stands */
    const char *const *names; /* NULL-terminated */
};

/* The tables, for tests and for `--explain`; a group with NULL names ends them. */
extern const struct seccomp_group seccomp_allowed[];
extern const struct seccomp_group seccomp_denied[];

int seccomp_compile(struct seccomp_filter *out, struct err *err);
void seccomp_done(struct seccomp_filter *f);
/* Loads both into the calling thread, for good. Needs no_new_privs. */
int seccomp_apply(const struct seccomp_filter *f, struct err *err);

#endif
