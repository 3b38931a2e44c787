/* The git broker: smart HTTP of one repository, for a task whose policy says `read` or `push`. Clone and
 * fetch pass; a push passes when it creates or moves the task's own branch and nothing else.
 *
 * The jail's git is told by its environment how to come here (no credential of the forge is in the jail):
 *
 *   GIT_CONFIG_COUNT=2
 *   GIT_CONFIG_KEY_0=url.http://127.0.0.1:4100/git/OWNER/NAME.insteadOf
 *   GIT_CONFIG_VALUE_0=https://HOST/OWNER/NAME                (the policy's address)
 *   GIT_CONFIG_KEY_1=http.http://127.0.0.1:4100/.extraHeader
 *   GIT_CONFIG_VALUE_1=Authorization: Bearer ${CREEL_TASK_TOKEN}
 *
 * What passes, below /git/ and the path of the policy's address (".git" at its end or not), and no other:
 *
 *   GET  info/refs?service=git-upload-pack      POST git-upload-pack
 *   GET  info/refs?service=git-receive-pack     POST git-receive-pack      (push only)
 *
 * A refusal is said in git's own words: an ERR line in place of the list of refs, a report-status with "ng"
 * for each ref of a push. Whether a push rewinds the branch cannot be seen without its objects; what is seen
 * is where the branch stands: only what this attempt found there or, by the forge's own word, pushed itself
 * is moved, so that nobody else's later work on the branch is lost. A push is heard to its end for that also
 * when its client has gone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/broker/attempts.h"
#include "controller/broker/door.h"
#include "controller/broker/forge.h"
#include "controller/broker/git_push.h"
#include "proto/b64.h"

#define FETCH_BODY_MAX (16u << 20)  /* what a client wants and has */
#define PUSH_BODY_MAX  (64u << 20)  /* commands and pack */
#define DROPPED_MAX    (256u << 20) /* of a push that is refused */
#define GIT_ANSWER_MAX (4ull << 30) /* a clone */
#define REPORT_MAX     (256u << 10) /* of a forge's answer to a push, as far as it is read here */
#define NOTES_MAX      50           /* lines in one attempt's log */
#define LOOK_BYTES     4096         /* a body may come a byte at a time */
#define UNHEARD_MAX    16           /* pushes of one attempt whose clients have gone */

enum git_kind { GIT_REFS_FETCH, GIT_REFS_PUSH, GIT_FETCH, GIT_PUSH, GIT_KIND_COUNT };

static const struct {
    const char *method, *tail, *service;
    const char *asks, *answers; /* content types */
} kinds[GIT_KIND_COUNT] = {
    [GIT_REFS_FETCH] = {"GET", "/info/refs?service=git-upload-pack", "git-upload-pack", NULL,
                        "application/x-git-upload-pack-advertisement"},
    [GIT_REFS_PUSH] = {"GET", "/info/refs?service=git-receive-pack", "git-receive-pack", NULL,
                       "application/x-git-receive-pack-advertisement"},
    [GIT_FETCH] = {"POST", "/git-upload-pack", "git-upload-pack",
                   "application/x-git-upload-pack-request", "application/x-git-upload-pack-result"},
    [GIT_PUSH] = {"POST", "/git-receive-pack", "git-receive-pack",
                  "application/x-git-receive-pack-request",
                  "application/x-git-receive-pack-result"},
};

struct git_call {
    struct request *rq;    /* NULL: its client has gone */
    struct git_call *next; /* process::unheard */
    struct process *p;
    struct live_attempt *live;
    enum git_kind kind;
    bool v2, gzip;
    struct buf body;
    size_t counted; /* bytes of it in process::buffered */
    struct git_push *push;
    int commands;   /* of a push: 0 not whole yet, 1 whole, -1 refused */
    size_t list;    /* bytes of the list of commands */
    size_t look_at; /* bytes of the body: before there are so many, it is not looked for again */
    struct err why; /* code != 0: the push is refused, when its body is over */
    struct git_tips tips;
    struct buf report;
    char user[32], ca_file[513];
    char secret[SECRET_NAME_SIZE]; /* its name; "": none is sent */
    bool wants_secret;
    struct http_exchange *x;
    bool headed, passing, full;
    size_t dropped; /* bytes of a push that is refused */
};

/* ---- which request is it */

static const struct http_header *header_of(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->nheaders; i++) {
        if (http_span_is(h->headers[i].name, name))
            return &h->headers[i];
    }
    return NULL;
}

