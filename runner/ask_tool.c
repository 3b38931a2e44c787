/* Runs one program of the host for what it prints. */
#include "runner/ask_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"

/* No signal blocked or ignored, a group of its own, the pipe as standard output; and nobody's
 * directory, for npm obeys an .npmrc where it is started and python3 -m runs what lies there. */
static int spawn(const char *path, char *const argv[], char *const env[], int out, pid_t *ret)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&files) != 0)
        return -1;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&files);
        return -1;
    }
    int rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&files, out, 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(&files, 3);
    if (rc == 0)
        rc = posix_spawn_file_actions_addchdir_np(&files, "/");
    if (rc == 0)
        rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                 POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(&attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(&attr, &all);
    if (rc == 0)
        rc = posix_spawn(ret, path, &files, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    errno = rc;
    return rc == 0 ? 0 : -1;
}

int ask_tool_start(struct ask_tool *t, const char *path, char *const argv[], const char *search,
                   struct err *err)
{
    char path_env[512], home_env[512];
    char *env[] = {path_env, home_env, NULL};
    const struct passwd *pw = getpwuid(geteuid());
    int out[2], rc = 0;
    snprintf(path_env, sizeof path_env, "PATH=%s", search);
    snprintf(home_env, sizeof home_env, "HOME=%s", pw ? pw->pw_dir : "/nonexistent");
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_errno(err, ERR_FAIL, "no pipe");
    *t = (struct ask_tool){.fd = out[0], .started_us = clock_mono_us()};
    if (spawn(path, argv, env, out[1], &t->pid) < 0) {
        rc = err_errno(err, ERR_FAIL, "%s cannot be started", argv[0]);
        fd_close(&t->fd);
        t->pid = 0;
    }
    fd_close(&out[1]);
    return rc;
}

/* One read. 1: goes on, 0: the end. */
static int take(struct ask_tool *t, struct buf *to, size_t *have, struct err *err)
{
    char bytes[4096];
    uint64_t spent = (clock_mono_us() - t->started_us) / 1000;
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    int ready = poll(&p, 1, spent < ASK_TOOL_MS ? (int)(ASK_TOOL_MS - spent) : 0);
    if (ready < 0 && errno == EINTR)
        return 1;
    if (ready <= 0)
        return err_set(err, ERR_FAIL, "did not answer within %d s", ASK_TOOL_MS / 1000);
    ssize_t n = read(t->fd, bytes, sizeof bytes);
    if (n < 0)
        return errno == EINTR ? 1 : err_errno(err, ERR_FAIL, "cannot be read");
    *have += (size_t)n;
    if (*have > ASK_TOOL_BYTES || buf_add(to, bytes, (size_t)n) < 0)
        return err_set(err, ERR_FAIL, "wrote over %u KiB", ASK_TOOL_BYTES >> 10);
    return n > 0;
}

/* The program closed its output: it has what is left of its time to end by itself. It is not reaped
 * here, so that its number stays its own until its group was killed. */
static int await_end(const struct ask_tool *t, struct err *err)
{
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)t->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0) {
        if (ask_tool_late(t))
            return err_set(err, ERR_FAIL, "did not end within %d s", ASK_TOOL_MS / 1000);
        poll(NULL, 0, 1);
    }
    if (info.si_code == CLD_EXITED && info.si_status == 0)
        return 0;
    return err_set(err, ERR_FAIL, "ended with an error");
}

int ask_tool_finish(struct ask_tool *t, struct buf *to, struct err *err)
{
    size_t have = 0;
    int rc;
    do
        rc = take(t, to, &have, err);
    while (rc > 0);
    if (rc == 0)
        rc = await_end(t, err);
    ask_tool_stop(t);
    return rc;
}

bool ask_tool_late(const struct ask_tool *t)
{
    return t->pid != 0 && clock_mono_us() - t->started_us >= ASK_TOOL_MS * 1000ull;
}

void ask_tool_stop(struct ask_tool *t)
{
    if (t->pid == 0)
        return;
    kill(-t->pid, SIGKILL);
    kill(t->pid, SIGKILL); /* should it have left its group */
    while (waitpid(t->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    fd_close(&t->fd);
    t->pid = 0;
}
