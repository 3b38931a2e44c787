/* The warden's loop: one request after the other from serve, and the ends of phases from the cells'
 * keepers. What each request may do in each state of a slot is the table at the end. Parses nothing
 * of variable size but the envelope (warden_admit.c). */
#include "runner/warden_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "runner/fdpass.h"
#include "runner/pool.h"

#define OPS         (WARDEN_WIPE + 1)
#define CMDLINE_MAX 4096

/* One request being answered. */
struct turn {
    struct warden *w;
    struct slot *slot; /* NULL for FACTS */
    const struct warden_request *req;
    int envelope; /* OPEN: borrowed */
    struct warden_reply reply;
    int fds[FDPASS_MAX]; /* to send, then closed */
    size_t nfds;
};

typedef int (*action)(struct turn *t, struct err *err);

/* init_on_free=1 makes the kernel clear memory when it is freed; the last one on the line counts. */
static bool memory_cleared(void)
{
    struct err ignored = ERR_INIT;
    struct buf line;
    bool cleared = false;
    buf_init(&line, CMDLINE_MAX);
    if (file_read(AT_FDCWD, "/proc/cmdline", &line, &ignored) == 0)
        for (const char *at = buf_str(&line); (at = strstr(at, "init_on_free=")); at++)
            cleared = at[strlen("init_on_free=")] == '1';
    buf_done(&line);
    return cleared;
}

/* Cgroups keep an attempt's memory out of swap, where the kernel counts it; without them nothing does. */
static bool may_swap(const struct warden *w)
{
    struct err ignored = ERR_INIT;
    struct buf text;
    buf_init(&text, CMDLINE_MAX);
    /* One line of headings, then one a device. A list that cannot be read may be anything. */
    int rc = w->cgroups.no_swap ? 0 : file_read(AT_FDCWD, "/proc/swaps", &text, &ignored);
    const char *first = rc == 0 ? strchr(buf_str(&text), '\n') : NULL;
    bool may = rc < 0 || (first && first[1]);
    buf_done(&text);
    return may;
}

unsigned warden_unenforceable(const struct warden *w)
{
    return w->cgroups.dir < 0 ? CGROUP_LIMITS : 0;
}

static int on_facts(struct turn *t, struct err *err)
{
    struct warden_facts *f = &t->reply.u.facts;
    if (t->w->unusable.code != ERR_NONE)
        return err_set(err, t->w->unusable.code, "%s", t->w->unusable.msg);
    f->unenforceable = warden_unenforceable(t->w);
    f->rooted = t->w->rooted;
    f->memory_cleared = memory_cleared();
    f->swaps = may_swap(t->w);
    snprintf(f->why, sizeof f->why, "%s", t->w->cgroups.why);
    f->disk_images = t->w->disks.dir >= 0;
    snprintf(f->disks_why, sizeof f->disks_why, "%s", t->w->disks.why);
    return 0;
}

static bool attempt_open(const struct warden *w, const char *attempt)
{
    for (size_t i = 0; i < w->setup->slots; i++)
        if (w->slots[i].state != SLOT_FREE && strcmp(w->slots[i].attempt, attempt) == 0)
            return true;
    return false;
}

static int on_open(struct turn *t, struct err *err)
{
    struct warden *w = t->w;
    struct task task = {0};
    int pack = -1;
    if (w->unusable.code != ERR_NONE)
        return err_set(err, w->unusable.code, "%s", w->unusable.msg);
    if (attempt_open(w, t->req->attempt))
        return err_set(err, ERR_REFUSED, "this attempt is open already");
    int rc = warden_admit(w->setup, t->req, t->envelope, warden_unenforceable(w), w->cgroups.why,
                          &task, err);
    if (rc < 0)
        return rc;
    rc = pool_open(w, t->slot, &task, t->req->token, &pack, err);
    task_done(&task);
    if (rc < 0)
        return rc;
    memcpy(t->slot->attempt, t->req->attempt, sizeof t->slot->attempt);
    t->slot->state = SLOT_OPEN;
    t->fds[t->nfds++] = pack;
    return 0;
}

static int start(struct turn *t, enum warden_phase phase, enum slot_state running, struct err *err)
{
    if (t->req->phase != phase)
        return err_set(err, ERR_FAIL, "phase %u cannot be started now", t->req->phase);
    int rc = cell_start(&t->slot->cell, phase, t->fds, &t->nfds, err);
    if (rc < 0)
        return rc;
    t->slot->state = running;
    return 0;
}

static int on_checkout(struct turn *t, struct err *err)
{
    return start(t, WARDEN_CHECKOUT, SLOT_CHECKOUT, err);
}

static int on_run(struct turn *t, struct err *err)
{
    return start(t, WARDEN_RUN, SLOT_RUN, err);
}

static int on_collect(struct turn *t, struct err *err)
{
    return start(t, WARDEN_COLLECT, SLOT_COLLECT, err);
}

static int on_kill(struct turn *t, struct err *err)
{
    cell_kill(&t->slot->cell);
    return 0;
}

