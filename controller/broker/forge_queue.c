/* Minted tokens: what happens to each, and when. Rows are changed before the act they name; the only thing done
 * before its row knows of it is dropping a token that nobody has. */
#include "controller/broker/forge_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/secret.h"
#include "proto/b64.h"

#define TICK_MAX_S   60 /* a suspended machine's clock jumps: look at it again, now and then */
#define GRACE_S      60 /* the jail may be in the middle of a push with the one before */
#define RETRY_MAX_S  300
#define RENEW_WAIT_S 60
#define UNTIL_MAX_S  (48u * 3600)

static void schedule(struct forge_queue *q);
static void on_revoked(struct minted *m, bool sent, const struct err *err);

int minted_fill(struct minted *m, struct err *err)
{
    /* One forge: the one that the row remembers. */
    const struct forges one = {.list = {.n = 1, .items = &m->forge}};
    const struct forge *f;
    snprintf(m->label, sizeof m->label, "creel-%s-%lld", m->want.attempt, (long long)m->id);
    return forge_find(&one, m->want.url, &f, &m->repo, err);
}

static bool under_way(const struct minted *m)
{
    return m->x || m->asking_secret;
}

/* Writes the row. What fails is told once it matters: here the state in memory goes on, and a process that
 * starts later does it again. */
static int record(struct minted *m, enum minted_state state, struct err *err)
{
    m->state = state;
    if (state > MINTED_REVOKING)
        m->dropped = true;
    return forge_db_update(m->q, m, err);
}

static void note(struct minted *m, const char *what, const struct err *why)
{
    char text[ERR_MSG_MAX + 200];
    snprintf(text, sizeof text, "forge %s: %s: %s", m->forge.name, what, why->msg);
    m->q->use.note(m->q->use.arg, m->want.attempt, text);
}

static void revoke_later(struct minted *m, uint64_t due)
{
    struct err ignored = ERR_INIT;
    (void)record(m, MINTED_REVOKING, &ignored);
    m->untold = false;
    m->due = due;
}

/* Nobody has the token, and nobody knows it: see the header. */
static void lost(struct minted *m)
{
    m->token.expires = forge_mint_longest((enum forge_kind)m->forge.kind, m->asked);
    revoke_later(m, clock_wall_s());
}

/* Minting. */

static void report(struct minted *m, const struct err *err)
{
    forge_minted_cb *cb = m->cb;
    m->cb = NULL;
    if (cb)
        cb(m->cb_arg, err);
    else if (err)
        note(m, "the repository token could not be renewed", err);
    m->renews = NULL;
}

static int wrong_status(const struct minted *m, struct err *err)
{
    const char *words = m->status == 401   ? "it does not take the credential"
                        : m->status == 403 ? "the credential may not do that"
                        : m->status == 404 ? "no such repository or installation, or not for this "
                                             "credential"
                        : m->status == 422 ? "it refuses what was asked for"
                                           : "that is not success";
    return err_set(err, ERR_REFUSED, "forge %s answered %d: %s", m->forge.name, m->status, words);
}

static int hide(struct minted *m, struct err *err)
{
    char name[SECRET_NAME_SIZE];
    snprintf(name, sizeof name, "repo-token-%lld", (long long)m->id);
    return secrets_add(m->q->use.secrets, name, m->token.value, m->token.len, err);
}

static void minted_well(struct minted *m)
{
    struct err err = ERR_INIT;
    uint64_t life = m->token.expires > m->asked ? m->token.expires - m->asked : 0;
    if (record(m, MINTED_LIVE, &err) < 0 || hide(m, &err) < 0) {
        /* What is not on disk, or would stand in logs, must not go out. */
        revoke_later(m, clock_wall_s());
        report(m, &err);
        return;
    }
    m->due = m->asked + life / 4 * 3;
    if (m->due > m->want.until)
        m->due = m->want.until;
    m->untold = true;
    if (m->renews)
        revoke_later(m->renews, clock_wall_s() + GRACE_S);
    report(m, NULL);
}