static bool span_ends(struct http_span s, const char *tail, struct http_span *ret_rest)
{
    size_t n = strlen(tail);

    if (s.n < n || memcmp(s.p + s.n - n, tail, n) != 0)
        return false;
    *ret_rest = (struct http_span){s.p, s.n - n};
    return true;
}

static bool kind_of(const struct http_head *h, enum git_kind *ret, struct http_span *ret_repo)
{
    for (int i = 0; i < GIT_KIND_COUNT; i++) {
        const char *method = kinds[i].method;

        if (h->method.n != strlen(method) || memcmp(h->method.p, method, h->method.n) != 0 ||
            !span_ends(h->target, kinds[i].tail, ret_repo))
            continue;
        *ret = (enum git_kind)i;
        return true;
    }
    return false;
}

/* The path of an address, without ".git" at its end. */
static struct http_span repo_path(const char *url)
{
    const char *host = strstr(url, "://"), *path = host ? strchr(host + 3, '/') : NULL;
    struct http_span s = {path ? path : "", path ? strlen(path) : 0};

    while (s.n > 0 && s.p[s.n - 1] == '/')
        s.n--;
    (void)span_ends(s, ".git", &s);
    return s;
}

/* "/git/OWNER/NAME[.git]" against the policy's address. */
static bool repo_is(struct http_span asked, const char *url)
{
    static const char door[] = "/git";
    struct http_span path = repo_path(url);

    if (asked.n < sizeof(door) - 1 || memcmp(asked.p, door, sizeof(door) - 1) != 0)
        return false;
    asked.p += sizeof(door) - 1;
    asked.n -= sizeof(door) - 1;
    (void)span_ends(asked, ".git", &asked);
    return path.n > 1 && asked.n == path.n && memcmp(asked.p, path.p, path.n) == 0;
}

/* ---- answers of our own */

static void note(struct git_call *c, const char *what, const char *why)
{
    if (c->live->git_notes++ < NOTES_MAX)
        process_note(c->p, c->live->a.attempt, "git: %s%s%s", what, *why ? ": " : "", why);
}

static void reply_text(struct request *rq, int status, const char *why)
{
    char body[640];
    int n = snprintf(body, sizeof(body), "creel: %s\n", why);

    request_reply(rq, status, "text/plain", body, (size_t)n);
}

/* In place of the list of refs: the client says "remote error: creel: ..". */
static void reply_no_refs(struct request *rq, enum git_kind kind, const char *why)
{
    char line[640];
    struct buf b;

    buf_init(&b, 4096);
    snprintf(line, sizeof(line), "# service=%s\n", kinds[kind].service);
    pkt_puts(&b, line);
    pkt_flush(&b);
    snprintf(line, sizeof(line), "ERR creel: %s\n", why);
    pkt_puts(&b, line);
    request_reply(rq, 200, kinds[kind].answers, b.data, b.len);
    buf_done(&b);
}

static void reply_refused(struct request *rq, enum git_kind kind, const char *why)
{
    if (kind == GIT_REFS_FETCH || kind == GIT_REFS_PUSH)
        reply_no_refs(rq, kind, why);
    else
        reply_text(rq, 403, why);
}

static void reply_push_refused(struct git_call *c)
{
    struct buf b;

    buf_init(&b, 128u << 10);
    if (c->push->report && c->push->n > 0 && git_push_refusal(c->push, c->why.msg, &b) == 0)
        request_reply(c->rq, 200, kinds[GIT_PUSH].answers, b.data, b.len);
    else
        reply_text(c->rq, 403, c->why.msg);
    buf_done(&b);
    note(c, "a push was refused", c->why.msg);
}

/* ---- the forge's answer */

static bool content_type_is(const char *line, const char *type)
{
    size_t n = strlen(type);

    return strncmp(line, "content-type: ", 14) == 0 && strncmp(line + 14, type, n) == 0 &&
           (line[14 + n] == 0 || line[14 + n] == ';');
}

/* Is it what git expects, and readable as it comes? */
static bool answer_right(const struct git_call *c, const struct strv *headers)
{
    bool right = false;

    for (size_t i = 0; i < headers->n; i++) {
        right |= content_type_is(headers->v[i], kinds[c->kind].answers);
        if (strncmp(headers->v[i], "content-encoding:", 17) == 0)
            return false;
    }
    return right;
}

