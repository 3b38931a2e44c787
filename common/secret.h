/* Secrets in memory: locked, guarded, left out of core files, wiped when freed. */
#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stddef.h>

#include "proto/err.h"

/* sodium_init(), no core dumps, not dumpable, SIGPIPE ignored: first thing in a process. */
int process_harden(struct err *err);
/* Guarded, mlocked memory; NULL when it cannot be locked. Free with secret_free (wipes). */
void *secret_new(size_t n, struct err *err);
void secret_free(void *p);

#endif
