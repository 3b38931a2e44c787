/* Column tables: one list says the column's name, its kind and the struct member it fills; SELECT
 * lists, INSERT marks, reading and binding all come from it. Values are checked to fit: the file is
 * ours, but a wrong byte in it must end in an error and not in a wrong state.
 */
#include "controller/store_internal.h"

#include <string.h>

int columns_sql(const struct column *cols, size_t n, bool marks, struct buf *to)
{
    for (size_t i = 0; i < n; i++) {
        buf_adds(to, i ? ", " : "");
        buf_adds(to, marks ? "?" : cols[i].name);
    }
    return to->failed ? -1 : 0;
}

static int read_text(const struct column *c, struct query *q, int i, char *to, struct err *err)
{
    const unsigned char *text = sqlite3_column_text(q->stmt, i);
    size_t n = (size_t)sqlite3_column_bytes(q->stmt, i);

    if (!text || n >= c->size || memchr(text, 0, n))
        return err_set(err, ERR_FAIL, "creel.db: column %s holds no valid text", c->name);
    memcpy(to, text, n);
    to[n] = 0;
    return 0;
}

static int read_blob(const struct column *c, struct query *q, int i, void *to, struct err *err)
{
    const void *bytes = sqlite3_column_blob(q->stmt, i);

    if (!bytes || (size_t)sqlite3_column_bytes(q->stmt, i) != c->size)
        return err_set(err, ERR_FAIL, "creel.db: column %s has the wrong length", c->name);
    memcpy(to, bytes, c->size);
    return 0;
}

static int read_int(const struct column *c, struct query *q, int i, char *at, struct err *err)
{
    int64_t v = sqlite3_column_int64(q->stmt, i);
    bool fits = c->kind == COLUMN_INT    ? v >= INT32_MIN && v <= INT32_MAX
                : c->kind == COLUMN_UINT ? v >= 0 && v <= UINT32_MAX
                : c->kind == COLUMN_BOOL ? v == 0 || v == 1
                                         : v >= 0;

    if (!fits)
        return err_set(err, ERR_FAIL, "creel.db: column %s is out of range", c->name);
    if (c->kind == COLUMN_INT)
        *(int *)(void *)at = (int)v;
    else if (c->kind == COLUMN_UINT)
        *(unsigned *)(void *)at = (unsigned)v;
    else if (c->kind == COLUMN_BOOL)
        *(bool *)at = v != 0;
    else
        *(uint64_t *)(void *)at = (uint64_t)v;
    return 0;
}

int columns_read(const struct column *cols, size_t n, struct query *q, int first, void *row,
                 struct err *err)
{
    int rc = 0;

    for (size_t k = 0; k < n && rc == 0; k++) {
        const struct column *c = &cols[k];
        char *at = (char *)row + c->offset;
        int i = first + (int)k;

        if (sqlite3_column_type(q->stmt, i) == SQLITE_NULL)
            continue;
        if (c->kind == COLUMN_TEXT)
            rc = read_text(c, q, i, at, err);
        else if (c->kind == COLUMN_BLOB)
            rc = read_blob(c, q, i, at, err);
        else
            rc = read_int(c, q, i, at, err);
    }
    return rc;
}

void columns_bind(const struct column *cols, size_t n, struct query *q, const void *row)
{
    for (size_t k = 0; k < n; k++) {
        const struct column *c = &cols[k];
        const char *at = (const char *)row + c->offset;

        switch (c->kind) {
        case COLUMN_TEXT:
            query_text(q, at);
            break;
        case COLUMN_BLOB:
            query_blob(q, at, c->size);
            break;
        case COLUMN_U64:
            query_int(q, (int64_t) * (const uint64_t *)(const void *)at);
            break;
        case COLUMN_INT:
            query_int(q, *(const int *)(const void *)at);
            break;
        case COLUMN_UINT:
            query_int(q, *(const unsigned *)(const void *)at);
            break;
        case COLUMN_BOOL:
            query_int(q, *(const bool *)at);
            break;
        }
    }
}