/* An answer came whole. */
static void on_answer(struct minted *m)
{
    struct err err = ERR_INIT;
    const struct forge_call_row *row = forge_call_row((enum forge_kind)m->forge.kind, FORGE_MINT);
    if (m->status != row->done[0]) {
        wrong_status(m, &err);
        if (m->status >= 400 && m->status < 500)
            record(m, MINTED_UNBORN, &(struct err){0});
        else
            lost(m);
        report(m, &err);
        return;
    }
    int rc = m->answer.failed
                 ? err_set(&err, ERR_FAIL, "the forge's answer is too long")
                 : forge_mint_read((enum forge_kind)m->forge.kind, &m->repo, m->answer.data,
                                   m->answer.len, clock_wall_s(), &m->token, &err);
    if (rc == 0 && m->over)
        rc = err_set(&err, ERR_REFUSED, "the attempt is over");
    if (rc == 0) {
        minted_well(m);
        return;
    }
    err_wrap(&err, "forge %s", m->forge.name);
    if (m->token.value)
        revoke_later(m, clock_wall_s());
    else
        lost(m);
    report(m, &err);
}

static void on_minted(struct minted *m, bool sent, const struct err *err)
{
    struct err why = err ? *err : ERR_INIT;
    if (!err) {
        on_answer(m);
    } else {
        err_wrap(&why, "forge %s", m->forge.name);
        if (sent)
            lost(m);
        else
            record(m, MINTED_UNBORN, &(struct err){0});
        report(m, &why);
    }
    buf_wipe(&m->answer);
    schedule(m->q);
}

static int can_mint(const struct forge *f, struct err *err)
{
    if (!forge_call_row((enum forge_kind)f->kind, FORGE_MINT)->method)
        return err_set(err, ERR_REFUSED,
                       "forge %s: %s has no token for a single repository; --repo-access push "
                       "needs none",
                       f->name, forge_kind_names[f->kind]);
    if (f->kind == FORGE_GITHUB && !f->key[0])
        return err_set(err, ERR_REFUSED,
                       "forge %s: tokens are minted by a GitHub App: creel forge add %s --replace "
                       "--app ID --installation N --key SECRET",
                       f->name, f->name);
    if (f->kind != FORGE_GITHUB && !f->token[0])
        return err_set(err, ERR_REFUSED, "forge %s: no token to mint others with", f->name);
    return 0;
}

static int mint_begin(struct forge_queue *q, const struct forge_want *want,
                      const struct forge *forge, struct minted **ret, struct err *err)
{
    struct minted *m = minted_new(q, want, forge);
    uint64_t now = clock_wall_s();
    if (!m)
        return err_set(err, ERR_FAIL, "out of memory");
    m->asked = now;
    m->token.expires = forge_mint_longest((enum forge_kind)forge->kind, now);
    int rc = forge_db_add(q, m, err); /* the intent, before any byte leaves */
    if (rc == 0 && (rc = minted_fill(m, err)) == 0) {
        uint64_t until = want->until < now + UNTIL_MAX_S ? want->until : now + UNTIL_MAX_S;
        rc =
            forge_mint_body((enum forge_kind)forge->kind, &m->repo, m->label, until, &m->body, err);
    }
    if (rc < 0) {
        if (m->id)
            record(m, MINTED_UNBORN, &(struct err){0});
        minted_free(m);
        return rc;
    }
    m->next = q->first;
    q->first = m;
    *ret = m;
    return 0;
}

void forge_queue_mint(struct forge_queue *q, const struct forge_want *want, forge_minted_cb *cb,
                      void *arg)
{
    struct forges fs = {0};
    const struct forge *f = NULL;
    struct forge_repo repo;
    struct minted *m = NULL;
    struct err err = ERR_INIT;
    int rc = forges_load(q->use.dirfd, &fs, &err);
    if (rc == 0)
        rc = forge_find(&fs, want->url, &f, &repo, &err);
    if (rc == 0)
        rc = can_mint(f, &err);
    if (rc == 0)
        rc = mint_begin(q, want, f, &m, &err);
    forges_done(&fs);
    if (rc < 0 || !m) {
        cb(arg, &err);
        return;
    }
    m->cb = cb;
    m->cb_arg = arg;
    minted_call(m, FORGE_MINT, on_minted);
}

static void renew(struct minted *m)
{
    struct minted *next = NULL;
    struct err err = ERR_INIT;
    m->due = clock_wall_s() + RENEW_WAIT_S;
    if (mint_begin(m->q, &m->want, &m->forge, &next, &err) < 0) {
        note(m, "the repository token could not be renewed", &err);
        return;
    }
    next->renews = m;
    minted_call(next, FORGE_MINT, on_minted);
}

/* Revoking. */

static void try_again(struct minted *m, const struct err *err)
{
    unsigned wait = m->tries < 8 ? 1u << m->tries : RETRY_MAX_S;
    if (m->tries++ == 0)
        note(m, "the repository token is not revoked yet, it is tried again", err);
    revoke_later(m, clock_wall_s() + wait);
}

