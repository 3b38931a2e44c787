/* The life of a model call, from the jail's request to what it cost. */
#include "controller/broker/model_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "config.h"
#include "controller/broker/attempts.h"
#include "controller/broker/books.h"
#include "controller/broker/dialect.h"
#include "controller/redact.h"

#define ERROR_BODY_MAX (64u << 10)

struct model_call {
    struct model_call *next; /* process::waiting */
    struct process *p;
    struct request *rq;
    struct live_attempt *live;
    const struct dialect *dialect;
    struct strv headers;      /* of the agent's, that go upstream */
    struct buf body;          /* as it came, then as it is sent */
    size_t metered;           /* bytes that the meter keeps of the answer */
    size_t counted;           /* bytes of both in process::buffered */
    struct provider provider; /* without its list of models: a copy */
    struct price price;       /* likewise: the books may change under way */
    struct call_ask ask;
    uint64_t reserve, call;
    bool held;    /* `call` waits to be settled */
    bool waiting; /* in process::waiting */
    bool asking;  /* the secret is being got */
    struct http_exchange *x;
    struct meter *meter;
    int status;         /* of the provider's answer; 0: none yet */
    struct buf refusal; /* body of the provider's error */
    struct strv back;   /* headers of the answer, for the jail */
    uint64_t begun_us, first_us;
    bool full;   /* the jail takes nothing now */
    bool opaque; /* the key is too short to be found in what the provider says */
};

/* What waits here. */

static void count(struct model_call *c)
{
    size_t now = c->body.cap + c->metered;
    attempt_holds(c->p, c->live, c->counted, now);
    c->counted = now;
}

/* Answers in the dialect's own shape. */
static void say(struct model_call *c, int status, const char *message)
{
    char text[ERR_MSG_MAX + 16];
    char type[] = "content-type: application/json", later[] = "retry-after: 5";
    char *lines[] = {type, later, NULL};
    struct buf body;
    buf_init(&body, 64u << 10);
    snprintf(text, sizeof text, "creel: %s", message);
    dialect_refusal(c->dialect, text, &body);
    request_head(c->rq, status, &(struct strv){status == 429 ? 2 : 1, lines}, (int64_t)body.len);
    request_write(c->rq, body.data, body.len);
    request_end(c->rq);
    buf_done(&body);
}

/* Not forwarded, and so it stands in the record. */
static void refuse(struct model_call *c, int status, const char *message)
{
    struct err err = ERR_INIT;
    if (ledger_refused(c->p->ledger, c->live->a.attempt, message, clock_wall_s(), &err) < 0)
        diag(DIAG_ERROR, "broker: %s", err.msg);
    say(c, status, message);
}

static void settle(struct model_call *c, enum ledger_end end, const struct usage *usage,
                   uint64_t micros)
{
    struct err err = ERR_INIT;
    uint64_t now = clock_mono_us();
    uint64_t first_ms = c->first_us ? (c->first_us - c->begun_us) / 1000 : 0;
    if (!c->held)
        return;
    c->held = false;
    if (ledger_settle(c->p->ledger, c->call, end, usage, micros, c->status, first_ms,
                      (now - c->begun_us) / 1000, &err) < 0)
        diag(DIAG_ERROR, "broker: %s", err.msg); /* the hold stays, which is more */
}

/* Marks and loops. */

static void say_mark(struct model_call *c)
{
    unsigned percent = 0;
    struct err err = ERR_INIT;
    struct buf usd;
    if (ledger_mark(c->p->ledger, c->live->a.attempt, &percent, &err) < 0 || percent == 0)
        return;
    buf_init(&usd, 64);
    usd_format(c->live->a.spend.usd_micros, &usd);
    process_note(c->p, c->live->a.attempt, "budget: %u %% of %s spent or held", percent,
                 buf_str(&usd));
    buf_done(&usd);
}

