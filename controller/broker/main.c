/* The broker process: starts, shuts itself in, serves until the engine hangs up.
 *
 * It alone knows the signing key and, while they are used, the operator's other secrets. The order of its
 * start matters: the helper that resolves secrets is forked before there is anything to be known, all files
 * that are needed are opened, and only then the fences close. */
#include "controller/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "common/diag.h"
#include "common/file.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "controller/broker/attempts.h"
#include "controller/broker/books.h"
#include "controller/broker/confine.h"
#include "controller/broker/door.h"
#include "controller/broker/forge_queue.h"
#include "controller/broker/model_call.h"
#include "controller/broker/process.h"
#include "controller/redact.h"

#define LEDGER_TRIES   40 /* of LEDGER_WAIT_MS: a broker whose engine just died is still ending */
#define LEDGER_WAIT_MS 50
#define FILES_WANTED   16384
#define REVOKE_MS      8000 /* that a process whose engine is gone goes on for, to revoke tokens */
#define HEAP_KEPT      (16 << 20)

/* Reads the key file and wipes all of it but the key itself, which goes into guarded memory. */
static int load_key(struct process *p, const char *path, struct err *err)
{
    char dir[PATH_MAX];
    struct buf text;
    const char *slash = strrchr(path, '/');
    int n =
        snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    if (n < 0 || n >= (int)sizeof dir)
        return err_set(err, ERR_USAGE, "path of the signing key: too long");
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "%s", dir);
    buf_init(&text, KEY_LINE_MAX);
    (void)buf_room(&text, KEY_LINE_MAX - 1); /* grown once: no copy is left behind */
    int rc = file_read(fd, slash ? slash + 1 : path, &text, err);
    if (rc == 0)
        rc = key_sec_parse(buf_str(&text), text.len, p->sec, err);
    if (rc < 0)
        err_wrap(err, "signing key");
    buf_wipe(&text);
    close(fd);
    return rc;
}

/* Has libcrypto read its configuration and set itself up while files can still be opened. */
static void warm_up(void)
{
    uint8_t digest[SHA256_BYTES];
    sha256_of("", 0, digest);
    broker_preload();
}

static const struct service *route(const struct http_head *head)
{
    static const char git[] = "/git/";
    const size_t n = sizeof git - 1;
    bool below = head->path.n >= n && memcmp(head->path.p, git, n) == 0;
    return below ? &git_service : &model_service;
}

static int open_ledger(struct process *p, const char *dir, struct err *err)
{
    int rc = ledger_open(dir, &p->ledger, err);
    for (int i = 0; rc < 0 && strstr(err->msg, "another broker") && i < LEDGER_TRIES; i++) {
        nanosleep(&(struct timespec){.tv_nsec = LEDGER_WAIT_MS * 1000000l}, NULL);
        rc = ledger_open(dir, &p->ledger, err);
    }
    return rc;
}

/* The authorities that providers and forges have of their own. */
static int readable_files(struct process *p, struct strv *to)
{
    struct err unheard = ERR_INIT;
    if (books_look(p->books, &unheard) < 0)
        unheard = ERR_INIT; /* said again when somebody wants to spend */
    const struct json_list *list = &books_providers(p->books)->list;
    const struct provider *providers = list->items;
    for (size_t i = 0; i < list->n; i++)
        if (providers[i].ca_file[0] && strv_add(to, providers[i].ca_file) < 0)
            return -1;
    struct forges forges = {0};
    int rc = 0;
    (void)forges_load(p->dirfd, &forges, &unheard);
    const struct forge *f = forges.list.items;
    for (size_t i = 0; i < forges.list.n && rc == 0; i++)
        if (f[i].ca_file[0])
            rc = strv_add(to, f[i].ca_file);
    forges_done(&forges);
    return rc;
}

/* All that must be opened while files can be. */
static int open_all(struct process *p, const char *key_path, const char *dir, int helper,
                    struct err *err)
{
    int rc = load_key(p, key_path, err);
    if (rc == 0 && (p->dirfd = dir_open(dir, false, true, err)) < 0)
        rc = p->dirfd;
    if (rc == 0 && (!(p->books = books_new(p->dirfd)) || uv_loop_init(&p->loop) < 0))
        rc = err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0)
        rc = needles_load(p->dirfd, &p->needles, err);
    if (rc == 0)
        rc = open_ledger(p, dir, err);
    if (rc == 0)
        rc = forge_queue_open(dir, p->sec, &p->forge, err);
    if (rc == 0)
        rc = secrets_new(&p->loop, helper, &p->secrets, err);
    if (rc == 0)
        rc = http_client_new(&p->loop, &p->http, err);
    return rc;
}

