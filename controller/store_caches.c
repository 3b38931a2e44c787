/* Dependency caches in the store: which digest the operator's name stands for, host by host. The caches
 * themselves are on the hosts; this is only what their runners signed that they kept.
 */
#include "controller/store_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define CACHES_MAX 10000

/* The host that has a cache now, by the key that names both. */
#define HOST_OF "(SELECT name FROM hosts h WHERE h.host_key_fpr = caches.host_key_fpr LIMIT 1)"

static const struct column cache_columns[] = {
    COLUMN_AS(struct cache_row, TEXT, host, HOST_OF),
    COLUMN(struct cache_row, TEXT, name),
    COLUMN(struct cache_row, TEXT, digest),
    COLUMN(struct cache_row, TEXT, task),
    COLUMN(struct cache_row, U64, kept),
};
#define CACHE_COLUMNS (sizeof(cache_columns) / sizeof(cache_columns[0]))

bool store_cache_name_valid(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n > 0 && n < CACHE_NAME_SIZE && !name[n] && name[0] != '.' && name[0] != '-';
}

static int cache_select(struct query *q, struct store *s, const char *tail, struct err *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, STORE_SQL_MAX);
    buf_adds(&sql, "SELECT ");
    columns_sql(cache_columns, CACHE_COLUMNS, false, &sql);
    buf_adds(&sql, " FROM caches ");
    buf_adds(&sql, tail);
    rc = query_init(q, s, buf_str(&sql), err);
    buf_done(&sql);
    return rc;
}

int store_cache_get(struct store *s, const char *host, const char *name, char out[static 65],
                    struct err *err)
{
    struct cache_row row = {0};
    struct query q;
    int rc = cache_select(&q, s,
                          "WHERE name = ? AND host_key_fpr ="
                          " (SELECT host_key_fpr FROM hosts WHERE hosts.name = ?)",
                          err);

    if (rc == 0) {
        query_text(&q, name);
        query_text(&q, host);
        rc = query_step(&q, err);
    }
    if (rc == 1)
        rc = columns_read(cache_columns, CACHE_COLUMNS, &q, 0, &row, err);
    query_done(&q);
    if (rc == 0)
        memcpy(out, row.digest, sizeof(row.digest));
    return rc;
}

int store_cache_keep(struct store *s, const char *host, const char *name, const char *digest,
                     const char *task, struct err *err)
{
    struct query q = {0};
    int rc = store_begin(s, true, err);

    if (rc < 0)
        return rc;
    rc = query_init(&q, s,
                    "INSERT INTO caches (host_key_fpr, name, digest, task, kept)"
                    " SELECT host_key_fpr, ?, ?, ?, ? FROM hosts WHERE name = ?"
                    " ON CONFLICT (host_key_fpr, name) DO UPDATE SET digest = excluded.digest,"
                    " task = excluded.task, kept = excluded.kept",
                    err);
    if (rc == 0) {
        query_text(&q, name);
        query_text(&q, digest);
        query_text(&q, task);
        query_int(&q, (int64_t)clock_wall_s());
        query_text(&q, host);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return store_end(s, rc, err);
}

int store_cache_list(struct store *s, struct cache_row **ret, size_t *ret_n, struct err *err)
{
    struct cache_row *rows = NULL, *more;
    struct query q;
    size_t n = 0;
    int rc = cache_select(&q, s, "ORDER BY 1, name", err);

    while (rc == 0 && (rc = query_step(&q, err)) == 1) {
        more = n < CACHES_MAX ? realloc(rows, (n + 1) * sizeof(*rows)) : NULL;
        if (!more) {
            rc = err_set(err, ERR_FAIL, "too many caches, or out of memory");
            break;
        }
        rows = more;
        rows[n] = (struct cache_row){0};
        rc = columns_read(cache_columns, CACHE_COLUMNS, &q, 0, &rows[n++], err);
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

int store_cache_remove(struct store *s, const char *host, const char *name, struct err *err)
{
    struct query q = {0};
    int changed = 0;
    int rc = store_begin(s, true, err);

    if (rc < 0)
        return rc;
    rc = query_init(&q, s,
                    host ? "DELETE FROM caches WHERE name = ? AND host_key_fpr ="
                           " (SELECT host_key_fpr FROM hosts WHERE hosts.name = ?)"
                         : "DELETE FROM caches WHERE name = ?",
                    err);
    if (rc == 0) {
        query_text(&q, name);
        if (host)
            query_text(&q, host);
        rc = query_run(&q, &changed, err);
    }
    query_done(&q);
    if (rc == 0 && !changed)
        rc = err_set(err, ERR_USAGE, "no cache '%.64s'%s%.64s: see 'creel cache ls'", name,
                     host ? " on host " : "", host ? host : "");
    return store_end(s, rc, err);
}
