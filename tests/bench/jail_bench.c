/* Start-to-exit of /usr/bin/true in our jail, N times: `jail_bench N [start|pool|phase|cycle]`. Prints
 * one run's milliseconds a line.
 *
 *   start (default): from nothing (no user namespace, no disk, no tree) to the program's end, all of
 *                    its jail's processes reaped
 *   pool:            from a cell and a run jail that stand ready and know no task, to the same end
 *   phase:           only the run phase, in an attempt that is already open
 *   cycle:           as start, and destroying the attempt and checking that it is gone
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "runner/cell.h"
#include "runner/fdpass.h"

struct bench {
    struct task task;
    struct seccomp_filter filter;
    struct cgroup_tree cgroups;
    struct cell_setup setup;
    uint8_t token[TASK_TOKEN_BYTES];
};

static int bench_init(struct bench *b, struct err *err)
{
    snprintf(b->task.id, sizeof b->task.id, "01bench0000000000000000000");
    policy_init(&b->task.policy);
    if (strv_add(&b->task.command, "/usr/bin/true") < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    cgroup_tree_open(&b->cgroups, 0);
    b->setup = (struct cell_setup){
        .task = &b->task,
        .token = b->token,
        .filter = &b->filter,
        .cgroups = &b->cgroups,
        .tool = -1,
        .rooted = geteuid() == 0,
    };
    return seccomp_compile(&b->filter, err);
}

static double ms_since(uint64_t began)
{
    return (double)(clock_mono_us() - began) / 1000;
}

/* ret_ms: from `began` until all of the jail's processes are reaped. */
static int run_phase(struct cell *cell, uint64_t began, double *ret_ms, struct err *err)
{
    struct cell_end end;
    int fds[FDPASS_MAX];
    size_t nfds = 0;
    int rc = cell_start(cell, WARDEN_RUN, fds, &nfds, err);
    if (rc == 0) {
        rc = cell_ended(cell, &end, err);
        *ret_ms = ms_since(began);
        fds_close(fds, nfds);
    }
    if (rc == 0 && end.exit != 0)
        rc = err_set(err, ERR_FAIL, "exit %d", end.exit);
    return rc;
}

static int destroy(struct cell *cell, struct err *err)
{
    struct warden_wiped w = cell_close(cell);
    if (w.processes && w.disk && w.cgroup && w.network)
        return 0;
    return err_set(err, ERR_FAIL, "not all gone: %d %d %d %d", w.processes, w.disk, w.cgroup,
                   w.network);
}

static int bench_phase(const struct bench *b, int n, struct err *err)
{
    struct cell cell;
    int pack = -1;
    int rc = cell_open(&b->setup, &cell, &pack, err);
    if (rc < 0)
        return rc;
    fds_close(&pack, 1);
    for (int i = 0; rc == 0 && i < n; i++) {
        uint64_t began = clock_mono_us();
        double ms;
        rc = run_phase(&cell, began, &ms, err);
        if (rc == 0)
            printf("%.3f\n", ms);
    }
    if (rc == 0)
        return destroy(&cell, err);
    cell_close(&cell);
    return rc;
}

static int bench_whole(const struct bench *b, int n, bool cycle, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        struct cell cell;
        int pack = -1;
        uint64_t began = clock_mono_us();
        rc = cell_open(&b->setup, &cell, &pack, err);
        if (rc < 0)
            return rc;
        fds_close(&pack, 1);
        double ms;
        rc = run_phase(&cell, began, &ms, err);
        if (rc == 0)
            rc = destroy(&cell, err);
        else
            cell_close(&cell);
        if (rc == 0)
            printf("%.3f\n", cycle ? ms_since(began) : ms);
    }
    return rc;
}

#define SPARE_US 20000 /* more than a spare takes to get ready */

static int bench_pool(const struct bench *b, int n, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        struct cell cell;
        int pack = -1;
        rc = cell_make(&b->setup, &cell, err);
        if (rc < 0)
            return rc;
        cell_prepare(&cell, WARDEN_RUN);
        rc = cell_ready(&cell, err);
        usleep(SPARE_US);
        uint64_t began = clock_mono_us();
        if (rc == 0)
            rc = cell_bind(&cell, &b->task, b->token, &pack, err);
        fds_close(&pack, 1);
        double ms;
        if (rc == 0)
            rc = run_phase(&cell, began, &ms, err);
        if (rc == 0)
            rc = destroy(&cell, err);
        else
            cell_close(&cell);
        if (rc == 0)
            printf("%.3f\n", ms);
    }
    return rc;
}

static int bench_run(const struct bench *b, int n, const char *mode, struct err *err)
{
    if (strcmp(mode, "phase") == 0)
        return bench_phase(b, n, err);
    if (strcmp(mode, "pool") == 0)
        return bench_pool(b, n, err);
    if (strcmp(mode, "start") != 0 && strcmp(mode, "cycle") != 0)
        return err_set(err, ERR_USAGE, "no mode %s", mode);
    return bench_whole(b, n, strcmp(mode, "cycle") == 0, err);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct err err = ERR_INIT;
    char *end = NULL;
    long n = argc > 1 ? strtol(argv[1], &end, 10) : 0;
    if (n < 1 || n > 1000000 || *end) {
        fprintf(stderr, "usage: jail_bench N [start|pool|phase|cycle]\n");
        return ERR_USAGE;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    int rc = bench_init(&b, &err);
    if (rc == 0)
        rc = bench_run(&b, (int)n, argc > 2 ? argv[2] : "start", &err);
    if (rc < 0)
        fprintf(stderr, "jail_bench: %s\n", err.msg);
    seccomp_done(&b.filter);
    cgroup_tree_done(&b.cgroups);
    task_done(&b.task);
    return err_exit(&err);
}