static void on_revoked(struct minted *m, bool sent, const struct err *err)
{
    const struct forge_call_row *row = forge_call_row((enum forge_kind)m->forge.kind, FORGE_REVOKE);
    struct err why = err ? *err : ERR_INIT;
    bool done = false;
    (void)sent;
    for (int i = 0; i < 3 && row->done[i]; i++)
        done = done || m->status == row->done[i];
    if (!done && !err)
        wrong_status(m, &why);
    if (done)
        record(m, MINTED_REVOKED, &(struct err){0});
    else
        try_again(m, &why);
    schedule(m->q);
}

/* Those that the forge has under our label: none, or the one whose answer never came. */
static void on_found(struct minted *m, bool sent, const struct err *err)
{
    struct strv ids = {0};
    struct err why = err ? *err : ERR_INIT;
    int rc = 0;
    (void)sent;
    if (err)
        rc = -1;
    else if (m->status != 200)
        rc = wrong_status(m, &why);
    else
        rc = forge_minted_find(m->answer.data, m->answer.len, m->label, &ids, &why);
    if (rc < 0)
        try_again(m, &why);
    else if (ids.n == 0)
        record(m, MINTED_UNBORN, &(struct err){0});
    else
        snprintf(m->token.handle, sizeof m->token.handle, "%s", ids.v[0]);
    strv_done(&ids);
    if (rc == 0 && !m->dropped)
        minted_call(m, FORGE_REVOKE, on_revoked);
    else
        schedule(m->q);
}

static void revoke_now(struct minted *m, uint64_t now)
{
    bool by_token = m->forge.kind == FORGE_GITHUB;
    if (now >= m->token.expires)
        record(m, MINTED_EXPIRED, &(struct err){0});
    else if (by_token && !m->token.value)
        m->due = m->token.expires; /* nobody knows it: it ends by itself */
    else if (!by_token && !m->token.handle[0])
        minted_call(m, FORGE_FIND_MINTED, on_found);
    else
        minted_call(m, FORGE_REVOKE, on_revoked);
}

/* The clock. */

static void tell(struct minted *m)
{
    struct forge_use *use = &m->q->use;
    uint8_t curve[crypto_box_PUBLICKEYBYTES];
    uint8_t sealed[REPO_TOKEN_MAX + crypto_box_SEALBYTES];
    struct buf text;
    m->untold = false;
    buf_init(&text, 2 * sizeof sealed);
    if (crypto_sign_ed25519_pk_to_curve25519(curve, m->want.runner_key) == 0 &&
        crypto_box_seal(sealed, (const uint8_t *)m->token.value, m->token.len, curve) == 0 &&
        b64_add(&text, sealed, m->token.len + crypto_box_SEALBYTES) == 0)
        use->token(use->arg, m->want.attempt, buf_str(&text));
    buf_done(&text);
}

static void look_at_live(struct minted *m, uint64_t now)
{
    if (m->untold)
        tell(m);
    if (now < m->due)
        return;
    if (now >= m->token.expires)
        record(m, MINTED_EXPIRED, &(struct err){0});
    else if (now >= m->want.until || !m->q->use.alive(m->q->use.arg, m->want.attempt))
        revoke_later(m, now);
    else
        renew(m);
}

static void sweep(struct forge_queue *q)
{
    for (struct minted **at = &q->first; *at;) {
        struct minted *m = *at;
        if (!m->dropped || under_way(m)) {
            at = &m->next;
            continue;
        }
        for (struct minted *o = q->first; o; o = o->next)
            if (o->renews == m)
                o->renews = NULL;
        *at = m->next;
        minted_free(m);
    }
}

/* New ones are put in front: the walk does not see them. */
static void on_tick(uv_timer_t *timer)
{
    struct forge_queue *q = timer->data;
    uint64_t now = clock_wall_s();
    for (struct minted *m = q->first; m; m = m->next) {
        if (m->dropped || under_way(m))
            continue;
        if (m->state == MINTED_LIVE && !q->ending)
            look_at_live(m, now);
        if (m->state == MINTED_REVOKING && m->due <= now)
            revoke_now(m, now);
    }
    sweep(q);
    schedule(q);
}