/* False: it came too often, and the attempt was stopped. */
static bool judge_repeats(struct model_call *c, struct repeats *r,
                          const uint8_t fingerprint[static 32], const char *what)
{
    char why[128];
    uint64_t limit = c->live->a.spend.repeats, n = repeats_count(r, fingerprint), last = 2 * limit;
    snprintf(why, sizeof why, "the same %s %llu times in a row", what, (unsigned long long)n);
    if (limit == 0 || n < limit)
        return true;
    if (n >= last) {
        process_stop(c->p, c->live->a.attempt, why);
        return false;
    }
    if (n == limit)
        process_note(c->p, c->live->a.attempt, "loop: %s; at %llu everything is refused", why,
                     (unsigned long long)last);
    return true;
}

/* The provider's answer. */

static bool returned(const struct model_call *c, const char *line)
{
    size_t n = strcspn(line, ":");
    static const char *const framing[] = {"content-length", "transfer-encoding", "connection",
                                          "content-encoding", "set-cookie"};
    for (size_t i = 0; i < sizeof framing / sizeof *framing; i++)
        if (strlen(framing[i]) == n && strncmp(line, framing[i], n) == 0)
            return false;
    return dialect_returns(c->dialect, line, n);
}

static bool encoded(const struct strv *headers)
{
    for (size_t i = 0; i < headers->n; i++)
        if (strncmp(headers->v[i], "content-encoding:", 17) == 0 &&
            !strstr(headers->v[i], "identity"))
            return true;
    return false;
}

/* The call is over before its answer is: what there is of it is ended as the agent understands it. */
static void fail(struct model_call *c, const char *why)
{
    struct buf end;
    char text[ERR_MSG_MAX + 64];
    if (c->x)
        http_cancel(c->x);
    c->x = NULL;
    settle(c, CALL_WHOLE, NULL, 0);
    process_note(c->p, c->live->a.attempt, "model call: %s; charged in full", why);
    if (c->status == 0 || !c->meter) {
        say(c, 502, why);
        return;
    }
    if (!c->ask.stream) {
        request_abort(c->rq);
        return;
    }
    buf_init(&end, 64u << 10);
    snprintf(text, sizeof text, "creel: %s", why);
    dialect_failure(c->dialect, text, &end);
    request_write(c->rq, end.data, end.len);
    request_end(c->rq);
    buf_done(&end);
}

static void on_head(void *arg, int status, const struct strv *headers)
{
    struct model_call *c = arg;
    c->status = status;
    c->first_us = clock_mono_us();
    for (size_t i = 0; i < headers->n; i++)
        if (returned(c, headers->v[i]) && strv_add(&c->back, headers->v[i]) < 0)
            break;
    if (status < 200 || status > 299)
        return;
    if (encoded(headers)) {
        fail(c, "the provider's answer is compressed, though it was asked not to");
        return;
    }
    c->meter = meter_new(c->dialect, c->ask.stream);
    if (!c->meter) {
        fail(c, "out of memory");
        return;
    }
    request_head(c->rq, status, &c->back, -1);
}

static bool on_data(void *arg, const void *bytes, size_t n)
{
    struct model_call *c = arg;
    struct err err = ERR_INIT;
    if (!c->meter) {
        size_t room = c->refusal.max - c->refusal.len;
        buf_add(&c->refusal, bytes, n < room ? n : room);
        return true;
    }
    if (c->full)
        return false;
    if (!attempt_room(c->p, c->live, n, ANSWERS_SPARE)) {
        fail(c, "too much of the attempt's answers waits at the controller");
        return true;
    }
    if (meter_feed(c->meter, bytes, n, &err) < 0) {
        fail(c, err.msg);
        return true;
    }
    c->metered = meter_keeps(c->meter);
    count(c);
    c->full = !request_write(c->rq, bytes, n);
    return true;
}

