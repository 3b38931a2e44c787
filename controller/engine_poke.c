/* The commands' side of the engine: make sure that one runs, get told when something changes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/engine.h"

#define IDLE_EXIT_S      "60"
#define START_TIMEOUT_MS 15000

static int connect_engine(const struct paths *paths)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/engine.sock", paths->rootfd);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        fd_close(&fd);
    return fd;
}

/* In the child: own session, output to engine.log, nothing of ours open but the ready pipe. */
static void become_engine(const struct paths *paths, const char *self, int readyfd)
{
    char number[16];
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int log = openat(paths->rootfd, "engine.log",
                     O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (null < 0 || log < 0 || setsid() < 0)
        _exit(127);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    int fd = readyfd == 3 ? 3 : dup2(readyfd, 3);
    if (fd != 3 || fcntl(3, F_SETFD, 0) < 0 || close_range(4, ~0u, 0) < 0)
        _exit(127);
    snprintf(number, sizeof(number), "%d", fd);
    setenv("CREEL_ENGINE_READY_FD", number, 1);
    execl(self, "creel", "--state", paths->root, "serve", "--idle-exit", IDLE_EXIT_S, (char *)NULL);
    _exit(127);
}

/* Waits until the new engine listens, or has ended (another one took the lock first). */
static void await_ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, START_TIMEOUT_MS) < 0 && errno == EINTR)
        ;
}

static int spawn_engine(const struct paths *paths, struct err *err)
{
    char self[PATH_MAX];
    int ready[2];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0 || pipe2(ready, O_CLOEXEC) < 0)
        return err_errno(err, ERR_FAIL, "cannot start the engine");
    self[n] = 0;
    /* Twice forked: the engine is nobody's child, no command has to reap it. */
    pid_t pid = fork();
    if (pid == 0) {
        pid_t engine = fork();
        if (engine == 0)
            become_engine(paths, self, ready[1]);
        _exit(engine < 0);
    }
    close(ready[1]);
    if (pid > 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        await_ready(ready[0]);
    }
    close(ready[0]);
    return pid > 0 ? 0 : err_errno(err, ERR_FAIL, "cannot start the engine");
}

int engine_poke(const struct paths *paths, bool start, struct err *err)
{
    for (int try = 0; try < 3; try++) {
        int fd = connect_engine(paths);
        if (fd >= 0) {
            if (send(fd, ".", 1, MSG_NOSIGNAL) == 1)
                return fd;
            fd_close(&fd);
        }
        if (!start)
            return err_set(err, ERR_FAIL, "no engine is running");
        int r = spawn_engine(paths, err);
        if (r < 0)
            return r;
    }
    return err_set(err, ERR_FAIL, "the engine does not start; see %s/engine.log", paths->root);
}
