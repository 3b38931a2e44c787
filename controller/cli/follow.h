/* Following a task: its states and its log as they come, until it is over.
 *
 * Nothing is asked of the engine: it says "look again" on a socket, the kernel says that the log grew,
 * and the store and the file are read. So any number of followers may come and go at any time.
 */
#ifndef CONTROLLER_CLI_FOLLOW_H
#define CONTROLLER_CLI_FOLLOW_H

#include "controller/logfile.h"
#include "controller/store.h"

struct follow {
    const struct paths *paths;
    struct store *store;
    const char *id;  /* whole */
    int engine;      /* connected by engine_poke, or -1; owned by the caller, may change */
    bool detachable; /* Ctrl-C ends the following */
    /* Each returns 0 or -code, which ends the following. frame and flush: log bytes, then "all that
     * is there was given". state: whenever the row's state or reason changed, first at once. */
    int (*frame)(void *arg, const struct log_frame *f, struct err *err);
    int (*flush)(void *arg, struct err *err);
    int (*state)(void *arg, const struct task_row *row, struct err *err);
    void *arg;
};

/* 0: the task is final and its log was given to the end; 1: interrupted; -code. The last row read
 * is in *ret (task_row_done) unless < 0. */
int follow_task(struct follow *f, struct task_row *ret, struct err *err);
/* From here on Ctrl-C does not end the process but is remembered. */
void follow_catch_interrupt(void);
bool follow_interrupted(void);

#endif
