/* Runs programs in real jails, without serve, warden or envelope: a cell, one phase, its output. */
#ifndef TESTS_UNIT_JAIL_FIXTURE_H
#define TESTS_UNIT_JAIL_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/cm.h"
#include "common/file.h"
#include "proto/result.h"
#include "runner/cell.h"
#include "runner/fdpass.h"

#define FIXTURE_OUTPUT_MAX (4u << 20)
#define FIXTURE_STEPS_MAX  32

struct jail_fixture {
    struct task task;
    uint8_t token[TASK_TOKEN_BYTES];
    struct seccomp_filter filter;
    struct cgroup_tree cgroups;
    struct cell_setup setup;
    bool usable;
};

struct ran {
    struct buf out, err;
    struct warden_step steps[FIXTURE_STEPS_MAX];
    size_t nsteps;
    struct cell_end end;
    struct warden_wiped wiped;
};

static inline int fixture_up(void **state)
{
    struct err err = ERR_INIT;
    struct jail_fixture *f = calloc(1, sizeof *f);
    if (!f || seccomp_compile(&f->filter, &err) < 0)
        return -1;
    memcpy(f->task.id, "01jdq7z4m2r8k5t3w9x1y6b0cn", ID_SIZE);
    policy_init(&f->task.policy);
    f->task.policy.limits[LIMIT_DISK] = 64u << 20;
    memset(f->token, 0xa5, sizeof f->token);
    f->cgroups.dir = -1;
    f->setup = (struct cell_setup){.task = &f->task,
                                   .token = f->token,
                                   .filter = &f->filter,
                                   .cgroups = &f->cgroups,
                                   .tool = -1,
                                   .rooted = geteuid() == 0};
    f->usable = cell_probe(f->setup.rooted, &err) == 0;
    if (!f->usable)
        print_message("SKIPPED, no jail can be made here: %s\n", err.msg);
    *state = f;
    return 0;
}

static inline int fixture_down(void **state)
{
    struct jail_fixture *f = *state;
    seccomp_done(&f->filter);
    cgroup_tree_done(&f->cgroups);
    task_done(&f->task);
    free(f);
    return 0;
}

static inline void ran_done(struct ran *r)
{
    buf_done(&r->out);
    buf_done(&r->err);
}

/* Reads both streams and the steps until every writer is gone. */
/* `fds` as cell_start gave them: a run's gate doors are closed unused. */
static inline void fixture_drain(int *fds, size_t nfds, struct ran *r)
{
    int pipes[JAIL_PIPES] = {-1, -1, -1};
    memcpy(pipes, fds, (nfds < JAIL_PIPES ? nfds : JAIL_PIPES) * sizeof *fds);
    if (nfds > JAIL_PIPES)
        fds_close(fds + JAIL_PIPES, nfds - JAIL_PIPES);
    uint8_t steps[sizeof r->steps];
    size_t nsteps = 0;
    for (;;) {
        struct pollfd p[JAIL_PIPES];
        for (int i = 0; i < JAIL_PIPES; i++)
            p[i] = (struct pollfd){.fd = pipes[i], .events = POLLIN};
        if (pipes[0] < 0 && pipes[1] < 0 && pipes[2] < 0)
            break;
        assert_true(poll(p, JAIL_PIPES, 120000) > 0);
        for (int i = 0; i < JAIL_PIPES; i++) {
            uint8_t chunk[65536];
            ssize_t n = p[i].revents ? read(pipes[i], chunk, sizeof chunk) : -1;
            if (p[i].revents && n <= 0)
                fd_close(&pipes[i]);
            else if (n > 0 && i == JAIL_STATUS) {
                assert_true(nsteps + (size_t)n <= sizeof steps);
                memcpy(steps + nsteps, chunk, (size_t)n);
                nsteps += (size_t)n;
            } else if (n > 0) {
                buf_add(i == JAIL_OUT ? &r->out : &r->err, chunk, (size_t)n);
            }
        }
    }
    memcpy(r->steps, steps, nsteps);
    r->nsteps = nsteps / sizeof *r->steps;
}

/* One whole attempt: setup and tests as the fixture's task has them, and this command. */
static inline void fixture_run(struct jail_fixture *f, const char *const *argv, struct ran *r)
{
    struct err err = ERR_INIT;
    struct cell cell;
    int pack = -1, fds[FDPASS_MAX];
    size_t nfds = 0;
    *r = (struct ran){0};
    buf_init(&r->out, FIXTURE_OUTPUT_MAX);
    buf_init(&r->err, FIXTURE_OUTPUT_MAX);
    strv_done(&f->task.command);
    for (; *argv; argv++)
        assert_int_equal(strv_add(&f->task.command, *argv), 0);
    assert_ok(cell_open(&f->setup, &cell, &pack, &err));
    fd_close(&pack);
    assert_ok(cell_start(&cell, WARDEN_RUN, fds, &nfds, &err));
    fixture_drain(fds, nfds, r);
    assert_ok(cell_ended(&cell, &r->end, &err));
    r->wiped = cell_close(&cell);
}

static inline void fixture_sh(struct jail_fixture *f, const char *script, struct ran *r)
{
    fixture_run(f, (const char *const[]){"sh", "-c", script, NULL}, r);
}

#endif
