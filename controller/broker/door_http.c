/* The requests of one connection: heads, whose token they bring, bodies, and the framing of answers. */
#include "controller/broker/door_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/clock.h"

#define FULL           (256u << 10)
#define SKIP_MAX       (64u << 20)
#define TOKEN_MAX      256
#define STRANGERS_TOLD 5 /* notes an attempt about wrong tokens; the ledger has them all */

static const struct http_header *header_of(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->nheaders; i++)
        if (http_span_is(h->headers[i].name, name))
            return &h->headers[i];
    return NULL;
}

/* Is `word` one of the comma-separated ones of a header that may stand several times? */
static bool header_names(const struct http_head *h, const char *name, const char *word)
{
    for (size_t i = 0; i < h->nheaders; i++) {
        struct http_span v = h->headers[i].value;
        if (!http_span_is(h->headers[i].name, name))
            continue;
        for (size_t at = 0, n; at < v.n; at += n + 1) {
            const char *comma = memchr(v.p + at, ',', v.n - at);
            n = comma ? (size_t)(comma - v.p) - at : v.n - at;
            struct http_span token = {v.p + at, n};
            for (; token.n > 0 && (token.p[0] == ' ' || token.p[0] == '\t'); token.p++)
                token.n--;
            while (token.n > 0 && (token.p[token.n - 1] == ' ' || token.p[token.n - 1] == '\t'))
                token.n--;
            if (http_span_is(token, word))
                return true;
        }
    }
    return false;
}

/* Whose token is it? */

