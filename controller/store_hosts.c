/* Hosts in the store: enrolled by a person, with pinned keys; facts as their runners last said. */
#include "controller/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define HOSTS_MAX 10000

static const struct column host_columns[] = {
    COLUMN(struct host_row, TEXT, name),
    COLUMN(struct host_row, TEXT, user),
    COLUMN(struct host_row, TEXT, addr),
    COLUMN(struct host_row, UINT, port),
    COLUMN(struct host_row, TEXT, host_key),
    COLUMN(struct host_row, TEXT, host_key_fpr),
    COLUMN(struct host_row, BOOL, runner_key_known),
    COLUMN(struct host_row, BLOB, runner_key),
    COLUMN(struct host_row, TEXT, program),
    COLUMN(struct host_row, TEXT, kernel),
    COLUMN(struct host_row, TEXT, unenforceable_why),
    COLUMN(struct host_row, UINT, slots),
    COLUMN(struct host_row, UINT, unenforceable),
    COLUMN(struct host_row, BOOL, rooted),
    COLUMN(struct host_row, BOOL, memory_cleared),
    COLUMN(struct host_row, BOOL, disk_images),
    COLUMN(struct host_row, TEXT, disk_images_why),
    COLUMN(struct host_row, UINT, landlock_abi),
    COLUMN(struct host_row, UINT, presets),
    COLUMN(struct host_row, TEXT, images),
    COLUMN(struct host_row, TEXT, reach),
    COLUMN(struct host_row, TEXT, tools),
    COLUMN(struct host_row, U64, added),
    COLUMN(struct host_row, U64, last_seen),
};
#define HOST_COLUMNS (sizeof(host_columns) / sizeof(host_columns[0]))

static const struct column fence_column[] = {COLUMN(struct host_row, U64, fence)};

/* "SELECT <columns>, <last fence> FROM hosts " + tail */
static int host_select(struct query *q, struct store *s, const char *tail, struct err *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, STORE_SQL_MAX);
    buf_adds(&sql, "SELECT ");
    columns_sql(host_columns, HOST_COLUMNS, false, &sql);
    buf_adds(&sql, ", (SELECT last FROM fences f WHERE f.host_key_fpr = hosts.host_key_fpr)"
                   " FROM hosts ");
    buf_adds(&sql, tail);
    rc = query_init(q, s, buf_str(&sql), err);
    buf_done(&sql);
    return rc;
}

static int host_read(struct query *q, struct host_row *out, struct err *err)
{
    int rc;

    *out = (struct host_row){0};
    rc = columns_read(host_columns, HOST_COLUMNS, q, 0, out, err);
    return rc < 0 ? rc : columns_read(fence_column, 1, q, HOST_COLUMNS, out, err);
}

static int host_missing(const char *name, struct err *err)
{
    return err_set(err, ERR_USAGE, "no host '%s': see 'creel host ls'", name);
}

bool store_host_name_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-");

    return n > 0 && n < HOST_NAME_SIZE && !name[n] && name[0] != '.' && name[0] != '-';
}

static int host_insert(struct store *s, const struct host_row *h, struct err *err)
{
    struct query q = {0};
    struct buf sql;
    int rc, changed = 0;

    buf_init(&sql, STORE_SQL_MAX);
    buf_adds(&sql, "INSERT INTO hosts (");
    columns_sql(host_columns, HOST_COLUMNS, false, &sql);
    buf_adds(&sql, ") VALUES (");
    columns_sql(host_columns, HOST_COLUMNS, true, &sql);
    buf_adds(&sql, ") ON CONFLICT (name) DO NOTHING");
    rc = query_init(&q, s, buf_str(&sql), err);
    if (rc == 0) {
        columns_bind(host_columns, HOST_COLUMNS, &q, h);
        rc = query_run(&q, &changed, err);
    }
    if (rc == 0 && !changed)
        rc =
            err_set(err, ERR_USAGE, "host '%s' exists: 'creel host rm %s' first", h->name, h->name);
    query_done(&q);
    buf_done(&sql);
    return rc;
}

int store_host_put(struct store *s, const struct host_row *h, struct err *err)
{
    int rc;

    if (!store_host_name_valid(h->name))
        return err_set(err, ERR_USAGE,
                       "'%s' is not a host name: small letters, digits, '.', '-', at most 64",
                       h->name);
    rc = store_begin(s, true, err);
    return rc < 0 ? rc : store_end(s, host_insert(s, h, err), err);
}