static const char *status_words(int status)
{
    switch (status) {
    case 200:
        return "the forge's answer is not git's";
    case 301:
    case 302:
    case 307:
    case 308:
        return "the forge says that the repository is elsewhere; its address in the policy is old";
    case 401:
    case 403:
        return "the forge refuses the operator's credential (creel forge ls)";
    case 404:
        return "the forge does not know the repository, or not for the operator's credential";
    default:
        return "the forge answered with an error";
    }
}

static void on_head(void *arg, int status, const struct strv *headers)
{
    struct git_call *c = arg;
    char type[96];
    char *lines[] = {type, (char[]){"cache-control: no-cache"}, NULL};

    c->headed = true;
    if (status == 401 && c->secret[0])
        secrets_drop(c->p->secrets, c->secret); /* it may have been changed since */
    if (!c->rq) {
        c->passing = status == 200 && answer_right(c, headers);
        return;
    }
    if (status != 200 || !answer_right(c, headers)) {
        reply_refused(c->rq, c->kind, status_words(status));
        note(c, "the forge's answer was not passed on", status_words(status));
        return;
    }
    snprintf(type, sizeof(type), "content-type: %s", kinds[c->kind].answers);
    c->passing = true;
    request_head(c->rq, 200, &(struct strv){2, lines}, -1);
}

static bool on_data(void *arg, const void *bytes, size_t n)
{
    struct git_call *c = arg;

    if (!c->passing)
        return true;
    if (c->full)
        return false;
    if (c->kind == GIT_REFS_PUSH)
        git_tips_feed(&c->tips, bytes, n);
    if (c->kind == GIT_PUSH && c->report.max - c->report.len >= n)
        buf_add(&c->report, bytes, n);
    if (c->rq)
        c->full = !request_write(c->rq, bytes, n);
    return true;
}

/* What this attempt found, or left, on its branch. What it merely tried to push tells nothing: it can name a
 * commit that somebody else pushed. */
static void learn_tip(struct git_call *c)
{
    struct live_attempt *live = c->live;
    const struct git_command *done = c->push ? &c->push->commands[0] : NULL;
    char tip[GIT_OID_SIZE];

    if (c->kind == GIT_REFS_PUSH && !live->git_tip[0] && git_tips_end(&c->tips, tip))
        memcpy(live->git_tip, tip, sizeof(tip));
    if (c->kind == GIT_PUSH && done && c->push->n == 1 &&
        git_push_taken(c->report.data, c->report.len, c->push, done->ref)) {
        memcpy(live->git_tip, done->new, sizeof(live->git_tip));
        note(c, done->ref, done->new);
    }
}

static void git_call_free(struct git_call *c)
{
    attempt_holds(c->p, c->live, c->counted, 0);
    buf_done(&c->body);
    buf_done(&c->report);
    git_tips_done(&c->tips);
    free(c->push);
    free(c);
}

static void unheard_end(struct git_call *c)
{
    struct git_call **at = &c->p->unheard;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->live->unheard--;
    git_call_free(c);
}

static void on_end(void *arg, bool sent, const struct err *err)
{
    struct git_call *c = arg;

    c->x = NULL;
    if (!c->rq) {
        if (c->passing)
            learn_tip(c);
        unheard_end(c);
    } else if (err && !c->headed) {
        reply_refused(c->rq, c->kind, "the forge cannot be reached, or does not answer");
        note(c, "the forge cannot be reached", err->msg);
    } else if (err) {
        request_abort(c->rq);
    } else if (c->passing) {
        learn_tip(c);
        request_end(c->rq);
    }
}

static const struct http_callbacks callbacks = {on_head, on_data, on_end};

/* ---- sending it on */

static int add_header(struct strv *to, const char *name, const char *value)
{
    struct buf line;
    int rc;

    buf_init(&line, 4096);
    buf_addf(&line, "%s: %s", name, value);
    rc = line.failed ? -1 : strv_add(to, buf_str(&line));
    buf_wipe(&line);
    return rc;
}

static int add_credential(struct strv *to, const char *user, const char *secret, size_t len)
{
    struct buf pair, line;
    int rc;

    if (len == 0)
        return 0;
    buf_init(&pair, 32u << 10);
    buf_init(&line, 64u << 10);
    buf_addf(&pair, "%s:", user);
    buf_add(&pair, secret, len);
    buf_adds(&line, "authorization: Basic ");
    rc = b64_add(&line, pair.data, pair.len);
    rc = rc < 0 || pair.failed || line.failed ? -1 : strv_add(to, buf_str(&line));
    buf_wipe(&pair);
    buf_wipe(&line);
    return rc;
}

