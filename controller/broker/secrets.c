/* The broker's end: values in locked memory, by name, for as long as they are used; who waits for one that
 * the helper is still getting. */
#include "controller/broker/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"
#include "controller/broker/secrets_internal.h"

#define IDLE_MS   (10u * 60 * 1000) /* not used for so long: wiped */
#define LOOK_MS   60000
#define FAILED_MS 10000 /* a failure is not tried again before: a command may ask a person */
#define DROP_MS   10000 /* nor is a value had anew that did not do */
#define NAMES_MAX 256

struct waiter {
    struct waiter *next;
    secret_cb *cb;
    void *arg;
};

struct entry {
    struct entry *next;     /* secrets::first */
    struct entry *next_due; /* secrets::due */
    char name[SECRET_NAME_SIZE];
    char *value; /* locked, NUL behind it; NULL: not there */
    size_t len;
    uint64_t used_ms, failed_ms, dropped_ms; /* loop time */
    struct err failed;                       /* code != 0: the last time */
    bool asked;                              /* the helper's answer is due */
    bool stale;                              /* to be wiped as soon as nobody looks at it */
    struct waiter *waiters, **last;
};

struct secrets {
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
    uint8_t *packet; /* SECRET_PACKET_MAX + 1, locked */
    struct entry *first, *due, **due_last;
    unsigned names;
    struct err gone; /* code != 0: there is no helper */
    secret_seen_cb *seen;
    void *seen_arg;
    unsigned busy;    /* callbacks that run */
    unsigned handles; /* not yet closed */
    bool closing;
};

static void entry_wipe(struct entry *e)
{
    secret_free(e->value);
    e->value = NULL;
    e->len = 0;
    e->stale = false;
}

static void free_all(struct secrets *s)
{
    for (struct entry *e = s->first, *next; e; e = next) {
        next = e->next;
        for (struct waiter *w = e->waiters, *after; w; w = after) {
            after = w->next;
            free(w);
        }
        entry_wipe(e);
        free(e);
    }
    secret_free(s->packet);
    free(s);
}

/* Whatever was put off while callbacks ran. */
static void settle(struct secrets *s)
{
    if (s->busy > 0)
        return;
    if (s->closing && s->handles == 0) {
        free_all(s);
        return;
    }
    for (struct entry *e = s->first; e; e = e->next) {
        if (e->stale)
            entry_wipe(e);
    }
}

static struct entry *find(struct secrets *s, const char *name)
{
    struct entry *e = s->first;
    while (e && strcmp(e->name, name) != 0)
        e = e->next;
    return e;
}

static struct entry *find_or_make(struct secrets *s, const char *name)
{
    struct entry *e = find(s, name);
    if (e || s->names >= NAMES_MAX || !(e = calloc(1, sizeof *e)))
        return e;
    snprintf(e->name, sizeof e->name, "%s", name);
    e->last = &e->waiters;
    e->next = s->first;
    s->first = e;
    s->names++;
    return e;
}

static int tell_seen(struct secrets *s, const char *name, const char *value, size_t len,
                     struct err *err)
{
    int rc = s->seen ? s->seen(s->seen_arg, name, value, len, err) : 0;
    return rc < 0 ? err_wrap(err, "secret %s cannot be hidden in logs", name) : 0;
}

/* One by one from the front: a callback may take others out, or want the same again. */
static void tell_waiters(struct secrets *s, struct entry *e)
{
    while (e->waiters && !s->closing) {
        struct waiter w = *e->waiters;
        free(e->waiters);
        e->waiters = w.next;
        if (!e->waiters)
            e->last = &e->waiters;
        if (e->value)
            w.cb(w.arg, e->value, e->len, NULL);
        else
            w.cb(w.arg, NULL, 0, &e->failed);
    }
}

static void fail(struct secrets *s, struct entry *e, const struct err *err)
{
    e->failed = *err;
    e->failed_ms = uv_now(s->loop);
    tell_waiters(s, e);
}