static struct warden_wiped wipe(struct warden *w, struct slot *slot)
{
    struct warden_wiped gone = cell_close(&slot->cell);
    if (slot->keeps)
        caches_abort(&w->caches, (unsigned)(slot - w->slots));
    *slot = (struct slot){.state = SLOT_FREE, .cell = CELL_NONE};
    return gone;
}

/* Each of what is left, with what is known of it. */
static void say_what_is_left(const struct warden_wiped *w, char *out, size_t size)
{
    const struct {
        bool gone;
        const char *words;
    } parts[] = {
        {w->processes, "processes of the attempt do not die"},
        {w->network, "its network namespace may live on with them"},
        {w->disk, "the attempt's disk is not gone: a file of it is still open"},
        {w->cgroup, "the attempt's control group cannot be removed"},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && n < size; i++)
        if (!parts[i].gone)
            n += (size_t)snprintf(out + n, size - n, "%s%s", n ? "; " : "", parts[i].words);
}

static int on_wipe(struct turn *t, struct err *err)
{
    struct warden_wiped w = wipe(t->w, t->slot);
    t->reply.u.wiped = w;
    say_what_is_left(&w, t->reply.detail, sizeof t->reply.detail);
    /* serve does not use such a slot again. */
    t->slot->no_spare = !w.processes || !w.disk || !w.cgroup;
    return 0;
}

