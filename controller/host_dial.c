/* Reaching a host: its name to addresses, off the loop; then a non-blocking TCP connection to the
 * first address that answers. Knows nothing of SSH. */
#include "controller/host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"

struct lookup {
    uv_getaddrinfo_t req;
    struct host_link *h; /* NULL: nobody waits any more */
};

static const struct addrinfo dial_hints = {
    .ai_family = AF_UNSPEC,
    .ai_socktype = SOCK_STREAM,
    .ai_flags = AI_NUMERICSERV,
};

static void set_int(int fd, int level, int option, int value)
{
    /* Each of these only improves the connection; a kernel without one is no reason to fail. */
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static int dial_socket(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return -1;
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 45000);
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static void dial_failed(struct host_link *h, int error)
{
    host_hang_up(h);
    if (h->next_addr) {
        host_dial_next(h);
        return;
    }
    host_fail(h, ERR_HOST, "host %s: cannot connect to %s port %u: %s", h->target.name,
              h->target.addr, h->target.port, strerror(error));
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct host_link *h = poll->data;
    if (h->state == HOST_DIALLING) {
        int error = 0;
        socklen_t n = sizeof error;
        if (getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
            error = errno;
        if (error)
            dial_failed(h, error);
        else if (host_session_start(h) == 0)
            host_enter(h, HOST_KEYS);
    }
    /* A kick that waits now is for the next turn: this one had its drive, and one is its share. */
    if (!uv_is_active((uv_handle_t *)h->kick))
        host_drive(h);
}

static int watch(struct host_link *h)
{
    h->poll = malloc(sizeof *h->poll);
    if (!h->poll)
        return UV_ENOMEM;
    int rc = uv_poll_init(h->loop, h->poll, h->fd);
    if (rc < 0) {
        free(h->poll);
        h->poll = NULL;
        return rc;
    }
    h->poll->data = h;
    h->polled = 0;
    host_watch(h, UV_WRITABLE);
    return 0;
}

void host_watch(struct host_link *h, int events)
{
    if (events == h->polled)
        return;
    h->polled = events;
    if (events)
        uv_poll_start(h->poll, events, on_poll);
    else
        uv_poll_stop(h->poll);
}

void host_dial_next(struct host_link *h)
{
    int error = EADDRNOTAVAIL;
    host_hang_up(h);
    host_enter(h, HOST_DIALLING);
    while (h->next_addr) {
        const struct addrinfo *a = h->next_addr;
        h->next_addr = a->ai_next;
        h->fd = dial_socket(a);
        if (h->fd < 0) {
            error = errno;
            continue;
        }
        int rc = watch(h);
        if (rc < 0)
            host_fail(h, ERR_FAIL, "host %s: cannot watch its socket: %s", h->target.name,
                      uv_strerror(rc));
        return;
    }
    dial_failed(h, error);
}

static void found(struct host_link *h, struct addrinfo *list)
{
    h->addrs = h->next_addr = list;
    host_dial_next(h);
    host_kick(h);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct lookup *l = (struct lookup *)req->data;
    struct host_link *h = l->h;
    free(l);
    if (!h) {
        uv_freeaddrinfo(list);
        return;
    }
    h->lookup = NULL;
    if (status == 0 && list) {
        found(h, list);
        return;
    }
    uv_freeaddrinfo(list);
    host_fail(h, ERR_HOST, "host %s: cannot find the address of %s: %s", h->target.name,
              h->target.addr, uv_strerror(status ? status : UV_EAI_NONAME));
    host_drive(h);
}

int host_lookup(struct host_link *h, struct err *err)
{
    char port[16];
    snprintf(port, sizeof port, "%u", h->target.port);
    /* An address needs no resolver, and so no thread. */
    struct addrinfo hints = dial_hints, *list = NULL;
    hints.ai_flags |= AI_NUMERICHOST;
    if (getaddrinfo(h->target.addr, port, &hints, &list) == 0) {
        h->addrs = h->next_addr = list;
        return 0;
    }
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_FAIL, "out of memory");
    l->h = h;
    l->req.data = l;
    int rc = uv_getaddrinfo(h->loop, &l->req, on_lookup, h->target.addr, port, &dial_hints);
    if (rc < 0) {
        free(l);
        return err_set(err, ERR_HOST, "host %s: cannot look up %s: %s", h->target.name,
                       h->target.addr, uv_strerror(rc));
    }
    h->lookup = l;
    return 0;
}

void host_hang_up(struct host_link *h)
{
    if (h->poll) {
        uv_poll_stop(h->poll);
        host_handle_close((uv_handle_t *)h->poll);
        h->poll = NULL;
    }
    h->polled = 0;
    fd_close(&h->fd);
}

void host_dial_done(struct host_link *h)
{
    host_hang_up(h);
    if (h->lookup) {
        h->lookup->h = NULL;
        uv_cancel((uv_req_t *)&h->lookup->req);
        h->lookup = NULL;
    }
    uv_freeaddrinfo(h->addrs);
    h->addrs = h->next_addr = NULL;
}

void host_quick_ack(const struct host_link *h)
{
    /* Until a session has its first command, sshd sends small packets with Nagle's algorithm on,
     * and each waits for our acknowledgement, which the kernel would hold back by some 40 ms. The
     * setting wears off, so it is made again after every look. */
    if (h->fd >= 0)
        set_int(h->fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

unsigned host_rtt_us(const struct host_link *h)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    memset(&info, 0, sizeof info);
    if (h->fd < 0 || getsockopt(h->fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
        return 0;
    return info.tcpi_rtt;
}