/* An error of the provider's own. What it says is passed on, unless it may quote the key. */
static void pass_error(struct model_call *c)
{
    char why[160];
    size_t at;
    /* A gateway that did not wait for the answer's end: whoever is behind it may charge for it. */
    bool gave_up = c->status == 504 || c->status == 524;
    settle(c, gave_up ? CALL_WHOLE : CALL_FAILED, NULL, 0);
    if (c->status == 401)
        secrets_drop(c->p->secrets, c->provider.secret); /* it may have been changed since */
    if (c->status == 401 || c->status == 403) {
        snprintf(why, sizeof why, "the provider %s refused the controller's key (HTTP %d)",
                 c->provider.name, c->status);
        process_note(c->p, c->live->a.attempt, "model call: %s", why);
        say(c, 400, why);
        return;
    }
    bool quotes = c->opaque || (c->refusal.len > 0 &&
                                needles_find(c->p->needles, c->refusal.data, c->refusal.len, &at));
    if (c->status < 400 || quotes || c->refusal.len == 0) {
        snprintf(why, sizeof why, "the provider %s answered HTTP %d", c->provider.name, c->status);
        say(c, c->status < 400 ? 502 : c->status, why);
        return;
    }
    request_head(c->rq, c->status, &c->back, (int64_t)c->refusal.len);
    request_write(c->rq, c->refusal.data, c->refusal.len);
    request_end(c->rq);
}

static void settle_by_usage(struct model_call *c, const struct usage *usage)
{
    char why[ERR_MSG_MAX];
    uint64_t micros = price_cost(&c->price, usage);
    bool over = micros > c->reserve;
    settle(c, over ? CALL_OVER : CALL_SETTLED, usage, micros);
    if (!over)
        return;
    /* What bounds a call does not hold there: another one may cost anything. */
    snprintf(why, sizeof why,
             "budget: the provider %s counted more than a call may cost (%llu tokens of output "
             "where %llu were allowed)",
             c->provider.name, (unsigned long long)usage->output,
             (unsigned long long)c->ask.output_cap);
    process_stop(c->p, c->live->a.attempt, why);
}

/* The answer ended: what it cost. `why`: its connection did not end well, or NULL. */
static void finish(struct model_call *c, const char *why)
{
    struct meter_end end;
    static const uint8_t nothing[32];
    meter_finish(c->meter, &end);
    if (!end.complete) {
        fail(c, why ? why : "the provider's answer ended before its end");
        return;
    }
    if (end.have_usage) {
        settle_by_usage(c, &end.usage);
    } else {
        settle(c, CALL_WHOLE, NULL, 0);
        process_note(c->p, c->live->a.attempt,
                     "model call: the provider told no usage; charged in full");
    }
    say_mark(c);
    if (memcmp(end.fingerprint, nothing, sizeof nothing) != 0)
        judge_repeats(c, &c->live->answered, end.fingerprint, "answer");
    request_end(c->rq);
}

static void on_end(void *arg, bool sent, const struct err *err)
{
    struct model_call *c = arg;
    char why[ERR_MSG_MAX];
    c->x = NULL;
    if (c->status != 0 && !c->meter) {
        pass_error(c);
        return;
    }
    if (!err) {
        finish(c, NULL);
        return;
    }
    snprintf(why, sizeof why, "provider %s: %.300s", c->provider.name, err->msg);
    if (!sent) {
        settle(c, CALL_UNSENT, NULL, 0);
        say(c, 502, why);
    } else if (c->meter) {
        finish(c, why);
    } else {
        fail(c, why);
    }
}

/* Sending. */

static const struct http_callbacks callbacks = {on_head, on_data, on_end};

static void wipe_list(struct strv *s)
{
    for (size_t i = 0; i < s->n; i++)
        sodium_memzero(s->v[i], strlen(s->v[i]));
    strv_done(s);
}

