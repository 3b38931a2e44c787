/* Output that a person pages through: stdout, or a pager when stdout is a terminal. */
#ifndef CONTROLLER_CLI_PAGER_H
#define CONTROLLER_CLI_PAGER_H

#include <sys/types.h>

#include "controller/cli/cmd.h"

struct pager {
    int fd;    /* write here */
    pid_t pid; /* 0: none, fd is stdout */
};

/* $CREEL_PAGER, else $GIT_PAGER, else less, when stdout is a terminal; "cat" and "" mean none. */
int pager_start(const struct cli *cli, struct pager *ret, struct err *err);
/* Writes; a reader who left is -ERR_FAIL without a message. */
int pager_write(struct pager *p, const void *bytes, size_t n, struct err *err);
/* Waits until the person is done with it. */
void pager_end(struct pager *p);

#endif