static bool basic_is(const struct live_attempt *live, struct http_span coded)
{
    uint8_t plain[TOKEN_MAX];
    size_t n = 0;
    if (sodium_base642bin(plain, sizeof plain, coded.p, coded.n, NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    const uint8_t *colon = memchr(plain, ':', n);
    bool is =
        colon && attempt_token_is(live, (const char *)colon + 1, n - (size_t)(colon + 1 - plain));
    sodium_memzero(plain, sizeof plain);
    return is;
}

static bool scheme_is(struct http_span value, const char *scheme, struct http_span *ret_rest)
{
    size_t n = strlen(scheme);
    struct http_span word = {value.p, n};
    if (value.n <= n || value.p[n] != ' ' || !http_span_is(word, scheme))
        return false;
    *ret_rest = (struct http_span){value.p + n + 1, value.n - n - 1};
    return true;
}

static bool token_right(const struct live_attempt *live, const struct http_head *h)
{
    struct http_span rest;
    for (size_t i = 0; i < h->nheaders; i++) {
        struct http_span v = h->headers[i].value;
        if (http_span_is(h->headers[i].name, "x-api-key") && attempt_token_is(live, v.p, v.n))
            return true;
        if (!http_span_is(h->headers[i].name, "authorization"))
            continue;
        if (scheme_is(v, "Bearer", &rest) && attempt_token_is(live, rest.p, rest.n))
            return true;
        if (scheme_is(v, "Basic", &rest) && basic_is(live, rest))
            return true;
    }
    return false;
}

static void refuse_stranger(struct door *d, const struct http_head *h)
{
    static const char body[] =
        "{\"error\":{\"type\":\"authentication_error\",\"code\":\"invalid_api_key\","
        "\"message\":\"creel: this is not the token of this attempt, or the attempt is over\"}}\n";
    static char basic[] = "www-authenticate: Basic realm=\"creel\"";
    static char json[] = "content-type: application/json";
    char *lines[] = {json, basic, NULL};
    struct err err = ERR_INIT;
    struct live_attempt *live = d->live;
    bool any = header_of(h, "authorization") || header_of(h, "x-api-key");
    request_head(&d->rq, 401, &(struct strv){2, lines}, sizeof body - 1);
    request_write(&d->rq, body, sizeof body - 1);
    request_end(&d->rq);
    /* git asks without a token first, and is told that one is wanted. */
    if (!any)
        return;
    ledger_refused(d->p->ledger, live->a.attempt, "a wrong token", clock_wall_s(), &err);
    if (live->strangers++ < STRANGERS_TOLD)
        process_note(d->p, live->a.attempt, "broker: a call with a wrong token was refused");
}

/* Requests. */

static void not_found(struct request *rq)
{
    static const char body[] = "{\"error\":{\"type\":\"not_found_error\",\"code\":\"not_found\","
                               "\"message\":\"creel: nothing is served at this path\"}}\n";
    request_reply(rq, 404, "application/json", body, sizeof body - 1);
}

static void malformed(struct door *d, const char *why)
{
    char body[256];
    d->rq = (struct request){.door = d, .active = true, .close = true};
    int n = snprintf(body, sizeof body,
                     "{\"error\":{\"type\":\"invalid_request_error\","
                     "\"message\":\"creel: malformed request: %s\"}}\n",
                     why);
    request_reply(&d->rq, 400, "application/json", body, (size_t)n);
    d->cut = true;
}

static bool keeps_alive(const struct http_head *h)
{
    return h->minor == 1 && !header_names(h, "connection", "close");
}

/* The body is over, or there is none. */
static void body_over(struct door *d)
{
    d->phase = d->rq.active ? DOOR_WAIT : DOOR_HEAD;
    d->since_ms = uv_now(&d->p->loop);
    if (d->rq.state && !d->rq.ended)
        d->rq.service->body_end(d->rq.state);
}

static void request_begin(struct door *d, const struct http_head *h)
{
    struct request *rq = &d->rq;
    *rq = (struct request){.door = d, .active = true, .old = h->minor == 0};
    rq->bare = h->method.n == 4 && memcmp(h->method.p, "HEAD", 4) == 0;
    rq->close = !keeps_alive(h);
    d->length_known = h->body != HTTP_BODY_CHUNKED;
    d->left = h->body == HTTP_BODY_LENGTH ? h->length : 0;
    d->chunks = (struct http_chunks){0};
    d->skipped = 0;
    d->since_ms = d->begun_ms = uv_now(&d->p->loop);
    bool any = h->body == HTTP_BODY_CHUNKED || d->left > 0;
    bool waits = any && h->minor == 1 && header_names(h, "expect", "100-continue");
    if (!token_right(d->live, h)) {
        rq->close |= waits;
        refuse_stranger(d, h);
    } else {
        rq->service = d->p->route(h);
        rq->state = rq->service ? rq->service->begin(rq, h) : NULL;
        if (!rq->service)
            not_found(rq);
        if (waits && rq->state && !rq->ended)
            door_put(d, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        rq->close |= waits && !rq->state; /* its body may come or not */
    }
    d->phase = DOOR_BODY;
    if (!any)
        body_over(d);
}

/* Bytes of a body, already out of its framing. */
static void body_bytes(struct door *d, const char *p, size_t n)
{
    struct request *rq = &d->rq;
    d->since_ms = uv_now(&d->p->loop);
    if (n == 0)
        return;
    if (rq->state && !rq->ended && rq->service->body(rq->state, p, n))
        return;
    d->skipped += n;
    if (d->skipped > SKIP_MAX)
        d->cut = true;
}

/* How many of the bytes belong to the body. */
static size_t take_body(struct door *d, const uint8_t *bytes, size_t n)
{
    struct http_span data = {(const char *)bytes, d->left < n ? (size_t)d->left : n};
    bool done = false;
    if (d->length_known) {
        d->left -= data.n;
        body_bytes(d, data.p, data.n);
        if (d->left == 0)
            body_over(d);
        return data.n;
    }
    long used = http_chunks_data(&d->chunks, bytes, n, &data, &done);
    if (used < 0) {
        d->broken = true; /* where the next request begins, nobody knows */
        return n;
    }
    body_bytes(d, data.p, data.n);
    if (done)
        body_over(d);
    return (size_t)used;
}

/* Keeps bytes for later: the beginning of a head, or the next request. */
static void keep(struct door *d, const void *bytes, size_t n)
{
    size_t had = d->in.cap;
    if (!attempt_room(d->p, d->live, n, ANSWERS_SPARE) || buf_add(&d->in, bytes, n) < 0)
        d->broken = true;
    attempt_holds(d->p, d->live, had, d->in.cap);
}

void door_kept_done(struct door *d)
{
    attempt_holds(d->p, d->live, d->in.cap, 0);
    buf_done(&d->in);
    buf_init(&d->in, DOOR_KEPT_MAX);
}

/* How many of the bytes belong to the head. */
static size_t take_head(struct door *d, const uint8_t *bytes, size_t n)
{
    struct http_head head;
    const char *why = "";
    size_t used = 0, had = d->in.len;
    if (had == 0)
        d->since_ms = uv_now(&d->p->loop);
    if (had > 0)
        keep(d, bytes, n);
    if (d->broken)
        return n;
    int rc =
        http_head_parse_door(had ? d->in.data : bytes, had ? d->in.len : n, &head, &used, &why);
    if (rc < 0) {
        malformed(d, why);
        return n;
    }
    if (rc == 0) {
        if (had == 0)
            keep(d, bytes, n);
        return n;
    }
    request_begin(d, &head);
    door_kept_done(d);
    return used - had; /* the head was not whole before these bytes */
}

void door_feed(struct door *d, const uint8_t *bytes, size_t n)
{
    while (n > 0 && !d->broken && !d->cut) {
        size_t used = n;
        if (d->phase == DOOR_HEAD)
            used = take_head(d, bytes, n);
        else if (d->phase == DOOR_BODY)
            used = take_body(d, bytes, n);
        else
            keep(d, bytes, n);
        bytes += used;
        n -= used;
    }
}

void request_finish(struct door *d)
{
    struct request *rq = &d->rq;
    if (rq->state) {
        void *state = rq->state;
        rq->state = NULL;
        rq->service->done(state, false);
    }
    rq->active = false;
    if (rq->close) {
        d->cut = true;
    } else if (d->phase == DOOR_WAIT) { /* else the rest of its body is skipped first */
        d->phase = DOOR_HEAD;
        d->since_ms = uv_now(&d->p->loop);
    }
}

/* Answers. */

struct process *request_process(const struct request *rq)
{
    return rq->door->p;
}

const struct ledger_attempt *request_attempt(const struct request *rq)
{
    return &rq->door->live->a;
}

struct live_attempt *request_live(const struct request *rq)
{
    return rq->door->live;
}

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *words;
    } rows[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {413, "Content Too Large"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].status == status)
            return rows[i].words;
    return "Status";
}

void request_head(struct request *rq, int status, const struct strv *headers, int64_t length)
{
    struct buf head;
    if (rq->headed || rq->ended)
        return;
    rq->headed = true;
    rq->chunked = length < 0 && !rq->old;
    rq->close |= length < 0 && rq->old;
    buf_init(&head, 128u << 10);
    buf_addf(&head, "HTTP/1.1 %d %s\r\n", status, reason(status));
    for (size_t i = 0; headers && i < headers->n; i++)
        if (!strpbrk(headers->v[i], "\r\n")) /* a header is one line */
            buf_addf(&head, "%s\r\n", headers->v[i]);
    if (length >= 0)
        buf_addf(&head, "content-length: %lld\r\n", (long long)length);
    else if (rq->chunked)
        buf_adds(&head, "transfer-encoding: chunked\r\n");
    buf_adds(&head, rq->close ? "connection: close\r\n\r\n" : "\r\n");
    if (head.failed)
        rq->door->broken = true;
    else
        door_put(rq->door, head.data, head.len);
    buf_done(&head);
}

bool request_write(struct request *rq, const void *bytes, size_t n)
{
    struct door *d = rq->door;
    char size[24];
    if (n == 0 || rq->bare || rq->ended)
        return true;
    if (rq->chunked)
        door_put(d, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
    door_put(d, bytes, n);
    if (rq->chunked)
        door_put(d, "\r\n", 2);
    rq->full = door_pending(d) > FULL;
    return !rq->full;
}

void request_end(struct request *rq)
{
    if (rq->ended)
        return;
    if (rq->chunked && !rq->bare)
        door_put(rq->door, "0\r\n\r\n", 5);
    rq->ended = true;
}

void request_reply(struct request *rq, int status, const char *content_type, const void *body,
                   size_t n)
{
    char line[160];
    char *lines[] = {line, NULL};
    snprintf(line, sizeof line, "content-type: %s", content_type);
    request_head(rq, status, &(struct strv){1, lines}, (int64_t)n);
    request_write(rq, body, n);
    request_end(rq);
}

void request_abort(struct request *rq)
{
    rq->ended = true;
    rq->close = true;
}
