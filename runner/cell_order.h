/* What an attempt's jails are to do: one record in shared memory that the warden writes once, from the
 * envelope it verified, and that the keeper and the jails' first processes read.
 *
 * Only the warden can write it: the memory is sealed against every later writable mapping (F_SEAL_FUTURE_WRITE,
 * fcntl(2)), and the warden's own mapping is not inherited. No program of a task has it mapped: exec
 * drops the readers' mapping, and they keep no descriptor of it. It holds the task's token, so whoever
 * is done with it wipes it. */
#ifndef RUNNER_CELL_ORDER_H
#define RUNNER_CELL_ORDER_H

#include <stdint.h>

#include "proto/task.h"

#define CELL_ORDER_ARGS_MAX (TASK_ARGS_MAX > TASK_TESTS_MAX ? TASK_ARGS_MAX : TASK_TESTS_MAX)

struct cell_order {
    uint64_t limits[LIMIT_COUNT];
    char id[ID_SIZE], root[TASK_OID_SIZE], branch[TASK_BRANCH_SIZE];
    uint8_t token[TASK_TOKEN_BYTES];
    uint16_t ports[EGRESS_PORTS_MAX]; /* as egress_ports() gives them */
    uint32_t nports, nsetup, ncommand, ntests, nenv, nfiles;
    /* setup, command, tests, env, then of each file its path and its text; each string with its NUL.
     * The token's mark still stands where it stood. */
    char text[];
};

/* The warden's end. */
struct cell_order_page {
    struct cell_order *order; /* owned */
    int fd;                   /* owned; what a keeper maps */
};

#define CELL_ORDER_PAGE_NONE ((struct cell_order_page){.fd = -1})

int cell_order_page_new(struct cell_order_page *out, struct err *err);
int cell_order_write(const struct cell_order_page *p, const struct task *task,
                     const uint8_t token[static TASK_TOKEN_BYTES], struct err *err);
/* Wipes and frees it. */
void cell_order_page_done(struct cell_order_page *p);

/* The readers' end: mapped for good, readable only. NULL with `err`. */
const struct cell_order *cell_order_map(int fd, struct err *err);
/* Pointers to `n` of the strings, beginning with number `from` (in the order above), and a NULL after them. They live as long as the mapping. */
void cell_order_strings(const struct cell_order *o, uint32_t from, uint32_t n,
                        char *out[static CELL_ORDER_ARGS_MAX + 1]);

#endif
