/* Pid 1 of a jail, after everything was given up: runs the phase's steps one after the other, reaps
 * what is orphaned, and between steps kills whatever a step left behind. It reports on a descriptor
 * that no child has. It never reads anything that a child wrote. */
#include "runner/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/futex.h>

#include "common/clock.h"
#include "common/file.h"
#include "proto/result.h"
#include "runner/job_env.h"
#include "runner/job_files.h"

#define EXIT_CANNOT_RUN 127
#define HOME            "/home/agent"

static void __attribute__((noreturn)) cannot_run(const char *what)
{
    /* Straight to the step's own stderr: the reader of the log must see it. */
    dprintf(2, "cannot run %.200s: %s\n", what, strerror(errno));
    _exit(EXIT_CANNOT_RUN);
}

/* In pid 1, once: what the warden ignores is inherited, also through exec. */
static void reset_signals(void)
{
    sigset_t none;
    for (int sig = 1; sig < NSIG; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            signal(sig, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child: one step's program, found by PATH, with 0, 1 and 2 and nothing else. */
static void __attribute__((noreturn)) exec_program(char *const *argv)
{
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (chdir("/task") < 0 || close_range(3, ~0u, 0) < 0)
        cannot_run(argv[0]);
    execvp(argv[0], argv);
    cannot_run(argv[0]);
}

/* In the child: the tree tool, by the descriptor that the warden opened on the host. */
static void __attribute__((noreturn))
exec_tool(int tool, char *const *argv, const struct job_env *env)
{
    signal(SIGPIPE, SIG_DFL);
    setsid();
    if (chdir("/task") == 0 && close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        execveat(tool, "", argv, env->vars, AT_EMPTY_PATH);
    cannot_run(argv[0]);
}

/* Reaps until `child` has ended: orphans of the jail come here too. */
static void wait_for(pid_t child, int32_t *ret_exit, int32_t *ret_signal)
{
    int status = 0;
    for (;;) {
        pid_t pid = waitpid(-1, &status, 0);
        if (pid == child)
            break;
        if (pid < 0 && errno != EINTR) {
            status = EXIT_CANNOT_RUN << 8;
            break;
        }
    }
    *ret_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    *ret_exit = WIFSIGNALED(status) ? -1 : WEXITSTATUS(status);
}

/* What a step left running dies before the next step. kill(-1) spares only us, and a fork that races
 * with it fails or inherits the signal, so one round is all there can be; the loop costs nothing. */
static void kill_rest(void)
{
    while (kill(-1, SIGKILL) == 0 || errno == EINTR)
        while (waitpid(-1, NULL, 0) > 0)
            ;
}

static bool run_step(int status, enum step_kind kind, uint32_t index, char *const *argv,
                     struct job_env *env)
{
    struct warden_step step = {.kind = kind, .index = index};
    uint64_t began = clock_mono_us();
    write_all(status, &step, sizeof step);
    environ = env->vars;
    /* Shares our memory until it has a program of its own: nothing is copied that exec throws away. */
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (pid == 0)
        exec_program(argv); /* NOLINT(clang-analyzer-unix.Vfork): writes nothing of ours */
    if (pid < 0)
        step.exit = EXIT_CANNOT_RUN;
    else
        wait_for(pid, &step.exit, &step.signal);
    step.ended = 1;
    step.ms = (clock_mono_us() - began) / 1000;
    /* A step's last word is written when nothing of it can still act, except that what setup starts
     * (a database, say) is meant to serve the command. */
    if (kind != STEP_SETUP)
        kill_rest();
    write_all(status, &step, sizeof step);
    return step.exit == 0 && step.signal == 0;
}

static bool run_line(int status, enum step_kind kind, uint32_t index, char *line,
                     struct job_env *env)
{
    char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, line, NULL};
    return run_step(status, kind, index, argv, env);
}

static int place_files(const struct cell_order *order, struct err *err)
{
    if (order->nfiles == 0)
        return 0;
    int home = open(HOME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc = home < 0 ? err_errno(err, ERR_FAIL, "the home cannot be opened")
                      : job_files_place(home, order, err);
    fd_close(&home);
    return rc;
}

/* A failed setup line ends the run; a failed command does not: the operator wants to see the tests. */
static int run_steps(const struct cell_order *order, int status, struct job_env *env,
                     struct job_env *test_env)
{
    char *strings[CELL_ORDER_ARGS_MAX + 1];
    cell_order_strings(order, 0, order->nsetup, strings);
    for (uint32_t i = 0; i < order->nsetup; i++)
        if (!run_line(status, STEP_SETUP, i, strings[i], env))
            return 1;
    cell_order_strings(order, order->nsetup, order->ncommand, strings);
    run_step(status, STEP_COMMAND, 0, strings, env);
    cell_order_strings(order, order->nsetup + order->ncommand, order->ntests, strings);
    for (uint32_t i = 0; i < order->ntests; i++)
        run_line(status, STEP_TEST, i, strings[i], test_env);
    return 0;
}

static int failed(const struct err *err, struct jail_report *report)
{
    report->code = err->code;
    snprintf(report->detail, sizeof report->detail, "%.300s", err->msg);
    return EXIT_CANNOT_RUN;
}

/* The task's files, setup, command, tests. */
static int run_task(const struct jail_spec *spec, int status, struct jail_report *report)
{
    struct err err = ERR_INIT;
    struct job_env env = {0}, test_env = {0};
    int rc = place_files(spec->order, &err);
    if (rc == 0)
        rc = job_env_make(spec->order, true, &env, &err);
    if (rc == 0)
        rc = job_env_make(spec->order, false, &test_env, &err);
    rc = rc < 0 ? failed(&err, report) : run_steps(spec->order, status, &env, &test_env);
    job_env_done(&env);
    job_env_done(&test_env);
    return rc;
}

static void run_tool_once(const struct jail_spec *spec, char *const *argv, int32_t *ret_exit,
                          int32_t *ret_signal)
{
    struct job_env env;
    struct err unused = ERR_INIT; /* without the job's own there is nothing in it that can fail */
    job_env_make(spec->order, false, &env, &unused);
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): as run_step */
    if (pid == 0)
        exec_tool(spec->tool, argv, &env); /* NOLINT(clang-analyzer-unix.Vfork) */
    if (pid < 0) {
        *ret_exit = EXIT_CANNOT_RUN;
        *ret_signal = 0;
        return;
    }
    wait_for(pid, ret_exit, ret_signal);
    kill_rest();
}

/* That a cache could not be kept is no failure of the collection: it is then not kept, and the tool's
 * words stand in the log. */
static int run_tool(const struct jail_spec *spec, struct jail_report *report)
{
    int32_t ignored[2];
    char root[TASK_OID_SIZE], branch[TASK_BRANCH_SIZE], tool[] = "creel-runner-tree";
    snprintf(root, sizeof root, "%s", spec->order->root);
    snprintf(branch, sizeof branch, "%s", spec->order->branch);
    char *argv[] = {tool,
                    spec->phase == WARDEN_CHECKOUT ? (char[]){"checkout"} : (char[]){"collect"},
                    root, branch, NULL};
    char *keep[] = {tool, (char[]){"keep"}, NULL};
    run_tool_once(spec, argv, &report->exit, &report->signal);
    if (report->signal)
        return 1;
    if (report->exit == 0 && spec->phase == WARDEN_COLLECT && spec->kind->keep)
        run_tool_once(spec, keep, &ignored[0], &ignored[1]);
    return report->exit;
}

/* Whoever tells us to go is the keeper, whose death is ours. */
static void wait_to_go(struct jail_report *report)
{
    struct rusage ru;
    while (atomic_load(&report->go) == 0)
        syscall(SYS_futex, &report->go, FUTEX_WAIT, 0, NULL, NULL, 0);
    if (getrusage(RUSAGE_SELF, &ru) == 0)
        report->ready_ms = (uint32_t)((ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000 +
                                      (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1000);
}

int jail_init(const struct jail_spec *spec, int status, struct jail_report *report)
{
    struct err err = ERR_INIT;
    prctl(PR_SET_NAME, "creel-init");
    reset_signals();
    signal(SIGPIPE, SIG_IGN);
    wait_to_go(report);
    if (jail_limit(spec, &err) < 0)
        return failed(&err, report);
    return spec->phase == WARDEN_RUN ? run_task(spec, status, report) : run_tool(spec, report);
}
