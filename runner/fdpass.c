/* Records with descriptors over a socketpair. Knows nothing of what the records mean. Descriptors
 * that come in are close-on-exec from the start, and closed here whenever a record is not whole. */
#include "runner/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"

union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
};

void fds_close(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fd_close(&fds[i]);
}

int fdpass_send(int sock, const void *bytes, size_t n, const int *fds, size_t nfds, struct err *err)
{
    union control control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > FDPASS_MAX)
        return err_set(err, ERR_FAIL, "too many descriptors in one record: %zu", nfds);
    if (nfds > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * nfds);
    }
    ssize_t sent;
    do
        sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return err_errno(err, ERR_FAIL, "cannot send a record");
    return 0;
}

/* Takes the descriptors out of a message; more than FDPASS_MAX cannot fit the control buffer. */
static size_t take_fds(struct msghdr *msg, int fds[static FDPASS_MAX])
{
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (here > FDPASS_MAX - n)
            here = FDPASS_MAX - n;
        memcpy(fds + n, CMSG_DATA(c), here * sizeof(int));
        n += here;
    }
    return n;
}

int fdpass_recv(int sock, void *bytes, size_t n, int fds[static FDPASS_MAX], size_t *ret_nfds,
                struct err *err)
{
    union control control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = n};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do
        got = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (got < 0)
        return err_errno(err, ERR_FAIL, "cannot receive a record");
    size_t nfds = take_fds(&msg, fds);
    if ((size_t)got != n || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        fds_close(fds, nfds);
        if (got == 0)
            return err_set(err, ERR_FAIL, "the other side is gone");
        return err_set(err, ERR_FAIL, "a record of %zd bytes where %zu were due", got, n);
    }
    *ret_nfds = nfds;
    return 1;
}

int fds_keep_only(const int *keep, size_t n)
{
    unsigned from = 3;
    for (;;) {
        /* The lowest kept descriptor that is not below `from` ends the next gap. */
        unsigned next = ~0u;
        for (size_t i = 0; i < n; i++)
            if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
                next = (unsigned)keep[i];
        if (next > from && close_range(from, next == ~0u ? ~0u : next - 1, 0) < 0)
            return -1;
        if (next == ~0u)
            return 0;
        from = next + 1;
    }
}
