/* Secrets in memory: locked, guarded, left out of core files, wiped when freed. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"

/* sodium_init(), no core dumps, not dumpable, SIGPIPE ignored: first thing in a process. */
int process_harden(struct err *err);
/* No core dump of this process and of what it starts, neither to a file nor to a program that
 * kernel.core_pattern pipes to. -1 with errno. Where a hard limit of 0 was inherited it stays: a file
 * is then not written, but core_dumps_piped() programs are started. */
int core_dumps_off(void);
/* Does this kernel hand core dumps to a program? */
bool core_dumps_piped(void);
/* Guarded, mlocked memory; NULL when it cannot be locked. Free with secret_free (wipes). */
void *secret_new(size_t n, struct err *err);
void secret_free(void *p);

#endif
