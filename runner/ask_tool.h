/* One question to a program of the host: started with an empty environment, read later, bounded in
 * time and output. */
#ifndef RUNNER_ASK_TOOL_H
#define RUNNER_ASK_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/buf.h"
#include "proto/err.h"

#define ASK_TOOL_MS    10000 /* from start to end */
#define ASK_TOOL_BYTES (64u << 10)

struct ask_tool {
    pid_t pid; /* 0: nothing was asked */
    int fd;    /* its standard output */
    uint64_t started_us;
};

/* Starts the program at `path` in / and a process group of its own, without waiting for it. It gets PATH
 * (`search`), HOME of the effective user and nothing else; input and complaints are /dev/null. */
int ask_tool_start(struct ask_tool *t, const char *path, char *const argv[], const char *search,
                   struct err *err);
/* Waits for its end and appends what it wrote to `to`. Failure: it was not a success, wrote over
 * ASK_TOOL_BYTES, or took longer than ASK_TOOL_MS. In every case its group is dead then and `t` may be
 * started again. */
int ask_tool_finish(struct ask_tool *t, struct buf *to, struct err *err);
/* Was it asked longer ago than it may take? */
bool ask_tool_late(const struct ask_tool *t);
/* Kills it, if it runs. */
void ask_tool_stop(struct ask_tool *t);

#endif