static int close_in(struct process *p, const char *dir, struct err *err)
{
    struct strv readable = {0};
    warm_up();
    int rc = readable_files(p, &readable) < 0 ? err_set(err, ERR_FAIL, "out of memory")
                                              : broker_confine(dir, &readable, err);
    strv_done(&readable);
    return rc;
}

static bool is_alive(void *arg, const char *attempt)
{
    struct live_attempt *l;
    struct err gone = ERR_INIT;
    return attempts_get(arg, attempt, &l, &gone) == 0;
}

static void on_token(void *arg, const char *attempt, const char *sealed_b64)
{
    process_repo_token(arg, attempt, sealed_b64);
}

static void on_note(void *arg, const char *attempt, const char *text)
{
    process_note(arg, attempt, "%s", text);
}

static int start_forges(struct process *p, struct err *err)
{
    const struct forge_use use = {.loop = &p->loop,
                                  .dirfd = p->dirfd,
                                  .http = p->http,
                                  .secrets = p->secrets,
                                  .alive = is_alive,
                                  .token = on_token,
                                  .note = on_note,
                                  .arg = p};
    return forge_queue_start(p->forge, &use, err);
}

static int process_start(struct process *p, const char *key_path, const char *dir, struct err *err)
{
    struct broker_hello hello;
    int helper = -1, rc = process_harden(err);
    if (rc < 0)
        return rc;
    json_wiping(); /* tokens come in JSON */
    if (close_range(BROKER_FD + 1, ~0u, 0) < 0)
        return err_errno(err, ERR_FAIL, "close_range");
    rc = secret_helper_start(dir, &helper, err);
    if (rc < 0)
        return rc;
    broker_forget_environment();
    (void)files_raise(FILES_WANTED); /* connections of jails and to providers */
    if (!(p->sec = secret_new(KEY_SEC_BYTES, err)))
        return -(int)err->code;
    if ((rc = open_all(p, key_path, dir, helper, err)) < 0)
        return rc;
    memcpy(hello.key, p->sec + 32, KEY_PUB_BYTES);
    key_fingerprint(hello.key, p->iss);
    if ((rc = close_in(p, dir, err)) < 0)
        return rc;
    p->route = route;
    if ((rc = model_calls_open(p, err)) < 0)
        return rc;
    rc = process_watch(p, BROKER_FD, err);
    if (rc == 0) /* before hello: what the engine does after it, it does with them */
        rc = process_tell_needles(p, err);
    if (rc == 0)
        rc = broker_put(&p->out, BROKER_HELLO, &broker_hello_shape, &hello, err);
    return rc < 0 ? rc : start_forges(p, err);
}

static void on_late(uv_timer_t *timer)
{
    ((struct process *)timer->data)->broken.code = ERR_CANCELLED;
}

/* A task has ended and with it the engine: its repository token is revoked now, not when creel is used again. The
 * ledger is another process's by then. */
static void revoke_last(struct process *p)
{
    if (!p->forge || !p->over || !forge_queue_busy(p->forge))
        return;
    forge_queue_ending(p->forge);
    uv_prepare_stop(&p->before);
    uv_check_stop(&p->after);
    uv_read_stop((uv_stream_t *)&p->engine);
    uv_timer_start(&p->tick, on_late, REVOKE_MS, 0);
    while (!p->broken.code && forge_queue_busy(p->forge))
        uv_run(&p->loop, UV_RUN_ONCE);
}

/* What is held by calls under way stays held, and is charged by the next process. */
static void process_end(struct process *p)
{
    model_calls_close(p);
    doors_close(p);
    attempts_free(p);
    if (p->ledger)
        ledger_close(p->ledger);
    p->ledger = NULL;
    revoke_last(p);
    forge_queue_close(p->forge);
    if (p->secrets)
        secrets_close(p->secrets);
    secret_free(p->sec);
    buf_wipe(&p->in);
    buf_wipe(&p->out);
}

int broker_main(const char *key_path, const char *dir)
{
    struct err err = ERR_INIT;
    mallopt(M_TRIM_THRESHOLD,
            HEAP_KEPT); /* else each call gives its pages back, and gets them anew */
    struct process *p = calloc(1, sizeof *p);
    int rc = p ? process_start(p, key_path, dir, &err) : err_set(&err, ERR_FAIL, "out of memory");
    if (rc == 0) {
        uv_run(&p->loop, UV_RUN_DEFAULT);
        err = p->broken;
    }
    if (err.code)
        diag(DIAG_ERROR, "broker: %s", err.msg);
    if (p)
        process_end(p);
    /* At once: what others registered to run at exit has no business in a confined process. */
    _exit(err_exit(&err));
}
