/* See the header. The pager is the operator's own choice of command, run by the shell as git does.
 */
#include "controller/cli/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"

extern char **environ;

/* Not every machine has less. */
static const char fallback[] =
    "if command -v less >/dev/null; then exec less -FRX; else exec cat; fi";

static const char *chosen(void)
{
    const char *pager = getenv("CREEL_PAGER");
    if (pager == NULL) {
        pager = getenv("GIT_PAGER");
    }
    return pager != NULL ? pager : fallback;
}

static int spawn_pager(const char *command, int in, pid_t *ret)
{
    char sh[] = "sh", c[] = "-c";
    char *argv[] = {sh, c, (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t defaults;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawnattr_init(&attr);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    int e = posix_spawn(ret, "/bin/sh", &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return e;
}

int pager_start(const struct cli *cli, struct pager *ret, struct err *err)
{
    const char *command = chosen();
    int fds[2];
    *ret = (struct pager){.fd = STDOUT_FILENO};
    if (!cli->tty_out || command[0] == '\0' || strcmp(command, "cat") == 0) {
        return 0;
    }
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return err_errno(err, ERR_FAIL, "cannot make a pipe");
    }
    int e = spawn_pager(command, fds[0], &ret->pid);
    close(fds[0]);
    if (e != 0) {
        close(fds[1]);
        errno = e;
        return err_errno(err, ERR_FAIL, "cannot start the pager");
    }
    ret->fd = fds[1];
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the pager's business now */
    return 0;
}

int pager_write(struct pager *p, const void *bytes, size_t n, struct err *err)
{
    if (write_all(p->fd, bytes, n) == 0) {
        return 0;
    }
    return errno == EPIPE ? err_set(err, ERR_FAIL, "%s", "")
                          : err_errno(err, ERR_FAIL, "cannot write");
}

void pager_end(struct pager *p)
{
    if (p->pid == 0) {
        return;
    }
    fd_close(&p->fd);
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    p->pid = 0;
    signal(SIGINT, SIG_DFL);
}
