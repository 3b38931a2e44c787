/* The forced command; see attach.h. It holds no key, reads no byte of stdin, and parses nothing. */
#include "runner/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/config.h"

/* By way of a descriptor of the directory: its path may be longer than a socket address. */
static int connect_serve(const char *run_dir, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int r = 0;
    if (fd < 0)
        r = err_errno(err, ERR_FAIL, "socket");
    if (r == 0) {
        snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/%s", dir, RUNNER_SOCKET);
        if (dir < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
            r = errno == ENOENT || errno == ECONNREFUSED
                    ? err_set(err, ERR_FAIL, "serve is not running (no socket in %s)", run_dir)
                    : err_errno(err, ERR_FAIL, "cannot reach serve in %s", run_dir);
    }
    fd_close(&dir);
    if (r < 0)
        fd_close(&fd);
    return r < 0 ? r : fd;
}

static int hand_over(int fd, struct err *err)
{
    const int fds[2] = {0, 1};
    union {
        char space[CMSG_SPACE(sizeof fds)];
        struct cmsghdr align;
    } control = {0};
    char byte = 'a';
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    if (sendmsg(fd, &m, MSG_NOSIGNAL) == 1)
        return 0;
    return err_errno(err, ERR_FAIL, "cannot hand the session to serve");
}

/* Serve's word. False: it has closed its end. */
static bool let_go(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n != 1 || byte != *ATTACH_LET_GO)
        return false;
    /* serve closed it, too: whoever reads it sees the end. sshd tells of that when no stderr is open. */
    close(1);
    close(2);
    return true;
}

/* Until serve closes its end, or whoever reads our output is gone: then we go, and serve sees it. */
static void wait_for_end(int fd)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = 1}};
    for (;;) {
        int n = poll(p, 2, -1);
        if (n < 0 && errno != EINTR)
            return;
        if (n > 0 && p[1].fd >= 0 && p[1].revents & (POLLHUP | POLLERR | POLLNVAL))
            return;
        if (n > 0 && p[0].revents) {
            if (!let_go(fd))
                return;
            p[1].fd = -1;
        }
    }
}

int attach_run(const char *run_dir, struct err *err)
{
    int fd = connect_serve(run_dir, err);
    if (fd < 0)
        return fd;
    int r = hand_over(fd, err);
    if (r == 0)
        wait_for_end(fd);
    fd_close(&fd);
    return r;
}