static int add_key(struct strv *headers, const struct provider *provider, const char *key,
                   size_t len)
{
    const char *name = provider->auth == AUTH_BEARER ? "authorization: Bearer " : "x-api-key: ";
    struct buf line;
    buf_init(&line, SECRET_VALUE_MAX + 64);
    (void)buf_room(&line, strlen(name) + len + 1); /* grown once: no copy is left behind */
    int rc = buf_adds(&line, name) < 0 || buf_add(&line, key, len) < 0 ||
                     strv_add(headers, buf_str(&line)) < 0
                 ? -1
                 : 0;
    buf_wipe(&line);
    return rc;
}

static bool key_fit(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] == 0x7f)
            return false;
    return len > 0;
}

static int send_call(struct model_call *c, const char *key, size_t len, struct err *err)
{
    char url[1024];
    struct strv headers = {0};
    snprintf(url, sizeof url, "%s%s", c->provider.base_url, dialect_path(c->dialect));
    if (!key_fit(key, len)) {
        secrets_drop(c->p->secrets, c->provider.secret);
        return err_set(err, ERR_FAIL, "secret %s: no header can hold it", c->provider.secret);
    }
    int rc = provider_ca_readable(&c->provider, err);
    if (rc < 0)
        return rc;
    rc = strv_copy(&headers, &c->headers);
    if (rc == 0)
        rc = strv_add(&headers, "content-type: application/json") |
             strv_add(&headers, "accept-encoding: identity") |
             strv_add(&headers, "user-agent: creel/" CREEL_VERSION);
    if (rc == 0)
        rc = add_key(&headers, &c->provider, key, len);
    struct http_ask ask = {.method = "POST",
                           .url = url,
                           .headers = &headers,
                           .body = c->body.data,
                           .len = c->body.len,
                           .ca_file = c->provider.ca_file,
                           .answer_max = CALL_ANSWER_MAX};
    rc = rc < 0 ? err_set(err, ERR_FAIL, "out of memory")
                : http_send(c->p->http, &ask, &callbacks, c, &c->x, err);
    wipe_list(&headers);
    return rc;
}

static void on_key(void *arg, const char *value, size_t len, const struct err *err)
{
    struct model_call *c = arg;
    struct err why = ERR_INIT;
    c->asking = false;
    c->opaque = len < NEEDLE_WINDOW;
    if (!err && send_call(c, value, len, &why) == 0)
        return;
    if (err)
        why = *err;
    settle(c, CALL_UNSENT, NULL, 0);
    process_note(c->p, c->live->a.attempt, "model call: %s", why.msg);
    say(c, 400, "the controller cannot use its key for this provider; its operator sees why");
}

void model_calls_leave(struct process *p, struct model_call *list, int rc, const struct err *err)
{
    if (rc < 0)
        diag(DIAG_ERROR, "broker: %s", err->msg);
    while (list) {
        struct model_call *c = list;
        list = c->next;
        c->waiting = false;
        if (rc < 0) {
            c->held = false;
            say(c, 400, "the controller cannot write its ledger, so it spends nothing");
            continue;
        }
        c->asking = true;
        secrets_get(p->secrets, c->provider.secret, on_key, c);
    }
}

/* Judging. */

static const char *find_provider(struct model_call *c)
{
    const struct provider *found =
        providers_find(books_providers(c->p->books), c->live->a.spend.provider);
    if (!found)
        return "the operator took this task's provider away";
    if (!(found->dialects & 1u << dialect_id_of(c->dialect)))
        return "this task's provider is not called in this way (see: creel provider ls)";
    c->provider = *found;
    return NULL;
}

