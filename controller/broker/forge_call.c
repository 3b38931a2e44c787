/* Looks for the pull request, and opens it when there is none, see the header. One call after the other. */
#include "controller/broker/forge_call.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"
#include "controller/broker/confine.h"
#include "controller/broker/forge_minted.h"
#include "controller/broker/http_client.h"
#include "controller/broker/secrets.h"

static const struct json_field told_fields[] = {
    JSON_ROW(struct forge_told, INT, code),
    JSON_ROW(struct forge_told, TEXT, message),
    JSON_ROW(struct forge_told, OBJ, pull, .shape = &pull_shape),
    JSON_END,
};
const struct json_shape forge_told_shape = {.size = sizeof(struct forge_told),
                                            .fields = told_fields};

struct caller {
    uv_loop_t loop;
    struct http_client *http;
    struct forges forges;
    const struct forge *forge; /* of forges */
    struct forge_repo repo;
    struct pull_ask ask;
    char *secret; /* guarded */
    size_t nsecret;
    /* the call under way */
    struct buf url, body, answer;
    int status;
    bool ended;
    struct err err;
};

static int read_all(int fd, struct buf *to, struct err *err)
{
    for (;;) {
        uint8_t *room = buf_room(to, 65536);
        ssize_t n = room ? read(fd, room, 65536) : -1;
        if (n < 0 && room && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_FAIL, "cannot read what to do");
        if (n == 0)
            return 0;
        buf_wrote(to, (size_t)n);
    }
}

static int read_ask(struct caller *c, int dirfd, struct err *err)
{
    struct buf text;
    buf_init(&text, JSON_BYTES_MAX);
    int rc = read_all(STDIN_FILENO, &text, err);
    if (rc == 0)
        rc = json_decode(&pull_ask_shape, text.data, text.len, &c->ask, err);
    buf_done(&text);
    if (rc == 0 && (!forge_branch_valid(c->ask.branch) ||
                    (c->ask.base[0] && !forge_branch_valid(c->ask.base))))
        rc = err_set(err, ERR_USAGE, "'%.200s' is not a branch's name",
                     c->ask.base[0] ? c->ask.base : c->ask.branch);
    if (rc == 0)
        rc = forges_load(dirfd, &c->forges, err);
    if (rc == 0 && !(c->forge = forges_find(&c->forges, c->ask.forge)))
        rc = err_set(err, ERR_USAGE, "no forge is called %.64s", c->ask.forge);
    if (rc == 0 && !c->forge->token[0])
        rc = err_set(err, ERR_USAGE,
                     "forge %s has no token of yours: creel forge add %s --replace --token SECRET",
                     c->forge->name, c->forge->name);
    return rc < 0 ? rc
                  : forge_repo_parse((enum forge_kind)c->forge->kind, c->ask.repo, &c->repo, err);
}

static const char *reference(const struct secret_refs *refs, const char *name)
{
    const struct secret_ref *items = refs->list.items;
    for (size_t i = 0; i < refs->list.n; i++)
        if (strcmp(items[i].name, name) == 0)
            return items[i].ref;
    return NULL;
}

static int read_secret(struct caller *c, int dirfd, struct err *err)
{
    struct secret_refs refs = {0};
    struct buf value;
    buf_init(&value, SECRET_VALUE_MAX);
    (void)buf_room(&value, SECRET_VALUE_MAX - 1); /* grown once: no copy is left behind */
    int rc = secret_refs_load(dirfd, &refs, err);
    const char *ref = rc == 0 ? reference(&refs, c->forge->token) : NULL;
    if (rc == 0 && !ref)
        rc = err_set(err, ERR_USAGE, "there is no secret %s: creel secret set %s REF",
                     c->forge->token, c->forge->token);
    if (rc == 0 && (rc = secret_resolve(ref, &value, err)) < 0)
        rc = err_wrap(err, "secret %s", c->forge->token);
    if (rc == 0 && !(c->secret = secret_new(value.len + 1, err)))
        rc = -ERR_FAIL;
    if (rc == 0) {
        memcpy(c->secret, value.data, value.len);
        c->nsecret = value.len;
    }
    buf_wipe(&value);
    secret_refs_done(&refs);
    return rc;
}

static int close_fences(struct caller *c, const char *dir, struct err *err)
{
    struct strv readable = {0};
    broker_forget_environment();
    if (uv_loop_init(&c->loop) < 0)
        return err_set(err, ERR_FAIL, "cannot make a loop");
    broker_preload();
    int rc = http_client_new(&c->loop, &c->http, err);
    if (rc == 0 && c->forge->ca_file[0] && strv_add(&readable, c->forge->ca_file) < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0)
        rc = broker_confine(dir, &readable, err);
    strv_done(&readable);
    return rc;
}

static void on_head(void *arg, int status, const struct strv *headers)
{
    (void)headers;
    ((struct caller *)arg)->status = status;
}

static bool on_data(void *arg, const void *bytes, size_t n)
{
    buf_add(&((struct caller *)arg)->answer, bytes, n);
    return true;
}

static void on_end(void *arg, bool sent, const struct err *err)
{
    struct caller *c = arg;
    (void)sent;
    c->ended = true;
    if (err)
        c->err = *err;
}