static int headers_for(const struct git_call *c, const char *secret, size_t len, struct strv *to)
{
    int rc = add_header(to, "accept", kinds[c->kind].answers);

    if (kinds[c->kind].asks)
        rc |= add_header(to, "content-type", kinds[c->kind].asks);
    if (c->v2)
        rc |= add_header(to, "git-protocol", "version=2");
    if (c->gzip)
        rc |= add_header(to, "content-encoding", "gzip");
    return rc | add_credential(to, c->user, secret, len);
}

static void send_on(struct git_call *c, const char *secret, size_t len)
{
    char url[REPO_URL_SIZE + 64];
    struct strv headers = {0};
    struct http_ask ask = {.method = kinds[c->kind].method,
                           .url = url,
                           .headers = &headers,
                           .ca_file = c->ca_file,
                           .answer_max = GIT_ANSWER_MAX};
    struct err err = ERR_INIT;
    int rc = headers_for(c, secret, len, &headers);

    snprintf(url, sizeof(url), "%s%s", c->live->a.repo.url, kinds[c->kind].tail);
    if (kinds[c->kind].asks) {
        ask.body = c->body.data;
        ask.len = c->body.len;
    }
    rc = rc < 0 ? err_set(&err, ERR_FAIL, "out of memory")
                : http_send(c->p->http, &ask, &callbacks, c, &c->x, &err);
    forge_headers_wipe(&headers);
    if (rc < 0) {
        reply_refused(c->rq, c->kind, "the request cannot be sent to the forge");
        note(c, "a request cannot be sent", err.msg);
    }
}

static void on_secret(void *arg, const char *value, size_t len, const struct err *err)
{
    struct git_call *c = arg;

    c->wants_secret = false;
    if (err) {
        reply_refused(c->rq, c->kind, "the operator's credential for the forge cannot be had");
        note(c, "the credential for the forge cannot be had", err->msg);
        return;
    }
    send_on(c, value, len);
}

/* With the credential of the forge that the address is at; a repository at none of the operator's forges is
 * asked for without. */
static void go(struct git_call *c)
{
    struct forge_repo repo;
    struct forges forges;
    const struct forge *f;
    struct err err = ERR_INIT;

    if (forges_load(c->p->dirfd, &forges, &err) < 0) {
        reply_refused(c->rq, c->kind, "the operator's list of forges cannot be read");
        note(c, "the list of forges cannot be read", err.msg);
        return;
    }
    if (forge_find(&forges, c->live->a.repo.url, &f, &repo, &err) == 0) {
        snprintf(c->secret, sizeof(c->secret), "%s", f->token);
        snprintf(c->user, sizeof(c->user), "%s", forge_git_user((enum forge_kind)f->kind));
        snprintf(c->ca_file, sizeof(c->ca_file), "%s", f->ca_file);
    }
    forges_done(&forges);
    if (!c->secret[0]) {
        send_on(c, "", 0);
        return;
    }
    c->wants_secret = true;
    secrets_get(c->p->secrets, c->secret, on_secret, c);
}

/* ---- the jail's request */

static struct git_call *git_call_new(struct request *rq, enum git_kind kind)
{
    struct git_call *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    if (kind == GIT_PUSH && !(c->push = calloc(1, sizeof(*c->push)))) {
        free(c);
        return NULL;
    }
    c->rq = rq;
    c->p = request_process(rq);
    c->live = request_live(rq);
    c->kind = kind;
    buf_init(&c->body, kind == GIT_PUSH ? PUSH_BODY_MAX : FETCH_BODY_MAX);
    buf_init(&c->report, REPORT_MAX);
    git_tips_init(&c->tips, c->live->a.branch);
    return c;
}

/* NULL, or why this request is none that is served to this attempt. */
static const char *why_not(const struct ledger_attempt *a, const struct http_head *h,
                           enum git_kind kind, struct http_span repo)
{
    const struct http_header *type = header_of(h, "content-type");
    const struct http_header *coded = header_of(h, "content-encoding");

    if (a->repo.mode != REPO_READ && a->repo.mode != REPO_PUSH)
        return "this task may not use its remote (--repo-access)";
    if (!repo_is(repo, a->repo.url))
        return "only the task's own repository is served";
    if ((kind == GIT_REFS_PUSH || kind == GIT_PUSH) && a->repo.mode != REPO_PUSH)
        return "this task may only read";
    if (a->stopped[0])
        return a->stopped;
    if (kinds[kind].asks && (!type || !http_span_is(type->value, kinds[kind].asks)))
        return "this is not a request of git's";
    if (coded && (kind != GIT_FETCH || !http_span_is(coded->value, "gzip")))
        return "a compressed body is not allowed here";
    return NULL;
}

