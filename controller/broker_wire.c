/* The tables of the engine's and the broker's messages. No I/O. */
#include "controller/broker_wire.h"

int broker_put(struct buf *to, enum broker_type type, const struct json_shape *shape,
               const void *obj, struct err *err)
{
    struct buf json;
    buf_init(&json, FRAME_PAYLOAD_MAX);
    int rc = json_encode(shape, obj, &json, err);
    if (rc == 0 && frame_put(to, (uint8_t)type, json.data, json.len) < 0)
        rc = err_set(err, ERR_FAIL, "broker: a message is too long");
    buf_wipe(&json);
    return rc;
}

static const struct json_field hello_fields[] = {
    JSON_ROW(struct broker_hello, B64, key),
    JSON_END,
};
const struct json_shape broker_hello_shape = {sizeof(struct broker_hello), hello_fields};

static const struct json_field sign_fields[] = {
    JSON_ROW(struct broker_sign, OBJ, task, .shape = &task_shape),
    JSON_ROW(struct broker_sign, B64, runner_key),
    JSON_ROW(struct broker_sign, U64, life_s),
    JSON_END,
};
const struct json_shape broker_sign_shape = {sizeof(struct broker_sign), sign_fields};

static const struct json_field order_fields[] = {
    JSON_ROW(struct broker_order, OBJ, order, .shape = &order_shape),
    JSON_END,
};
const struct json_shape broker_order_shape = {sizeof(struct broker_order), order_fields};

static const struct json_field token_check_fields[] = {
    JSON_ROW(struct broker_token_check, TEXT, attempt),
    JSON_ROW(struct broker_token_check, HEX, token),
    JSON_END,
};
const struct json_shape broker_token_check_shape = {sizeof(struct broker_token_check),
                                                    token_check_fields};

static const struct json_field token_state_fields[] = {
    JSON_ROW(struct broker_token_state, BOOL, alive),
    JSON_END,
};
const struct json_shape broker_token_state_shape = {sizeof(struct broker_token_state),
                                                    token_state_fields};

static const struct json_field attempt_end_fields[] = {
    JSON_ROW(struct broker_attempt_end, TEXT, attempt),
    JSON_END,
};
const struct json_shape broker_attempt_end_shape = {sizeof(struct broker_attempt_end),
                                                    attempt_end_fields};

static const struct json_field call_fields[] = {
    JSON_ROW(struct broker_call, TEXT, attempt),
    JSON_END,
};
const struct json_shape broker_call_shape = {sizeof(struct broker_call), call_fields};

static const struct json_field tell_fields[] = {
    JSON_ROW(struct broker_tell, TEXT, attempt),
    JSON_ROW(struct broker_tell, PROSE, text),
    JSON_END,
};
const struct json_shape broker_tell_shape = {sizeof(struct broker_tell), tell_fields};

static const struct json_field error_fields[] = {
    JSON_ROW(struct broker_error, INT, code),
    JSON_ROW(struct broker_error, TEXT, message),
    JSON_END,
};
const struct json_shape broker_error_shape = {sizeof(struct broker_error), error_fields};
