/* One look at a host, for enrolment and `host test`. Pins nothing and stores nothing: it says what it
 * saw over a connection whose key was checked by host.c before anything else.
 */
#include "controller/probe.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct look {
    struct host_link *link;
    struct probe *out;
    struct err err; /* why it ended, when it did not succeed */
    bool done;
};

static int key_seen(struct probe *out, const char *line, struct err *err)
{
    struct ssh_pub pub;
    int rc;

    if (strlen(line) >= sizeof(out->host_key))
        return err_set(err, ERR_TRUST, "its host key is too long");
    rc = ssh_pub_parse(line, &pub, err);
    if (rc < 0)
        return rc;
    snprintf(out->host_key, sizeof(out->host_key), "%s", line);
    ssh_pub_fingerprint(&pub, out->host_key_fpr);
    return 0;
}

static void on_ready(void *arg, const struct msg_welcome *w, const char *host_key_line)
{
    struct look *l = arg;

    l->out->welcome = *w;
    l->out->welcome.attempts = (struct json_list){0};
    l->out->welcome.images = l->out->welcome.reach = l->out->welcome.tools = (struct strv){0};
    l->out->attempts = (unsigned)w->attempts.n;
    if (strv_copy(&l->out->welcome.images, &w->images) < 0 ||
        strv_copy(&l->out->welcome.reach, &w->reach) < 0 ||
        strv_copy(&l->out->welcome.tools, &w->tools) < 0)
        err_set(&l->err, ERR_FAIL, "out of memory");
    else
        key_seen(l->out, host_key_line, &l->err);
    l->done = true;
    host_close(l->link);
}

static void on_message(void *arg, const struct msg *m)
{
    (void)arg;
    (void)m;
}

static void on_gone(void *arg, const struct err *err)
{
    struct look *l = arg;

    if (l->done)
        return;
    l->done = true;
    l->err = *err;
    host_close(l->link);
}

int probe_host(const struct host_target *t, struct probe *out, struct err *err)
{
    static const struct host_callbacks callbacks = {on_ready, on_message, on_gone};
    struct probe seen = {0};
    struct look l = {.out = &seen};
    uv_loop_t loop;
    int rc;

    if (uv_loop_init(&loop) != 0)
        return err_set(err, ERR_FAIL, "cannot make an event loop");
    rc = host_open(&loop, t, &callbacks, &l, &l.link, err);
    if (rc == 0) {
        uv_run(&loop, UV_RUN_DEFAULT);
        if (l.err.code != ERR_NONE) {
            rc = -(int)l.err.code;
            if (err)
                *err = l.err;
        } else if (!l.done) {
            rc = err_set(err, ERR_HOST, "host %s: the session ended early", t->name);
        }
    }
    uv_loop_close(&loop);
    if (rc == 0)
        *out = seen;
    else
        probe_done(&seen);
    return rc;
}

void probe_done(struct probe *p)
{
    strv_done(&p->welcome.images);
    strv_done(&p->welcome.reach);
    strv_done(&p->welcome.tools);
}

static int part(char *to, size_t size, const char *from, size_t n, const char *what,
                struct err *err)
{
    if (n == 0 || n >= size)
        return err_set(err, ERR_USAGE, "%s is %s", what, n ? "too long" : "empty");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)from[i] <= ' ' || from[i] == 0x7f)
            return err_set(err, ERR_USAGE, "%s holds a blank or control character", what);
    memcpy(to, from, n);
    to[n] = 0;
    return 0;
}

static int port_parse(const char *text, unsigned *ret, struct err *err)
{
    unsigned v = 0;
    size_t n = strspn(text, "0123456789");

    if (n == 0 || n > 5 || text[n])
        return err_set(err, ERR_USAGE, "'%.40s' is not a port", text);
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (unsigned)(text[i] - '0');
    if (v == 0 || v > 65535)
        return err_set(err, ERR_USAGE, "port %u is out of range", v);
    *ret = v;
    return 0;
}

static int self_name(char *to, size_t size, struct err *err)
{
    struct passwd *pw = getpwuid(geteuid());

    if (!pw)
        return err_set(err, ERR_USAGE, "who are you? give USER@ADDRESS");
    return part(to, size, pw->pw_name, strlen(pw->pw_name), "the user name", err);
}

int probe_target_parse(const char *text, struct host_target *out, struct err *err)
{
    const char *at = strrchr(text, '@');
    const char *addr = at ? at + 1 : text, *end, *colon;
    struct host_target t = *out;
    int rc;

    t.port = 22;
    if (at)
        rc = part(t.user, sizeof(t.user), text, (size_t)(at - text), "the user name", err);
    else
        rc = self_name(t.user, sizeof(t.user), err);
    if (rc < 0)
        return rc;
    if (addr[0] == '[') {
        end = strchr(++addr, ']');
        if (!end || (end[1] && end[1] != ':'))
            return err_set(err, ERR_USAGE, "'%.80s': an IPv6 address stands in [brackets]", text);
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strchr(addr, ':');
        if (colon && strchr(colon + 1, ':'))
            return err_set(err, ERR_USAGE, "'%.80s': put an IPv6 address in [brackets]", text);
        end = colon ? colon : addr + strlen(addr);
    }
    rc = part(t.addr, sizeof(t.addr), addr, (size_t)(end - addr), "the address", err);
    if (rc == 0 && colon)
        rc = port_parse(colon + 1, &t.port, err);
    if (rc == 0)
        *out = t;
    return rc;
}