static struct entry *next_due(struct secrets *s)
{
    struct entry *e = s->due;
    if (e) {
        s->due = e->next_due;
        if (!s->due)
            s->due_last = &s->due;
        e->next_due = NULL;
        e->asked = false;
    }
    if (!s->due && !s->closing)
        uv_unref((uv_handle_t *)&s->poll);
    return e;
}

static void lost(struct secrets *s, const char *why)
{
    struct entry *e;
    err_set(&s->gone, ERR_FAIL, "secrets cannot be had: the helper process is gone (%s)", why);
    uv_poll_stop(&s->poll);
    while (!s->closing && (e = next_due(s)))
        fail(s, e, &s->gone);
}

/* The helper read a new secrets.json: values may be others now. */
static void forget_values(struct secrets *s)
{
    for (struct entry *e = s->first; e; e = e->next) {
        e->stale = e->value != NULL;
        e->failed = ERR_INIT;
    }
}

static void take_value(struct secrets *s, struct entry *e, const uint8_t *bytes, size_t n)
{
    struct err err = ERR_INIT;
    char *value = secret_new(n + 1, &err);
    if (!value) {
        fail(s, e, &err);
        return;
    }
    memcpy(value, bytes, n);
    value[n] = 0;
    entry_wipe(e);
    e->value = value;
    e->len = n;
    e->failed = ERR_INIT;
    e->used_ms = uv_now(s->loop);
    if (tell_seen(s, e->name, e->value, e->len, &err) < 0) {
        entry_wipe(e);
        fail(s, e, &err);
        return;
    }
    tell_waiters(s, e);
}

static void take_packet(struct secrets *s, size_t n)
{
    struct err err = ERR_INIT;
    struct entry *e;
    if (s->packet[0] == SECRET_SAYS_CHANGED && n == 1) {
        forget_values(s);
        return;
    }
    if (!s->due || n < 2 || n > SECRET_PACKET_MAX) {
        lost(s, "it said what makes no sense");
        return;
    }
    e = next_due(s);
    if (s->packet[0] == SECRET_SAYS_VALUE) {
        take_value(s, e, s->packet + 1, n - 1);
        return;
    }
    bool known = s->packet[0] <= ERR_REFUSED;
    err_set(&err, known ? (enum err_code)s->packet[0] : ERR_FAIL, "%.*s", (int)(n - 1),
            (const char *)s->packet + 1);
    fail(s, e, &err);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct secrets *s = poll->data;
    (void)status;
    (void)events;
    s->busy++;
    ssize_t n = recv(s->fd, s->packet, SECRET_PACKET_MAX + 1, MSG_DONTWAIT);
    if (n > 0)
        take_packet(s, (size_t)n);
    else if (n == 0)
        lost(s, "it ended");
    else if (errno != EAGAIN && errno != EINTR)
        lost(s, strerror(errno));
    sodium_memzero(s->packet, SECRET_PACKET_MAX + 1);
    s->busy--;
    settle(s);
}

static void on_timer(uv_timer_t *timer)
{
    struct secrets *s = timer->data;
    uint64_t now = uv_now(s->loop);
    for (struct entry *e = s->first; e; e = e->next)
        e->stale = e->stale || (e->value && now - e->used_ms >= IDLE_MS);
    settle(s);
}

int secrets_new(uv_loop_t *loop, int helper_fd, struct secrets **ret, struct err *err)
{
    struct secrets *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_FAIL, "out of memory");
    s->loop = loop;
    s->fd = helper_fd;
    s->due_last = &s->due;
    if (!(s->packet = secret_new(SECRET_PACKET_MAX + 1, err))) {
        free(s);
        return -(int)err->code;
    }
    int e = uv_poll_init(loop, &s->poll, helper_fd);
    if (e < 0) {
        free_all(s);
        return err_set(err, ERR_FAIL, "cannot watch the helper: %s", uv_strerror(e));
    }
    uv_timer_init(loop, &s->timer);
    s->handles = 2;
    s->poll.data = s->timer.data = s;
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
    uv_timer_start(&s->timer, on_timer, LOOK_MS, LOOK_MS);
    uv_unref((uv_handle_t *)&s->poll); /* but while an answer is due */
    uv_unref((uv_handle_t *)&s->timer);
    *ret = s;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct secrets *s = handle->data;
    s->handles--;
    settle(s);
}