/* Empty: not legal in that state. */
static const action actions[SLOT_STATE_COUNT][OPS] = {
    [SLOT_FREE] = {[WARDEN_OPEN] = on_open},
    [SLOT_OPEN] = {[WARDEN_START] = on_checkout, [WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
    [SLOT_CHECKOUT] = {[WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
    [SLOT_READY] = {[WARDEN_START] = on_run, [WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
    [SLOT_RUN] = {[WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
    [SLOT_RAN] = {[WARDEN_START] = on_collect, [WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
    [SLOT_COLLECT] = {[WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
    [SLOT_DONE] = {[WARDEN_KILL] = on_kill, [WARDEN_WIPE] = on_wipe},
};

static int dispatch(struct turn *t, struct err *err)
{
    const struct warden_request *req = t->req;
    if (req->op == WARDEN_FACTS)
        return on_facts(t, err);
    if (req->op >= OPS || req->slot >= t->w->setup->slots)
        return err_set(err, ERR_FAIL, "no such request or slot");
    t->slot = &t->w->slots[req->slot];
    if (!actions[t->slot->state][req->op])
        return err_set(err, ERR_FAIL, "request %u is not legal in the slot's state %d", req->op,
                       t->slot->state);
    if ((req->op == WARDEN_OPEN) != (t->envelope >= 0))
        return err_set(err, ERR_FAIL, "wrong descriptors with request %u", req->op);
    if (!attempt_id_valid(req->attempt))
        return err_set(err, ERR_FAIL, "not an attempt's id");
    if (t->slot->state != SLOT_FREE && strcmp(t->slot->attempt, req->attempt) != 0)
        return err_set(err, ERR_FAIL, "the slot belongs to another attempt");
    return actions[t->slot->state][req->op](t, err);
}

static int send_reply(struct warden *w, struct warden_reply *reply, int rc, int *fds, size_t nfds,
                      const struct err *failed, struct err *err)
{
    if (rc < 0) {
        reply->status = -rc;
        snprintf(reply->detail, sizeof reply->detail, "%.300s", failed->msg);
    }
    rc = fdpass_send(w->sock, reply, sizeof *reply, fds, nfds, err);
    fds_close(fds, nfds);
    return rc;
}

static enum slot_state after(enum slot_state running, bool ok)
{
    if (running == SLOT_CHECKOUT)
        return ok ? SLOT_READY : SLOT_DONE;
    return running == SLOT_RUN ? SLOT_RAN : SLOT_DONE;
}

/* The request was carried out but serve cannot be given what came of it: back to where serve, who
 * hears of a failure, takes the slot to be. */
static void undo(struct turn *t)
{
    struct cell_end end;
    struct err ignored = ERR_INIT;
    if (t->req->op == WARDEN_OPEN) {
        wipe(t->w, t->slot);
    } else if (t->req->op == WARDEN_START && t->slot->cell.busy) {
        cell_kill(&t->slot->cell);
        cell_ended(&t->slot->cell, &end, &ignored);
        fd_close(&end.patch);
        t->slot->state = after(t->slot->state, false);
    }
}

/* What comes next is prepared while the attempt is busy with what was just begun. */
static void prepare_next(struct turn *t)
{
    if (t->req->op == WARDEN_OPEN)
        cell_prepare(&t->slot->cell, WARDEN_CHECKOUT);
    if (t->req->op == WARDEN_OPEN)
        cell_prepare(&t->slot->cell, WARDEN_RUN);
    if (t->req->op == WARDEN_START && t->req->phase == WARDEN_RUN)
        cell_prepare(&t->slot->cell, WARDEN_COLLECT);
}

/* serve's requests. -code: serve is gone, or no longer to be talked to. */
static int take_request(struct warden *w, struct err *err)
{
    struct warden_request req;
    struct err failed = ERR_INIT;
    int in[FDPASS_MAX];
    size_t nin = 0;
    int rc = fdpass_recv(w->sock, &req, sizeof req, in, &nin, err);
    if (rc <= 0)
        return rc;
    req.attempt[sizeof req.attempt - 1] = 0;
    struct turn t = {
        .w = w,
        .req = &req,
        .envelope = nin == 1 ? in[0] : -1,
        .reply = {.op = req.op, .slot = req.slot, .phase = req.phase},
    };
    rc = nin > 1 ? err_set(&failed, ERR_FAIL, "too many descriptors") : dispatch(&t, &failed);
    sodium_memzero(req.token, sizeof req.token);
    fds_close(in, nin);
    if (send_reply(w, &t.reply, rc, t.fds, t.nfds, &failed, &failed) == 0) {
        if (rc >= 0)
            prepare_next(&t);
        return 0;
    }
    if (t.nfds == 0 || rc < 0)
        return err_set(err, ERR_FAIL, "%s", failed.msg);
    undo(&t);
    return send_reply(w, &t.reply, -ERR_FAIL, NULL, 0, &failed, err);
}

/* A cache that cannot be named is not kept; the attempt's own result does not depend on it. */
static void name_cache(struct warden *w, struct slot *slot, const char *digest,
                       char ret[static CACHE_DIGEST_SIZE])
{
    struct err ignored = ERR_INIT;
    if (caches_commit(&w->caches, (unsigned)(slot - w->slots), digest, &ignored) == 0)
        memcpy(ret, digest, CACHE_DIGEST_SIZE);
    else
        caches_abort(&w->caches, (unsigned)(slot - w->slots));
    slot->keeps = false;
}

static int take_end(struct warden *w, struct slot *slot, struct err *err)
{
    struct cell_end end;
    struct err failed = ERR_INIT;
    int rc = cell_ended(&slot->cell, &end, &failed);
    struct warden_reply reply = {
        .op = WARDEN_EXITED,
        .slot = (uint32_t)(slot - w->slots),
        .phase = slot->cell.phase,
        .exit = end.exit,
        .signal = end.signal,
        .u.usage = end.usage,
    };
    slot->state = after(slot->state, rc == 0 && end.exit == 0);
    if (rc == 0 && slot->keeps && end.cache[0])
        name_cache(w, slot, end.cache, reply.cache);
    bool patch = end.patch >= 0;
    if (send_reply(w, &reply, rc, &end.patch, patch, &failed, &failed) == 0)
        return 0;
    return send_reply(w, &reply, -ERR_FAIL, NULL, 0, &failed, err);
}

static int turn_once(struct warden *w, struct err *err)
{
    struct pollfd p[1 + RUNNER_SLOTS_MAX] = {{.fd = w->sock, .events = POLLIN}};
    size_t n = w->setup->slots;
    for (size_t i = 0; i < n; i++)
        p[1 + i] = (struct pollfd){
            .fd = w->slots[i].cell.busy || pool_spare(&w->slots[i]) ? w->slots[i].cell.ctl : -1,
            .events = POLLIN,
        };
    struct slot *bare = pool_wants(w);
    int rc = poll(p, 1 + n, bare ? 0 : -1);
    if (rc < 0)
        return errno == EINTR ? 0 : err_errno(err, ERR_FAIL, "poll");
    if (rc == 0) {
        pool_fill(w, bare);
        return 0;
    }
    rc = 0;
    /* Ends first: a request may be about a slot whose phase has just ended. */
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (p[1 + i].revents && pool_spare(&w->slots[i]))
            pool_heard(&w->slots[i]);
        else if (p[1 + i].revents)
            rc = take_end(w, &w->slots[i], err);
    if (rc == 0 && p[0].revents)
        rc = take_request(w, err) < 0 ? -ERR_FAIL : 0;
    return rc;
}

int warden_loop(const struct warden_setup *setup, int sock, pid_t serve, struct err *err)
{
    struct warden w = {.setup = setup, .sock = sock, .rooted = geteuid() == 0};
    for (size_t i = 0; i < RUNNER_SLOTS_MAX; i++)
        w.slots[i].cell = CELL_NONE;
    int rc = seccomp_compile(&w.filter, err);
    if (rc < 0)
        return rc;
    cgroup_tree_open(&w.cgroups, serve);
    disk_store_open(&w.disks, setup->disks);
    caches_open(&w.caches, setup->caches, err);
    policy_init(&w.no_task.policy);
    cell_probe(w.rooted, &w.unusable);
    while ((rc = turn_once(&w, err)) == 0)
        ;
    for (size_t i = 0; i < setup->slots; i++)
        if (w.slots[i].state != SLOT_FREE || pool_spare(&w.slots[i]))
            wipe(&w, &w.slots[i]);
    disk_store_done(&w.disks);
    caches_done(&w.caches);
    cgroup_tree_done(&w.cgroups);
    seccomp_done(&w.filter);
    return rc;
}
