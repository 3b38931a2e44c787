/* Orders: their table, and what a table cannot say. Decoded only once the signature held. */
#include "proto/order.h"

#include <string.h>

#include <sodium.h>

const char *const order_kind_names[ORDER_KIND_COUNT + 1] = {
    [ORDER_CANCEL] = "cancel",
    [ORDER_WIPE] = "wipe",
    [ORDER_KIND_COUNT] = NULL,
};

int order_check(const struct order *o, struct err *err)
{
    bool names_result = !sodium_is_zero(o->result_sha256, sizeof(o->result_sha256));

    if (!attempt_id_valid(o->attempt))
        return err_set(err, ERR_FAIL, "attempt: not an attempt id");
    if (!key_fingerprint_valid(o->iss))
        return err_set(err, ERR_FAIL, "iss: not a key fingerprint");
    if (!key_fingerprint_valid(o->aud_host_key))
        return err_set(err, ERR_FAIL, "aud: not a key fingerprint");
    if (o->kind == ORDER_CANCEL && names_result)
        return err_set(err, ERR_FAIL, "result_sha256: a cancel has none");
    if (o->kind == ORDER_WIPE && !names_result)
        return err_set(err, ERR_FAIL, "result_sha256: a wipe names its result");
    return 0;
}

int order_encode(const struct order *o, struct buf *to, struct err *err)
{
    int rc = order_check(o, err);

    return rc < 0 ? rc : json_encode(&order_shape, o, to, err);
}

int order_decode(const void *bytes, size_t len, struct order *out, struct err *err)
{
    int rc = json_decode(&order_shape, bytes, len, out, err);

    if (rc == 0 && (rc = order_check(out, err)) < 0)
        memset(out, 0, sizeof(*out));
    return rc;
}

static const char *const order_types[] = {ORDER_TYPE, NULL};

static const struct json_field order_fields[] = {
    JSON_FIXED("_type", order_types),
    JSON_ROW_AS(struct order, ENUM, kind, "order", .names = order_kind_names),
    JSON_ROW(struct order, TEXT, attempt),
    JSON_ROW(struct order, TEXT, iss),
    JSON_ROW_AS(struct order, TEXT, aud_host_key, "aud"),
    JSON_ROW(struct order, HEX, result_sha256, .optional = true),
    JSON_END,
};
const struct json_shape order_shape = {sizeof(struct order), order_fields};