void secrets_close(struct secrets *s)
{
    if (!s || s->closing)
        return;
    s->closing = true;
    for (struct entry *e = s->first; e; e = e->next) {
        e->stale = true;
        if (s->busy == 0)
            entry_wipe(e);
    }
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
    fd_close(&s->fd); /* uv_close took it out of the loop's set already */
}

/* Asks the helper; waiters hear of it. */
static void ask(struct secrets *s, struct entry *e)
{
    struct err err = ERR_INIT;
    if (send(s->fd, e->name, strlen(e->name), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        err_errno(&err, ERR_FAIL, "the secrets' helper cannot be asked");
        fail(s, e, &err);
        return;
    }
    e->asked = true;
    *s->due_last = e;
    s->due_last = &e->next_due;
    uv_ref((uv_handle_t *)&s->poll);
}

static void get(struct secrets *s, const char *name, secret_cb *cb, void *arg)
{
    struct err err = ERR_INIT;
    struct entry *e = secret_name_valid(name) ? find_or_make(s, name) : NULL;
    struct waiter *w;
    if (!e) {
        err_set(&err, ERR_USAGE, "not a secret's name, or too many of them");
        cb(arg, NULL, 0, &err);
    } else if (e->value && !e->stale) {
        e->used_ms = uv_now(s->loop);
        cb(arg, e->value, e->len, NULL);
    } else if (s->gone.code) {
        cb(arg, NULL, 0, &s->gone);
    } else if (e->failed.code && uv_now(s->loop) - e->failed_ms < FAILED_MS) {
        err = e->failed;
        cb(arg, NULL, 0, &err);
    } else if (!(w = calloc(1, sizeof *w))) {
        err_set(&err, ERR_FAIL, "out of memory");
        cb(arg, NULL, 0, &err);
    } else {
        *w = (struct waiter){.cb = cb, .arg = arg};
        *e->last = w;
        e->last = &w->next;
        if (!e->asked)
            ask(s, e);
    }
}

void secrets_get(struct secrets *s, const char *name, secret_cb *cb, void *arg)
{
    s->busy++;
    get(s, name, cb, arg);
    s->busy--;
    settle(s);
}

void secrets_drop(struct secrets *s, const char *name)
{
    struct entry *e = find(s, name);
    uint64_t now = uv_now(s->loop);
    if (e && e->value && (e->dropped_ms == 0 || now - e->dropped_ms >= DROP_MS)) {
        e->stale = true;
        e->dropped_ms = now;
    }
    settle(s);
}

void secrets_forget(struct secrets *s, void *arg)
{
    for (struct entry *e = s->first; e; e = e->next) {
        struct waiter **at = &e->waiters;
        while (*at) {
            struct waiter *w = *at;
            if (w->arg != arg) {
                at = &w->next;
                continue;
            }
            *at = w->next;
            free(w);
        }
        e->last = at;
    }
}

void secrets_on_new(struct secrets *s, secret_seen_cb *cb, void *arg)
{
    struct err err = ERR_INIT;
    s->seen = cb;
    s->seen_arg = arg;
    for (struct entry *e = s->first; e; e = e->next) {
        if (e->value && !e->stale)
            e->stale = tell_seen(s, e->name, e->value, e->len, &err) < 0; /* tried again */
    }
}

int secrets_add(struct secrets *s, const char *name, const char *value, size_t len, struct err *err)
{
    return tell_seen(s, name, value, len, err);
}