int store_host_get(struct store *s, const char *name, struct host_row *out, struct err *err)
{
    struct query q;
    int rc = host_select(&q, s, "WHERE name = ?", err);

    if (rc == 0) {
        query_text(&q, name);
        rc = query_step(&q, err);
        if (rc == 0)
            rc = host_missing(name, err);
        else if (rc == 1)
            rc = host_read(&q, out, err);
    }
    query_done(&q);
    return rc;
}

static int rows_grow(struct host_row **rows, size_t n, struct err *err)
{
    struct host_row *more;

    if (n & (n - 1)) /* doubles at 1, 2, 4, ... */
        return 0;
    if (n >= HOSTS_MAX)
        return err_set(err, ERR_FAIL, "creel.db: too many hosts");
    more = realloc(*rows, (n ? 2 * n : 1) * sizeof(**rows));
    if (!more) {
        err_set(err, ERR_FAIL, "out of memory");
        return -ERR_FAIL;
    }
    *rows = more;
    return 0;
}

int store_host_list(struct store *s, struct host_row **ret, size_t *ret_n, struct err *err)
{
    struct host_row *rows = NULL;
    struct query q;
    size_t n = 0;
    int rc = host_select(&q, s, "ORDER BY name", err);

    while (rc == 0 && (rc = query_step(&q, err)) == 1) {
        rc = rows_grow(&rows, n, err);
        rc = rc < 0 ? rc : host_read(&q, &rows[n], err);
        n++;
    }
    query_done(&q);
    if (rc < 0) {
        free(rows);
        return rc;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

int store_host_remove(struct store *s, const char *name, struct err *err)
{
    struct query q = {0};
    int changed = 0;
    int rc = store_begin(s, true, err);

    if (rc < 0)
        return rc;
    rc = query_init(&q, s, "DELETE FROM hosts WHERE name = ?", err);
    if (rc == 0) {
        query_text(&q, name);
        rc = query_run(&q, &changed, err);
    }
    query_done(&q);
    if (rc == 0 && !changed)
        rc = host_missing(name, err);
    return store_end(s, rc, err);
}

/* Each name with a space after it: the wire's bounds make them fit. */
static void names_fill(const struct strv *names, char *out, size_t size)
{
    size_t at = 0;

    out[0] = 0;
    for (size_t i = 0; i < names->n; i++) {
        size_t n = strlen(names->v[i]);
        if (strchr(names->v[i], ' ') || n + 2 > size - at)
            continue;
        memcpy(out + at, names->v[i], n);
        at += n;
        out[at++] = ' ';
        out[at] = 0;
    }
}

void store_host_facts(const struct msg_welcome *w, struct host_row *h)
{
    memcpy(h->program, w->program, sizeof(h->program));
    memcpy(h->kernel, w->kernel, sizeof(h->kernel));
    memcpy(h->unenforceable_why, w->unenforceable_why, sizeof(h->unenforceable_why));
    h->slots = w->slots > 0 ? (unsigned)w->slots : 0;
    h->unenforceable = w->unenforceable;
    h->rooted = w->rooted;
    h->memory_cleared = w->memory_cleared;
    h->disk_images = w->disk_images;
    memcpy(h->disk_images_why, w->disk_images_why, sizeof(h->disk_images_why));
    h->landlock_abi = w->landlock_abi > 0 ? (unsigned)w->landlock_abi : 0;
    h->presets = w->presets;
    names_fill(&w->images, h->images, sizeof(h->images));
    names_fill(&w->reach, h->reach, sizeof(h->reach));
    names_fill(&w->tools, h->tools, sizeof(h->tools));
}

static bool names_have(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = names; *at; at += strcspn(at, " ") + 1)
        if (strcspn(at, " ") == n && memcmp(at, name, n) == 0)
            return true;
    return false;
}

bool store_host_image(const struct host_row *h, const char *name)
{
    return names_have(h->images, name);
}

bool store_host_tool(const struct host_row *h, const char *name)
{
    return names_have(h->tools, name);
}

static int seen_update(struct store *s, const char *name, const struct msg_welcome *w,
                       struct host_row *h, struct err *err)
{
    struct query q = {0};
    struct buf sql;
    int rc;

    store_host_facts(w, h);
    memcpy(h->runner_key, w->runner_key, sizeof(h->runner_key));
    h->runner_key_known = true;
    h->last_seen = clock_wall_s();
    buf_init(&sql, STORE_SQL_MAX);
    buf_adds(&sql, "UPDATE hosts SET (");
    columns_sql(host_columns, HOST_COLUMNS, false, &sql);
    buf_adds(&sql, ") = (");
    columns_sql(host_columns, HOST_COLUMNS, true, &sql);
    buf_adds(&sql, ") WHERE name = ?");
    rc = query_init(&q, s, buf_str(&sql), err);
    if (rc == 0) {
        columns_bind(host_columns, HOST_COLUMNS, &q, h);
        query_text(&q, name);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    buf_done(&sql);
    return rc;
}

static int runner_key_check(const struct host_row *h, const struct msg_welcome *w, struct err *err)
{
    char pinned[KEY_FPR_SIZE], seen[KEY_FPR_SIZE];

    if (h->runner_key_known && memcmp(h->runner_key, w->runner_key, KEY_PUB_BYTES) == 0)
        return 0;
    key_fingerprint(w->runner_key, seen);
    if (!h->runner_key_known)
        return err_set(err, ERR_TRUST, "host %s: no runner key is pinned, and it shows %s", h->name,
                       seen);
    key_fingerprint(h->runner_key, pinned);
    return err_set(err, ERR_TRUST,
                   "host %s: its runner's key is %s, pinned is %s: was the runner set up anew? "
                   "'creel host rm %s', then 'creel host add'",
                   h->name, seen, pinned, h->name);
}

int store_host_seen(struct store *s, const char *name, const struct msg_welcome *w, bool pin,
                    struct err *err)
{
    struct host_row h = {0};
    int rc = store_begin(s, pin, err); /* facts come again with the next WELCOME, a pin does not */

    if (rc < 0)
        return rc;
    rc = store_host_get(s, name, &h, err);
    if (rc == 0 && !pin)
        rc = runner_key_check(&h, w, err);
    rc = rc < 0 ? rc : seen_update(s, name, w, &h, err);
    return store_end(s, rc, err);
}

static const struct column runner_key_columns[] = {
    COLUMN(struct runner_key_row, TEXT, host),
    COLUMN(struct runner_key_row, BLOB, key),
};

int store_runner_keys(struct store *s, struct runner_key_row **ret, size_t *ret_n, struct err *err)
{
    struct runner_key_row *rows = NULL, *more;
    struct query q;
    size_t n = 0;
    int rc = query_init(&q, s,
                        "SELECT name, runner_key FROM hosts WHERE runner_key_known"
                        " UNION SELECT attempt_host, runner_key FROM attempts"
                        " WHERE runner_key != zeroblob(32)",
                        err);

    while (rc == 0 && (rc = query_step(&q, err)) == 1) {
        more = n < HOSTS_MAX ? realloc(rows, (n + 1) * sizeof(*rows)) : NULL;
        if (!more) {
            rc = err_set(err, ERR_FAIL, "too many hosts, or out of memory");
            break;
        }
        rows = more;
        rows[n] = (struct runner_key_row){0};
        rc = columns_read(runner_key_columns, 2, &q, 0, &rows[n++], err);
    }
    query_done(&q);
    if (rc < 0) {
        free(rows);
        return rc;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

int store_task_runner_key(struct store *s, const char *id, uint8_t out[static KEY_PUB_BYTES],
                          struct err *err)
{
    struct runner_key_row row = {0};
    struct query q;
    int rc = query_init(&q, s,
                        "SELECT attempt_host, runner_key FROM attempts JOIN tasks"
                        " ON task = id AND n = attempt_n WHERE id = ?",
                        err);

    if (rc == 0) {
        query_text(&q, id);
        rc = query_step(&q, err);
        if (rc == 0)
            rc = err_set(err, ERR_USAGE, "task %.40s has no attempt", id);
        else if (rc == 1)
            rc = columns_read(runner_key_columns, 2, &q, 0, &row, err);
    }
    query_done(&q);
    if (rc == 0)
        memcpy(out, row.key, KEY_PUB_BYTES);
    return rc;
}

int store_host_key(struct store *s, const char *name, const char *line, struct err *err)
{
    struct query q = {0};
    int changed = 0;
    int rc = store_begin(s, true, err);

    if (rc < 0)
        return rc;
    rc = query_init(&q, s, "UPDATE hosts SET host_key = ? WHERE name = ?", err);
    if (rc == 0) {
        query_text(&q, line);
        query_text(&q, name);
        rc = query_run(&q, &changed, err);
    }
    query_done(&q);
    if (rc == 0 && !changed)
        rc = host_missing(name, err);
    return store_end(s, rc, err);
}
