/* forge.db: the rows of minted tokens. Every change is durable before its function returns. */
#include "controller/broker/forge_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/secret.h"

#define DB_VERSION  1
#define DB_BUSY_MS  5000
#define SEALED_ROOM (REPO_TOKEN_MAX + crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)

/* `forge` is a copy of its entry in forges.json, which names secrets and holds none: what was minted can be
 * revoked although the entry was changed since. */
static const char schema[] =
    "CREATE TABLE minted ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, attempt TEXT NOT NULL, url TEXT NOT NULL,"
    " runner_key BLOB NOT NULL, until INTEGER NOT NULL, forge TEXT NOT NULL,"
    " state INTEGER NOT NULL, handle TEXT NOT NULL, sealed BLOB NOT NULL,"
    " asked INTEGER NOT NULL, expires INTEGER NOT NULL, tries INTEGER NOT NULL) STRICT;"
    "PRAGMA user_version = 1;";

static int fail(struct forge_queue *q, struct err *err)
{
    return err_set(err, ERR_FAIL, "forge.db: %s", q->db ? sqlite3_errmsg(q->db) : "out of memory");
}

static int run(struct forge_queue *q, const char *sql, struct err *err)
{
    return sqlite3_exec(q->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(q, err);
}

static int version(struct forge_queue *q, int *ret, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(q->db, "PRAGMA user_version", -1, &s, NULL) == SQLITE_OK &&
                     sqlite3_step(s) == SQLITE_ROW
                 ? 0
                 : fail(q, err);
    if (rc == 0)
        *ret = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    return rc;
}

static int make_schema(struct forge_queue *q, struct err *err)
{
    int v = 0;
    int rc = run(q, "BEGIN IMMEDIATE", err);
    if (rc < 0)
        return rc;
    rc = version(q, &v, err);
    if (rc == 0 && v > DB_VERSION)
        rc = err_set(err, ERR_FAIL,
                     "forge.db was made by a newer creel (schema %d, this one knows %d)", v,
                     DB_VERSION);
    if (rc == 0 && v == 0)
        rc = run(q, schema, err);
    if (rc == 0)
        return run(q, "COMMIT", err);
    (void)sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int forge_db_open(struct forge_queue *q, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/forge.db", dir);
    if (n < 0 || n >= (int)sizeof path)
        return err_set(err, ERR_USAGE, "path of the broker's directory: too long");
    if (sqlite3_open_v2(path, &q->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        return fail(q, err);
    sqlite3_busy_timeout(q->db, DB_BUSY_MS);
    int rc = run(q,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
                 "PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON",
                 err);
    return rc < 0 ? rc : make_schema(q, err);
}

void forge_db_close(struct forge_queue *q)
{
    sqlite3_close(q->db);
    q->db = NULL;
}

/* nonce || secretbox; nothing when there is no token. */
static size_t seal(const struct forge_queue *q, const struct minted *m,
                   uint8_t out[static SEALED_ROOM])
{
    if (!m->token.value || m->token.len > REPO_TOKEN_MAX)
        return 0;
    randombytes_buf(out, crypto_secretbox_NONCEBYTES);
    crypto_secretbox_easy(out + crypto_secretbox_NONCEBYTES, (const uint8_t *)m->token.value,
                          m->token.len, out, q->seal);
    return crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + m->token.len;
}

/* A token that does not open was sealed under another signing key: then it can only be waited for. */
static int unseal(struct minted *m, const uint8_t *sealed, size_t n, struct err *err)
{
    const size_t over = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
    if (n <= over || n > SEALED_ROOM)
        return 0;
    char *value = secret_new(n - over + 1, err);
    if (!value)
        return -ERR_FAIL;
    if (crypto_secretbox_open_easy((uint8_t *)value, sealed + crypto_secretbox_NONCEBYTES,
                                   n - crypto_secretbox_NONCEBYTES, sealed, m->q->seal) != 0) {
        secret_free(value);
        return 0;
    }
    value[n - over] = 0;
    m->token.value = value;
    m->token.len = n - over;
    return 0;
}

/* Parameters 1 to 5 of both statements. */
static void bind_changing(const struct forge_queue *q, const struct minted *m, sqlite3_stmt *s,
                          uint8_t sealed[static SEALED_ROOM])
{
    /* What has ended needs its token no more. */
    size_t n = m->state <= MINTED_REVOKING ? seal(q, m, sealed) : 0;
    sqlite3_bind_int(s, 1, (int)m->state);
    sqlite3_bind_text(s, 2, m->token.handle, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(s, 3, n ? sealed : (const void *)"", n, SQLITE_STATIC);
    sqlite3_bind_int64(s, 4, (int64_t)m->token.expires);
    sqlite3_bind_int64(s, 5, (int64_t)m->tries);
}

static int step(struct forge_queue *q, sqlite3_stmt *s, struct err *err)
{
    int rc = sqlite3_step(s) == SQLITE_DONE ? 0 : fail(q, err);
    sqlite3_finalize(s);
    return rc;
}

int forge_db_add(struct forge_queue *q, struct minted *m, struct err *err)
{
    static const char sql[] = "INSERT INTO minted (state, handle, sealed, expires, tries, attempt, "
                              "url, runner_key, until,"
                              " forge, asked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    uint8_t sealed[SEALED_ROOM];
    sqlite3_stmt *s = NULL;
    struct buf forge;
    buf_init(&forge, 16384);
    int rc = json_encode(&forge_shape, &m->forge, &forge, err);
    if (rc == 0 && sqlite3_prepare_v2(q->db, sql, -1, &s, NULL) != SQLITE_OK)
        rc = fail(q, err);
    if (rc == 0) {
        bind_changing(q, m, s, sealed);
        sqlite3_bind_text(s, 6, m->want.attempt, -1, SQLITE_STATIC);
        sqlite3_bind_text(s, 7, m->want.url, -1, SQLITE_STATIC);
        sqlite3_bind_blob(s, 8, m->want.runner_key, KEY_PUB_BYTES, SQLITE_STATIC);
        sqlite3_bind_int64(s, 9, (int64_t)m->want.until);
        sqlite3_bind_text(s, 10, buf_str(&forge), -1, SQLITE_STATIC);
        sqlite3_bind_int64(s, 11, (int64_t)m->asked);
        rc = step(q, s, err);
    }
    if (rc == 0)
        m->id = sqlite3_last_insert_rowid(q->db);
    buf_done(&forge);
    return rc;
}

int forge_db_update(struct forge_queue *q, const struct minted *m, struct err *err)
{
    static const char sql[] = "UPDATE minted SET state = ?, handle = ?, sealed = ?, expires = ?,"
                              " tries = ? WHERE id = ?";
    uint8_t sealed[SEALED_ROOM];
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(q->db, sql, -1, &s, NULL) != SQLITE_OK)
        return fail(q, err);
    bind_changing(q, m, s, sealed);
    sqlite3_bind_int64(s, 6, m->id);
    return step(q, s, err);
}

static bool column_text(sqlite3_stmt *s, int i, char *to, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    if (!text || strlen(text) >= size)
        return false;
    memcpy(to, text, strlen(text) + 1);
    return true;
}

/* One row; one that cannot be read is an error: somebody has been at the file. */
static int load_row(struct forge_queue *q, sqlite3_stmt *s, struct minted **ret, struct err *err)
{
    struct forge_want want = {0};
    struct forge forge = {0};
    const char *text = (const char *)sqlite3_column_text(s, 9);
    if (!column_text(s, 1, want.attempt, sizeof want.attempt) || !attempt_id_valid(want.attempt) ||
        !column_text(s, 2, want.url, sizeof want.url) ||
        sqlite3_column_bytes(s, 3) != KEY_PUB_BYTES || !text)
        return err_set(err, ERR_FAIL, "forge.db: a row makes no sense");
    memcpy(want.runner_key, sqlite3_column_blob(s, 3), KEY_PUB_BYTES);
    want.until = (uint64_t)sqlite3_column_int64(s, 4);
    if (json_decode(&forge_shape, text, strlen(text), &forge, err) < 0 ||
        forge_check(&forge, err) < 0)
        return err_wrap(err, "forge.db");
    struct minted *m = minted_new(q, &want, &forge);
    if (!m)
        return err_set(err, ERR_FAIL, "out of memory");
    m->id = sqlite3_column_int64(s, 0);
    m->state = (enum minted_state)sqlite3_column_int(s, 5);
    if (!column_text(s, 6, m->token.handle, sizeof m->token.handle))
        m->token.handle[0] = 0;
    m->asked = (uint64_t)sqlite3_column_int64(s, 8);
    m->token.expires = (uint64_t)sqlite3_column_int64(s, 10);
    int rc = unseal(m, sqlite3_column_blob(s, 7), (size_t)sqlite3_column_bytes(s, 7), err);
    if (rc == 0)
        rc = minted_fill(m, err);
    if (rc < 0)
        minted_free(m);
    else
        *ret = m;
    return rc;
}

int forge_db_load(struct forge_queue *q, struct err *err)
{
    static const char sql[] =
        "SELECT id, attempt, url, runner_key, until, state, handle, sealed, asked, forge, expires"
        " FROM minted WHERE state <= 2 ORDER BY id";
    sqlite3_stmt *s = NULL;
    int got, rc = 0;
    if (sqlite3_prepare_v2(q->db, sql, -1, &s, NULL) != SQLITE_OK)
        return fail(q, err);
    while (rc == 0 && (got = sqlite3_step(s)) != SQLITE_DONE) {
        struct minted *m = NULL;
        rc = got == SQLITE_ROW ? load_row(q, s, &m, err) : fail(q, err);
        if (rc == 0) {
            m->next = q->first;
            q->first = m;
        }
    }
    sqlite3_finalize(s);
    return rc;
}
