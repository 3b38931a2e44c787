/* The runner's one socket; see listener.h. Its directory is 0700 and it is 0600, so the peer check is
 * a second fence. */
#include "runner/listener.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/config.h"

#define BACKLOG 64

int listener_open(int run_fd, const char *run_dir, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "socket");
    unlinkat(run_fd, RUNNER_SOCKET, 0);
    /* Through the directory's descriptor: the path may be longer than sun_path, or closed to us. */
    snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/%s", run_fd, RUNNER_SOCKET);
    mode_t mask = umask(0177);
    int r = bind(fd, (struct sockaddr *)&at, sizeof at);
    umask(mask);
    if (r == 0)
        r = listen(fd, BACKLOG);
    if (r == 0)
        return fd;
    r = err_errno(err, ERR_FAIL, "%s/%s", run_dir, RUNNER_SOCKET);
    close(fd);
    return r;
}

int listener_accept(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (c < 0)
        return -1;
    if (getsockopt(c, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && len == sizeof peer &&
        (peer.uid == geteuid() || peer.uid == 0))
        return c;
    close(c);
    return -1;
}

void listener_notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n >= sizeof at.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(at.sun_path, path, n);
    if (path[0] == '@')
        at.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&at,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    close(fd);
}
