/* What engine and broker say to each other, declared once: frames of proto/frame.h, strict JSON
 * inside.
 *
 *   HELLO (key)                       broker, once, at start
 *   SIGN (task, runner_key, life_s)   -> ENVELOPE (the DSSE document itself), then SSHSIG (itself)
 *   ORDER (the order, iss empty)      -> ORDERED (the DSSE document itself)
 *   TOKEN_CHECK (attempt, token)      -> TOKEN_STATE (alive)
 *   ATTEMPT_END (attempt)             no answer
 *   CALL (attempt), with a descriptor  no answer: a connection from that attempt's jail, as a stream
 *                                     socket (SCM_RIGHTS); a frame of this type brings exactly one
 *   ERROR (code, message)             instead of any answer
 *
 * Requests are answered in their order. Between answers, unasked, from the broker:
 *   NOTE (attempt, text)              a line for the attempt's log
 *   STOP (attempt, text)              refused from now on, and why: end it after a grace period
 *   REPO_TOKEN (attempt, text)        a sealed token, to be passed on to the runner as it is
 *   NEEDLES (the set itself)          what logs and patches must not hold (controller/redact.h);
 *                                     replaces the set before */
#ifndef CONTROLLER_BROKER_WIRE_H
#define CONTROLLER_BROKER_WIRE_H

#include "proto/frame.h"
#include "proto/order.h"
#include "proto/task.h"

enum broker_type {
    BROKER_HELLO = 1,
    BROKER_SIGN = 2,
    BROKER_ENVELOPE = 3,
    BROKER_SSHSIG = 4,
    BROKER_TOKEN_CHECK = 5,
    BROKER_TOKEN_STATE = 6,
    BROKER_ATTEMPT_END = 7,
    BROKER_ERROR = 8,
    BROKER_ORDER = 9,
    BROKER_ORDERED = 10,
    BROKER_CALL = 11,
    BROKER_NOTE = 12,
    BROKER_STOP = 13,
    BROKER_REPO_TOKEN = 14,
    BROKER_NEEDLES = 15,
};

#define BROKER_FD        3 /* the broker's end of the socketpair */
#define BROKER_TOKEN_HEX (2 * TASK_TOKEN_BYTES)

struct broker_hello {
    uint8_t key[KEY_PUB_BYTES];
};

struct broker_sign {
    struct task task; /* iss, times, nonce and token members zero: the broker's to fill */
    uint8_t runner_key[KEY_PUB_BYTES];
    uint64_t life_s;
};

struct broker_order {
    struct order order; /* iss empty: the broker's to fill */
};

struct broker_token_check {
    char attempt[ATTEMPT_ID_SIZE];
    uint8_t token[TASK_TOKEN_BYTES];
};

struct broker_token_state {
    bool alive;
};

struct broker_attempt_end {
    char attempt[ATTEMPT_ID_SIZE];
};

struct broker_call {
    char attempt[ATTEMPT_ID_SIZE];
};

struct broker_tell { /* NOTE, STOP, REPO_TOKEN */
    char attempt[ATTEMPT_ID_SIZE];
    char text[8193];
};

struct broker_error {
    int code; /* enum err_code */
    char message[ERR_MSG_MAX];
};

extern const struct json_shape broker_hello_shape, broker_sign_shape, broker_order_shape,
    broker_token_check_shape, broker_token_state_shape, broker_attempt_end_shape,
    broker_error_shape, broker_call_shape, broker_tell_shape;

/* Appends one frame with `obj` as `shape` writes it. */
int broker_put(struct buf *to, enum broker_type type, const struct json_shape *shape,
               const void *obj, struct err *err);

#endif