/* The body is judged and becomes what is sent; what it may cost is known after. */
static int judge(struct model_call *c, struct err *err)
{
    struct buf out;
    int rc = books_look(c->p->books, err);
    if (rc < 0)
        return rc;
    const char *no = find_provider(c);
    if (no)
        return err_set(err, ERR_REFUSED, "%s", no);
    const struct spend *s = &c->live->a.spend;
    struct call_rules rules = {&s->models, &c->provider.models, &s->hosted_tools, s->output_tokens};
    buf_init(&out, CALL_BODY_MAX + (64u << 10));
    rc = dialect_request(c->dialect, &rules, c->body.data, c->body.len, &c->ask, &out, err);
    c->provider.models = (struct strv){0}; /* were the books' */
    buf_done(&c->body);
    c->body = out;
    count(c);
    if (rc < 0)
        return rc;
    const struct prices *prices = books_prices(c->p->books);
    const struct price *price = prices ? prices_find(prices, c->ask.model) : NULL;
    if (!price)
        return err_set(err, ERR_REFUSED,
                       "there is no price for the model %.128s, so it is not "
                       "called",
                       c->ask.model);
    c->price = *price;
    c->reserve = price_bound(price, c->ask.input_bound, c->ask.output_cap);
    return 0;
}

static int hold(struct model_call *c, struct err *err)
{
    struct ledger_ask ask = {.attempt = c->live->a.attempt,
                             .provider = &c->provider,
                             .model = c->ask.model,
                             .dialect = dialect_names[dialect_id_of(c->dialect)],
                             .reserve_micros = c->reserve,
                             .now_s = clock_wall_s()};
    memcpy(ask.prices_sha256, prices_sha256(books_prices(c->p->books)), sizeof ask.prices_sha256);
    return ledger_hold(c->p->ledger, &ask, &c->call, err);
}

/* What follows from a refused hold. */
static void refuse_hold(struct model_call *c, int rc, const char *why)
{
    enum ledger_no no = ledger_why(c->p->ledger);
    if (rc != -ERR_REFUSED) {
        diag(DIAG_ERROR, "broker: %s", why);
        say(c, 400, "the controller cannot write its ledger, so it spends nothing");
        return;
    }
    refuse(c, no == LEDGER_NO_RATE || no == LEDGER_NO_HELD ? 429 : 400, why);
    if (no == LEDGER_NO_BUDGET || no == LEDGER_NO_DAY)
        process_stop(c->p, c->live->a.attempt, why);
}

static void on_body_end(void *state)
{
    struct model_call *c = state;
    struct err err = ERR_INIT;
    int rc = judge(c, &err);
    if (rc == 0 && !judge_repeats(c, &c->live->asked, c->ask.fingerprint, "call"))
        rc = err_set(&err, ERR_REFUSED, "%s", c->live->a.stopped);
    if (rc < 0) {
        refuse(c, 400, err.msg);
        return;
    }
    if ((rc = hold(c, &err)) < 0) {
        refuse_hold(c, rc, err.msg);
        return;
    }
    if (c->ask.left_out[0] && !c->live->left_out_told) {
        c->live->left_out_told = true;
        process_note(c->p, c->live->a.attempt, "model call: \"%s\" is not known here and left out",
                     c->ask.left_out);
    }
    c->held = true;
    c->waiting = true;
    c->next = c->p->waiting;
    c->p->waiting = c;
    say_mark(c);
}

static bool on_body(void *state, const void *bytes, size_t n)
{
    struct model_call *c = state;
    if (n > CALL_BODY_MAX - c->body.len) {
        refuse(c, 400, "the request is over 32 MiB");
        return false;
    }
    if (!attempt_room(c->p, c->live, n, 0) || buf_add(&c->body, bytes, n) < 0) {
        refuse(c, 429, "too much waits at the controller; again a little later");
        return false;
    }
    count(c);
    return true;
}

static void on_writable(void *state)
{
    struct model_call *c = state;
    c->full = false;
    if (c->x)
        http_resume(c->x);
}

static void unwait(struct model_call *c)
{
    struct model_call **at;
    for (unsigned i = 0; (at = model_calls_waiting(c->p, i)); i++) {
        while (*at && *at != c)
            at = &(*at)->next;
        if (*at) {
            *at = c->next;
            return;
        }
    }
}

