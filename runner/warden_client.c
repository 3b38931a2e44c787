/* uv_poll around warden_send and warden_recv; see warden_client.h. It checks that a reply names a
 * slot that exists, and passes it on; what a reply means is attempt.c's business. */
#include "runner/warden_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include <sodium.h>

#include "common/file.h"

#define FACTS_WAIT_MS 15000
#define REPLIES_MAX   32 /* taken in one turn of the loop */

static void close_all(int *fds, size_t n)
{
    while (n > 0)
        fd_close(&fds[--n]);
}

static void lost(struct warden_client *c, const struct err *err)
{
    if (c->dead)
        return;
    c->dead = true;
    if (c->polling)
        uv_poll_stop(&c->poll);
    if (c->gone)
        c->gone(c->arg, err);
}

static int ask_facts(struct warden_client *c, struct err *err)
{
    struct warden_request req = {.op = WARDEN_FACTS};
    struct warden_reply reply;
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    int fds[WARDEN_FDS_MAX], ready;
    size_t nfds = 0;
    int r = warden_send(c->fd, &req, NULL, 0, err);
    if (r < 0)
        return r;
    do
        ready = poll(&p, 1, FACTS_WAIT_MS);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return err_set(err, ERR_FAIL, "the warden does not answer");
    r = warden_recv(c->fd, &reply, fds, &nfds, err);
    if (r <= 0)
        return r < 0 ? r : err_set(err, ERR_FAIL, "the warden does not answer");
    close_all(fds, nfds);
    if (reply.op != WARDEN_FACTS)
        return err_set(err, ERR_FAIL, "the warden answered something else");
    reply.detail[sizeof reply.detail - 1] = 0;
    if (reply.status != 0)
        return err_set(err, ERR_REFUSED, "%s", reply.detail);
    c->facts = reply.u.facts;
    c->facts.why[sizeof c->facts.why - 1] = 0;
    c->facts.disks_why[sizeof c->facts.disks_why - 1] = 0;
    return 0;
}

int warden_client_init(struct warden_client *c, int fd, pid_t pid, struct err *err)
{
    c->fd = fd;
    c->pid = pid;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_errno(err, ERR_FAIL, "warden socket");
    return ask_facts(c, err);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct warden_client *c = p->data;
    for (int i = 0; i < REPLIES_MAX && !c->dead; i++) {
        struct warden_reply reply;
        struct err err = ERR_INIT;
        int fds[WARDEN_FDS_MAX];
        size_t nfds = 0;
        int r = warden_recv(c->fd, &reply, fds, &nfds, &err);
        if (r == 0)
            return;
        if (r > 0 && reply.slot >= c->slots) {
            close_all(fds, nfds);
            r = err_set(&err, ERR_FAIL, "the warden named slot %u", reply.slot);
        }
        if (r < 0) {
            lost(c, &err);
            return;
        }
        reply.detail[sizeof reply.detail - 1] = 0;
        c->reply(c->arg, &reply, fds, nfds);
    }
}

int warden_client_watch(struct warden_client *c, uv_loop_t *loop, struct err *err)
{
    c->poll.data = c;
    int r = uv_poll_init(loop, &c->poll, c->fd);
    if (r == 0) {
        c->polling = true;
        r = uv_poll_start(&c->poll, UV_READABLE, on_readable);
    }
    return r == 0 ? 0 : err_set(err, ERR_FAIL, "warden socket: %s", uv_strerror(r));
}

static int send_request(struct warden_client *c, const struct warden_request *req, const int *fds,
                        size_t nfds, struct err *err)
{
    struct err why = ERR_INIT;
    int r = c->dead ? err_set(&why, ERR_FAIL, "the warden is gone")
                    : warden_send(c->fd, req, fds, nfds, &why);
    if (r < 0) {
        if (err)
            *err = why;
        lost(c, &why);
    }
    return r;
}

int warden_client_open(struct warden_client *c, unsigned slot, const char *attempt,
                       const uint8_t token[static TASK_TOKEN_BYTES], int envelope_fd,
                       struct err *err)
{
    struct warden_request req = {.op = WARDEN_OPEN, .slot = slot};
    strncpy(req.attempt, attempt, sizeof req.attempt - 1);
    memcpy(req.token, token, sizeof req.token);
    int r = send_request(c, &req, &envelope_fd, 1, err);
    sodium_memzero(&req, sizeof req);
    return r;
}

int warden_client_send(struct warden_client *c, enum warden_op op, unsigned slot,
                       const char *attempt, enum warden_phase phase, struct err *err)
{
    struct warden_request req = {.op = op, .slot = slot, .phase = phase};
    strncpy(req.attempt, attempt, sizeof req.attempt - 1);
    return send_request(c, &req, NULL, 0, err);
}

static void on_closed(uv_handle_t *h)
{
    struct warden_client *c = h->data;
    fd_close(&c->fd);
}

void warden_client_close(struct warden_client *c)
{
    c->dead = true;
    if (c->polling && !uv_is_closing((uv_handle_t *)&c->poll))
        uv_close((uv_handle_t *)&c->poll, on_closed);
    else if (!c->polling)
        fd_close(&c->fd);
}