static void schedule(struct forge_queue *q)
{
    uint64_t now = clock_wall_s(), wait = TICK_MAX_S;
    bool any = false;
    for (const struct minted *m = q->first; m; m = m->next) {
        uint64_t due = m->dropped || m->untold ? now : m->due;
        if (under_way(m))
            continue;
        any = true;
        if (due <= now)
            wait = 0;
        else if (due - now < wait)
            wait = due - now;
    }
    if (any)
        uv_timer_start(q->timer, on_tick, wait * 1000 + 1, 0);
    else
        uv_timer_stop(q->timer);
}

/* From outside. */

void forge_queue_over(struct forge_queue *q, const char *attempt)
{
    uint64_t now = clock_wall_s();
    for (struct minted *m = q->first; m; m = m->next) {
        if (m->dropped || strcmp(m->want.attempt, attempt) != 0)
            continue;
        m->over = true;
        if (m->state == MINTED_LIVE) {
            revoke_later(m, now);
        } else if (m->state == MINTED_REVOKING && m->due > now && !m->tries) {
            m->due = now; /* nobody is in the middle of anything any more */
        } else if (m->state == MINTED_MINTING && m->asking_secret) {
            struct err err = ERR_INIT;
            minted_cancel(m);
            record(m, MINTED_UNBORN, &(struct err){0});
            err_set(&err, ERR_CANCELLED, "the attempt is over");
            if (m->cb)
                report(m, &err);
        }
    }
    schedule(q);
}

void forge_queue_ending(struct forge_queue *q)
{
    q->ending = true;
    for (struct minted *m = q->first; m; m = m->next) {
        m->untold = false;
        m->over = m->over || m->state == MINTED_MINTING;
        if (m->state == MINTED_LIVE)
            m->due = UINT64_MAX;
    }
}

bool forge_queue_busy(const struct forge_queue *q)
{
    uint64_t now = clock_wall_s();
    for (const struct minted *m = q->first; m; m = m->next) {
        if (m->dropped)
            continue;
        if (m->state == MINTED_MINTING && m->x)
            return true;
        if (m->state == MINTED_REVOKING && m->tries == 0 && (under_way(m) || m->due <= now))
            return true;
    }
    return false;
}

int forge_queue_open(const char *dir, const uint8_t sec[static KEY_SEC_BYTES],
                     struct forge_queue **ret, struct err *err)
{
    struct forge_queue *q = calloc(1, sizeof *q);
    int rc = q ? 0 : err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0 && !(q->seal = secret_new(crypto_secretbox_KEYBYTES, err)))
        rc = -ERR_FAIL;
    /* The seed is a uniformly random 32 bytes, which is what the derivation wants; its context is used for nothing
     * else, so that this key tells nothing of the one that signs. */
    if (rc == 0)
        crypto_kdf_derive_from_key(q->seal, crypto_secretbox_KEYBYTES, 1, "creelfrg", sec);
    if (rc == 0)
        rc = forge_db_open(q, dir, err);
    if (rc == 0)
        *ret = q;
    else
        forge_queue_close(q);
    return rc;
}

/* What an earlier process left. */
static void take_up(struct minted *m, uint64_t now)
{
    switch (m->state) {
    case MINTED_MINTING:
        lost(m);
        break;
    case MINTED_LIVE:
        m->due = m->asked + (m->token.expires - m->asked) / 4 * 3;
        if (m->due > m->want.until)
            m->due = m->want.until;
        if (!m->token.value || !m->q->use.alive(m->q->use.arg, m->want.attempt) ||
            hide(m, &(struct err){0}) < 0)
            revoke_later(m, now);
        else
            m->untold = true; /* the engine may be a new one too */
        break;
    case MINTED_REVOKING:
    case MINTED_REVOKED:
    case MINTED_EXPIRED:
    case MINTED_UNBORN:
        m->due = now;
        break;
    }
}

int forge_queue_start(struct forge_queue *q, const struct forge_use *use, struct err *err)
{
    q->use = *use;
    q->timer = calloc(1, sizeof *q->timer);
    if (!q->timer)
        return err_set(err, ERR_FAIL, "out of memory");
    uv_timer_init(use->loop, q->timer);
    q->timer->data = q;
    int rc = forge_db_load(q, err);
    for (struct minted *m = q->first; m && rc == 0; m = m->next)
        take_up(m, clock_wall_s());
    if (rc == 0)
        schedule(q);
    return rc;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void forge_queue_close(struct forge_queue *q)
{
    if (!q)
        return;
    while (q->first) {
        struct minted *m = q->first;
        q->first = m->next;
        minted_free(m);
    }
    if (q->timer)
        uv_close((uv_handle_t *)q->timer, on_closed);
    forge_db_close(q);
    secret_free(q->seal);
    free(q);
}
