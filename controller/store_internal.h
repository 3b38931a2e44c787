/* What the store's files share: the connection, queries with bound values only, transactions, and
 * column tables that move rows between SQLite and plain structs. Nothing outside store*.c includes
 * this.
 */
#ifndef CONTROLLER_STORE_INTERNAL_H
#define CONTROLLER_STORE_INTERNAL_H

#include "controller/store.h"

#include <sqlite3.h>

struct store {
    sqlite3 *db;
};

/* One statement. Values are bound in order; the first failure is kept and told by query_step. */
struct query {
    struct store *s;
    sqlite3_stmt *stmt;
    int bound; /* parameters bound so far */
    int rc;    /* first SQLite error, else SQLITE_OK */
};

/* -ERR_FAIL with SQLite's words. */
int store_fail(struct store *s, const char *what, struct err *err);

/* Prepares; query_done() is safe after failure too. `sql` may only be text of our own. */
int query_init(struct query *q, struct store *s, const char *sql, struct err *err);
void query_done(struct query *q);
void query_text(struct query *q, const char *text); /* copied */
void query_int(struct query *q, int64_t v);
void query_blob(struct query *q, const void *bytes, size_t n); /* copied */
/* 1: a row, 0: done, -ERR_FAIL. */
int query_step(struct query *q, struct err *err);
/* Runs a statement that returns no row; *ret_changed (may be NULL) is the number of rows changed. */
int query_run(struct query *q, int *ret_changed, struct err *err);

/* A write transaction, taken at once so that it never fails half way for a reader's lock. Without
 * `durable` the commit does not wait for the disk. */
int store_begin(struct store *s, bool durable, struct err *err);
/* Commits when rc is 0, else rolls back; returns rc or why the commit failed. */
int store_end(struct store *s, int rc, struct err *err);

enum column_kind { COLUMN_TEXT, COLUMN_U64, COLUMN_INT, COLUMN_UINT, COLUMN_BOOL, COLUMN_BLOB };

/* One column and the struct member it fills. */
struct column {
    const char *name;
    enum column_kind kind;
    size_t offset, size;
};

#define COLUMN_AS(T, KIND, member, key)                                     \
    {                                                                       \
        (key), COLUMN_##KIND, offsetof(T, member), sizeof(((T *)0)->member) \
    }
#define COLUMN(T, KIND, member) COLUMN_AS(T, KIND, member, #member)

/* Appends "a, b, c"; with `marks` "?, ?, ?". */
int columns_sql(const struct column *cols, size_t n, bool marks, struct buf *to);
/* Reads columns first.. of the current row. NULL leaves a member as it is; a value that does not fit
 * is an error. */
int columns_read(const struct column *cols, size_t n, struct query *q, int first, void *row,
                 struct err *err);
void columns_bind(const struct column *cols, size_t n, struct query *q, const void *row);

#define STORE_SQL_MAX 4096

#endif
