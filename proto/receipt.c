/* The receipt: what a wipe removed and how each removal was checked. Its table and checks. */
#include "proto/result.h"

#include <string.h>

#include "proto/utf8.h"

#define ITEMS_MAX 64

static int check_receipt(const struct receipt *r, struct err *err)
{
    char task[ID_SIZE];

    if (!id_valid(r->task) || !attempt_id_valid(r->attempt))
        return err_set(err, ERR_FAIL, "task or attempt: not an id");
    attempt_id_task(r->attempt, task);
    if (strcmp(task, r->task) != 0)
        return err_set(err, ERR_FAIL, "attempt: of another task");
    if (!key_fingerprint_valid(r->runner))
        return err_set(err, ERR_FAIL, "runner: not a key fingerprint");
    /* A receipt for nothing would read as "everything is gone". */
    if (r->items.n == 0)
        return err_set(err, ERR_FAIL, "items: empty");
    return 0;
}

int receipt_encode(const struct receipt *r, struct buf *to, struct err *err)
{
    struct receipt copy = *r;
    struct receipt_item items[ITEMS_MAX];
    int rc;

    if (r->items.n > ITEMS_MAX)
        return err_set(err, ERR_FAIL, "items: %zu, at most %d are possible", r->items.n, ITEMS_MAX);
    if (r->items.n > 0)
        memcpy(items, r->items.items, r->items.n * sizeof(*items));
    for (size_t i = 0; i < r->items.n; i++) {
        items[i].how[sizeof(items[i].how) - 1] = 0;
        utf8_repair(items[i].how, true);
    }
    copy.items.items = items;
    copy.note[sizeof(copy.note) - 1] = 0;
    utf8_repair(copy.note, true);
    rc = check_receipt(&copy, err);
    return rc < 0 ? rc : json_encode(&receipt_shape, &copy, to, err);
}

int receipt_decode(const void *bytes, size_t len, struct receipt *out, struct err *err)
{
    int rc = json_decode(&receipt_shape, bytes, len, out, err);

    if (rc < 0)
        return rc;
    rc = check_receipt(out, err);
    if (rc < 0)
        receipt_done(out);
    return rc;
}

void receipt_done(struct receipt *r)
{
    json_release(&receipt_shape, r);
}

bool receipt_clean(const struct receipt *r)
{
    const struct receipt_item *items = r->items.items;

    for (size_t i = 0; i < r->items.n; i++) {
        if (!items[i].gone)
            return false;
    }
    return r->items.n > 0;
}

static const char *const receipt_types[] = {RECEIPT_TYPE, NULL};

static const struct json_field item_fields[] = {
    JSON_ROW(struct receipt_item, TEXT, what),
    JSON_ROW(struct receipt_item, PROSE, how),
    JSON_ROW(struct receipt_item, BOOL, gone),
    JSON_END,
};
static const struct json_shape item_shape = {sizeof(struct receipt_item), item_fields};

static const struct json_field receipt_fields[] = {
    JSON_FIXED("_type", receipt_types),
    JSON_ROW(struct receipt, TEXT, task),
    JSON_ROW(struct receipt, TEXT, attempt),
    JSON_ROW(struct receipt, TEXT, runner),
    JSON_ROW(struct receipt, HEX, result_sha256),
    JSON_ROW(struct receipt, U64, wiped),
    JSON_ROW(struct receipt, BOOL, memory_cleared),
    JSON_ROW(struct receipt, PROSE, note),
    JSON_ROW(struct receipt, LIST, items, .shape = &item_shape, .max = ITEMS_MAX),
    JSON_END,
};
const struct json_shape receipt_shape = {sizeof(struct receipt), receipt_fields};