/* One call to its end. Its success is judged here: c->answer is a whole answer of a status that the row knows. */
static int call(struct caller *c, enum forge_call which, struct err *err)
{
    static const struct http_callbacks callbacks = {on_head, on_data, on_end};
    const struct forge_call_row *row = forge_call_row((enum forge_kind)c->forge->kind, which);
    char label[REPO_URL_SIZE + TASK_BRANCH_SIZE];
    struct forge_marks marks = {.forge = c->forge, .repo = &c->repo, .branch = c->ask.branch};
    struct http_exchange *x;
    struct strv headers = {0};
    snprintf(label, sizeof label, "%s:%s", c->repo.owner, c->ask.branch);
    marks.label = label;
    buf_clear(&c->url);
    buf_clear(&c->answer);
    c->status = 0;
    c->ended = false;
    c->err = ERR_INIT;
    int rc = forge_call_url(which, &marks, &c->url, err);
    if (rc == 0)
        rc = forge_headers((enum forge_kind)c->forge->kind, c->secret, c->nsecret, &headers, err);
    if (rc == 0 && c->body.len > 0 && strv_add(&headers, "content-type: application/json") < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    struct http_ask ask = {.method = row->method,
                           .url = buf_str(&c->url),
                           .headers = &headers,
                           .body = c->body.len > 0 ? c->body.data : NULL,
                           .len = c->body.len,
                           .ca_file = c->forge->ca_file,
                           .connect_ms = 15000,
                           .first_byte_ms = 60000,
                           .idle_ms = 60000,
                           .total_ms = 120000,
                           .answer_max = FORGE_ANSWER_MAX};
    if (rc == 0)
        rc = http_send(c->http, &ask, &callbacks, c, &x, err);
    forge_headers_wipe(&headers);
    while (rc == 0 && !c->ended)
        uv_run(&c->loop, UV_RUN_ONCE);
    buf_clear(&c->body);
    if (rc < 0 || c->err.code) {
        if (rc == 0)
            *err = c->err;
        return err_wrap(err, "forge %s", c->forge->name);
    }
    for (int i = 0; i < 3 && row->done[i]; i++)
        if (c->status == row->done[i])
            return 0;
    struct buf words;
    buf_init(&words, 1024);
    forge_words(c->answer.data, c->answer.len, c->secret, c->nsecret, &words);
    rc = err_set(err, ERR_FAIL, "forge %s answered %d%s", c->forge->name, c->status,
                 buf_str(&words));
    buf_done(&words);
    return rc;
}

/* 1: found, 0: none. */
static int find(struct caller *c, struct pull *out, struct err *err)
{
    int rc = call(c, FORGE_PULL_FIND, err);
    if (rc < 0)
        return rc;
    return forge_pull_find(c->forge, &c->repo, c->ask.branch, c->answer.data, c->answer.len, out,
                           err);
}

static int find_base(struct caller *c, struct err *err)
{
    if (c->ask.base[0])
        return 0;
    int rc = call(c, FORGE_REPO, err);
    return rc < 0 ? rc : forge_repo_read(c->answer.data, c->answer.len, c->ask.base, err);
}

static int open_pull(struct caller *c, struct pull *out, struct err *err)
{
    int rc = find_base(c, err);
    if (rc == 0)
        rc = forge_pull_body((enum forge_kind)c->forge->kind, &c->ask, &c->body, err);
    if (rc == 0)
        rc = call(c, FORGE_PULL_OPEN, err);
    if (rc == 0)
        return forge_pull_read(c->forge, &c->repo, c->ask.branch, c->answer.data, c->answer.len,
                               out, err);
    /* Somebody was quicker, perhaps we ourselves, or the answer was lost on its way. */
    struct err ignored = ERR_INIT;
    return (c->status == 0 || c->status == 409 || c->status == 422) && c->url.len > 0 &&
                   find(c, out, &ignored) == 1
               ? 0
               : rc;
}

static int work(struct caller *c, const char *dir, struct pull *out, struct err *err)
{
    int rc = process_harden(err);
    int dirfd = rc < 0 ? rc : dir_open(dir, false, true, err);
    rc = dirfd < 0 ? dirfd : 0;
    if (rc == 0)
        rc = read_ask(c, dirfd, err);
    if (rc == 0)
        rc = read_secret(c, dirfd, err);
    fd_close(&dirfd);
    if (rc == 0)
        rc = close_fences(c, dir, err);
    if (rc == 0)
        rc = find(c, out, err);
    return rc == 0 ? open_pull(c, out, err) : rc < 0 ? rc : 0;
}

int forge_call_main(const char *dir)
{
    struct caller c = {0};
    struct forge_told told = {0};
    struct err err = ERR_INIT;
    struct buf out;
    buf_init(&c.url, 4 * FORGE_URL_SIZE + 4 * REPO_URL_SIZE);
    buf_init(&c.body, 2 * PULL_BODY_SIZE + 8192);
    buf_init(&c.answer, FORGE_ANSWER_MAX);
    buf_init(&out, 65536);
    if (work(&c, dir, &told.pull, &err) < 0) {
        told.pull = (struct pull){0};
        told.code = (int)err.code;
        snprintf(told.message, sizeof told.message, "%s", err.msg);
    }
    int rc = json_encode(&forge_told_shape, &told, &out, &err);
    if (rc == 0 && write_all(STDOUT_FILENO, out.data, out.len) < 0)
        rc = -ERR_FAIL;
    secret_free(c.secret);
    /* At once: what others registered to run at exit has no business in a confined process. */
    _exit(rc < 0 ? ERR_FAIL : 0);
}