static void *on_begin(struct request *rq, const struct http_head *h)
{
    const struct http_header *protocol = header_of(h, "git-protocol");
    struct http_span repo;
    struct git_call *c;
    enum git_kind kind;
    const char *why;

    if (!kind_of(h, &kind, &repo)) {
        reply_text(rq, 403, "only git's smart HTTP is served here");
        return NULL;
    }
    why = why_not(request_attempt(rq), h, kind, repo);
    if (why) {
        reply_refused(rq, kind, why);
        return NULL;
    }
    c = git_call_new(rq, kind);
    if (!c) {
        reply_text(rq, 503, "out of memory");
        return NULL;
    }
    c->gzip = header_of(h, "content-encoding") != NULL;
    c->v2 = protocol && http_span_is(protocol->value, "version=2") &&
            (kind == GIT_REFS_FETCH || kind == GIT_FETCH);
    return c;
}

static void count(struct git_call *c)
{
    attempt_holds(c->p, c->live, c->counted, c->body.cap);
    c->counted = c->body.cap;
}

/* Judges the list of commands once it is whole. */
static void look_commands(struct git_call *c)
{
    struct live_attempt *live = c->live;
    const char *why = "";

    c->commands = git_push_parse(c->body.data, c->body.len, c->push, &c->list, &why);
    if (c->commands < 0)
        err_set(&c->why, ERR_REFUSED, "the push %s", why);
    else if (c->commands > 0 && c->push->n > 0 &&
             git_push_judge(c->push, live->a.branch, live->git_tip, &c->why) < 0)
        c->commands = -1;
    c->look_at = c->body.len + LOOK_BYTES;
}

static void refuse_push(struct git_call *c, const char *why)
{
    c->commands = -1;
    err_set(&c->why, ERR_REFUSED, "%s", why);
}

static bool on_body(void *state, const void *bytes, size_t n)
{
    struct git_call *c = state;

    if (c->commands < 0) { /* taken and forgotten: git reads no answer before it has said all */
        c->dropped += n;
        if (c->dropped <= DROPPED_MAX)
            return true;
        reply_push_refused(c);
        return false;
    }
    if (!attempt_room(c->p, c->live, n, 0) || buf_add(&c->body, bytes, n) < 0) {
        if (c->kind != GIT_PUSH) {
            reply_text(c->rq, 403, "the request is too long");
            return false;
        }
        refuse_push(c, "too much for the broker to hold (64 MiB at most)");
        buf_done(&c->body);
        buf_init(&c->body, 0);
    }
    count(c);
    if (c->kind == GIT_PUSH && c->commands == 0 && c->body.len >= c->look_at)
        look_commands(c);
    return true;
}

/* A flush alone is git asking whether it will be let in before it says more. */
static void end_of_push(struct git_call *c)
{
    if (c->commands == 0)
        look_commands(c);
    if (c->commands == 0)
        refuse_push(c, "the push ends in its list of commands");
    if (c->commands > 0 && c->push->n == 0 && c->list != c->body.len)
        refuse_push(c, "the push has a pack, but no command");
    if (c->commands < 0)
        reply_push_refused(c);
    else
        go(c);
}

static void on_body_end(void *state)
{
    struct git_call *c = state;

    if (c->kind == GIT_PUSH)
        end_of_push(c);
    else
        go(c);
}

static void on_writable(void *state)
{
    struct git_call *c = state;

    c->full = false;
    if (c->x)
        http_resume(c->x);
}

static void on_done(void *state, bool gone)
{
    struct git_call *c = state;

    if (c->wants_secret)
        secrets_forget(c->p->secrets, c);
    if (c->x && c->kind == GIT_PUSH && (c->passing || !c->headed) &&
        c->live->unheard < UNHEARD_MAX) {
        c->live->unheard++;
        c->rq = NULL;
        c->full = false;
        c->next = c->p->unheard;
        c->p->unheard = c;
        http_resume(c->x);
        return;
    }
    if (c->x)
        http_cancel(c->x);
    git_call_free(c);
}

void git_calls_end(struct process *p, const char *attempt)
{
    for (struct git_call *c = p->unheard, *next; c; c = next) {
        next = c->next;
        if (attempt && strcmp(c->live->a.attempt, attempt) != 0)
            continue;
        if (c->x)
            http_cancel(c->x);
        unheard_end(c);
    }
}

const struct service git_service = {on_begin, on_body, on_body_end, on_writable, on_done};