static void on_done(void *state, bool gone)
{
    struct model_call *c = state;
    if (c->waiting)
        unwait(c);
    if (c->asking)
        secrets_forget(c->p->secrets, c);
    if (c->x)
        http_cancel(c->x);
    /* Agents hang up when they have read the last event, and need not wait for the connection's end. */
    if (c->held && c->meter) {
        struct meter_end end;
        meter_finish(c->meter, &end);
        if (end.complete && end.have_usage)
            settle_by_usage(c, &end.usage);
    }
    /* With the provider it is not known whether anything left; before it is. */
    settle(c, c->waiting || c->asking ? CALL_UNSENT : CALL_WHOLE, NULL, 0);
    attempt_holds(c->p, c->live, c->counted, 0);
    meter_free(c->meter);
    strv_done(&c->headers);
    strv_done(&c->back);
    buf_done(&c->body);
    buf_done(&c->refusal);
    c->p->calls--;
    free(c);
}

/* Keeps what of the agent's headers goes upstream. -1: out of memory. */
static int keep_headers(struct model_call *c, const struct http_head *h)
{
    char line[2048];
    for (size_t i = 0; i < h->nheaders; i++) {
        struct http_span name = h->headers[i].name, value = h->headers[i].value;
        char lower[128];
        if (name.n >= sizeof lower || http_span_is(name, "content-type"))
            continue;
        for (size_t j = 0; j < name.n; j++)
            lower[j] = name.p[j] >= 'A' && name.p[j] <= 'Z' ? (char)(name.p[j] + 32) : name.p[j];
        if (!dialect_sends(c->dialect, lower, name.n))
            continue;
        int n =
            snprintf(line, sizeof line, "%.*s: %.*s", (int)name.n, lower, (int)value.n, value.p);
        if (n > 0 && (size_t)n < sizeof line && strv_add(&c->headers, line) < 0)
            return -1;
    }
    return 0;
}

static const char *judge_head(const struct model_call *c, const struct http_head *h)
{
    for (size_t i = 0; i < h->nheaders; i++)
        if (http_span_is(h->headers[i].name, "content-encoding") &&
            !http_span_is(h->headers[i].value, "identity"))
            return "a request body must not be compressed (content-encoding)";
    if (!spend_any(&c->live->a.spend))
        return "this task has no model budget (creel run --budget)";
    if (c->live->a.stopped[0])
        return c->live->a.stopped;
    if (h->body == HTTP_BODY_LENGTH && h->length > CALL_BODY_MAX)
        return "the request is over 32 MiB";
    return NULL;
}

static void *on_begin(struct request *rq, const struct http_head *h)
{
    const struct dialect *d = dialect_find(h->method.p, h->method.n, h->target.p, h->target.n);
    struct model_call *c = d ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        static const char none[] =
            "{\"error\":{\"type\":\"not_found_error\",\"code\":\"not_found\","
            "\"message\":\"creel: no model API of its is at this path\"}}\n";
        request_reply(rq, 404, "application/json", none, sizeof none - 1);
        return NULL;
    }
    c->p = request_process(rq);
    c->p->calls++;
    c->rq = rq;
    c->live = request_live(rq);
    c->dialect = d;
    c->begun_us = clock_mono_us();
    buf_init(&c->body, CALL_BODY_MAX);
    buf_init(&c->refusal, ERROR_BODY_MAX);
    const char *no = judge_head(c, h);
    if (!no && keep_headers(c, h) < 0)
        no = "out of memory";
    if (!no)
        return c;
    refuse(c, 400, no);
    if (c->live->a.stopped[0])
        process_stop(c->p, c->live->a.attempt, c->live->a.stopped);
    on_done(c, false);
    return NULL;
}

const struct service model_service = {on_begin, on_body, on_body_end, on_writable, on_done};
