/* One call of a forge for one minted token: address, credential, sending. What the answer means is the
 * queue's to say. */
#include "controller/broker/forge_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/secret.h"
#include "controller/broker/forge_jwt.h"

#define ANSWER_ROOM \
    (32u << 10) /* most answers fit: the buffer does not move, no copy stays behind */

struct minted *minted_new(struct forge_queue *q, const struct forge_want *want,
                          const struct forge *forge)
{
    struct minted *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->q = q;
    m->want = *want;
    m->forge = *forge;
    buf_init(&m->url, 2 * FORGE_URL_SIZE + 3 * REPO_URL_SIZE);
    buf_init(&m->body, 4096);
    buf_init(&m->answer, FORGE_ANSWER_MAX);
    return m;
}

void minted_free(struct minted *m)
{
    if (!m)
        return;
    minted_cancel(m);
    secret_free(m->token.value);
    buf_done(&m->url);
    buf_done(&m->body);
    buf_wipe(&m->answer);
    free(m);
}

/* The secret that the call goes with; NULL: the minted token itself. */
static const char *secret_of(const struct minted *m)
{
    if (m->forge.kind != FORGE_GITHUB)
        return m->forge.token;
    return m->call == FORGE_REVOKE ? NULL : m->forge.key;
}

/* It did not do; it may be another one by now. */
static void drop_secret(const struct minted *m)
{
    if (secret_of(m))
        secrets_drop(m->q->use.secrets, secret_of(m));
}

static void finish(struct minted *m, bool sent, const struct err *err)
{
    minted_done_cb *done = m->done;
    m->x = NULL;
    m->done = NULL;
    done(m, sent, err);
}

static void on_head(void *arg, int status, const struct strv *headers)
{
    struct minted *m = arg;
    (void)headers;
    m->status = status;
}

static bool on_data(void *arg, const void *bytes, size_t n)
{
    struct minted *m = arg;
    buf_add(&m->answer, bytes, n); /* over its ceiling it is marked, and read as nothing */
    return true;
}

static void on_end(void *arg, bool sent, const struct err *err)
{
    struct minted *m = arg;
    if (err)
        m->status = 0;
    if (m->status == 401)
        drop_secret(m);
    finish(m, sent, err);
}

static void send_with(struct minted *m, const char *credential, size_t len)
{
    static const struct http_callbacks callbacks = {on_head, on_data, on_end};
    const struct forge_call_row *row = forge_call_row((enum forge_kind)m->forge.kind, m->call);
    struct strv headers = {0};
    struct err err = ERR_INIT;
    int rc = forge_headers((enum forge_kind)m->forge.kind, credential, len, &headers, &err);
    if (rc == 0 && m->body.len > 0 && strv_add(&headers, "content-type: application/json") < 0)
        rc = err_set(&err, ERR_FAIL, "out of memory");
    struct http_ask ask = {
        .method = row->method,
        .url = buf_str(&m->url),
        .headers = &headers,
        .body = m->body.len > 0 ? m->body.data : NULL,
        .len = m->body.len,
        .ca_file = m->forge.ca_file,
        .connect_ms = 10000,
        .first_byte_ms = 15000,
        .idle_ms = 15000,
        .total_ms = 20000,
        .answer_max = FORGE_ANSWER_MAX,
    };
    if (rc == 0)
        rc = http_send(m->q->use.http, &ask, &callbacks, m, &m->x, &err);
    forge_headers_wipe(&headers);
    if (rc < 0) {
        drop_secret(m);
        finish(m, false, &err);
    }
}

static void on_secret(void *arg, const char *value, size_t len, const struct err *err)
{
    struct minted *m = arg;
    struct err bad = ERR_INIT;
    m->asking_secret = false;
    if (err) {
        finish(m, false, err);
        return;
    }
    if (m->forge.kind != FORGE_GITHUB) {
        send_with(m, value, len);
        return;
    }
    struct buf jwt;
    buf_init(&jwt, 16384);
    (void)buf_room(&jwt, 8192);
    if (forge_jwt(value, len, m->forge.app_id, clock_wall_s(), &jwt, &bad) < 0) {
        drop_secret(m);
        finish(m, false, &bad);
    } else {
        send_with(m, buf_str(&jwt), jwt.len);
    }
    buf_wipe(&jwt);
}

void minted_call(struct minted *m, enum forge_call call, minted_done_cb *done)
{
    struct forge_marks marks = {.forge = &m->forge, .repo = &m->repo, .id = m->token.handle};
    struct err err = ERR_INIT;
    m->call = call;
    m->done = done;
    m->status = 0;
    buf_clear(&m->url);
    buf_wipe(&m->answer);
    buf_init(&m->answer, FORGE_ANSWER_MAX);
    (void)buf_room(&m->answer, ANSWER_ROOM);
    if (call != FORGE_MINT)
        buf_clear(&m->body);
    if (forge_call_url(call, &marks, &m->url, &err) < 0) {
        finish(m, false, &err);
    } else if (!secret_of(m)) {
        send_with(m, m->token.value, m->token.len);
    } else {
        m->asking_secret = true;
        secrets_get(m->q->use.secrets, secret_of(m), on_secret, m);
    }
}

void minted_cancel(struct minted *m)
{
    if (m->asking_secret)
        secrets_forget(m->q->use.secrets, m);
    m->asking_secret = false;
    if (m->x)
        http_cancel(m->x);
    m->x = NULL;
    m->done = NULL;
}
