/* The messages: one row each in the table at the end (number, name, form, who may send it where).
 * Decoding, encoding, names and legality all read that table. No I/O. */
#include "proto/message.h"

#include <string.h>

#include <sodium.h>

#include "proto/utf8.h"

#define SLOTS_MAX        1024 /* attempts at once that a runner may claim */
#define IMAGE_NAME_MAX   64   /* as struct policy's image */
#define NETWORK_TEXT_MAX 49   /* an IPv6 address with zone-less prefix, longest form */

const char *const channel_names[CHANNEL_COUNT + 1] = {
    [CHANNEL_CONTROL] = "control", [CHANNEL_PACK] = "pack", [CHANNEL_LOG] = "log",
    [CHANNEL_RESULT] = "result",   [CHANNEL_CALL] = "call", [CHANNEL_COUNT] = NULL,
};

/* Each of the following checks judges what a table of fields cannot. They hold for what comes in
 * and for what goes out. */
static int check_attempt(const char *attempt, struct err *err)
{
    if (!attempt_id_valid(attempt))
        return err_set(err, ERR_FAIL, "attempt: not an attempt id");
    return 0;
}

static int check_version(int version, struct err *err)
{
    if (version < 1)
        return err_set(err, ERR_FAIL, "version: not positive");
    return 0;
}

static int check_hello(const struct msg *m, struct err *err)
{
    const struct msg_hello *h = &m->u.hello;
    int rc = check_version(h->version, err);

    if (rc < 0)
        return rc;
    if (h->channel != CHANNEL_LOG && h->offset != 0)
        return err_set(err, ERR_FAIL, "offset: only a log channel has one");
    bool proven = h->channel == CHANNEL_PACK || h->channel == CHANNEL_CALL;
    if (sodium_is_zero(h->proof, sizeof(h->proof)) == proven)
        return err_set(err, ERR_FAIL, "proof: a pack and a call channel have one, and no other");
    switch ((enum channel)h->channel) {
    case CHANNEL_CONTROL:
        if (h->attempt[0])
            return err_set(err, ERR_FAIL, "attempt: a control channel has none");
        return 0;
    case CHANNEL_PACK:
    case CHANNEL_LOG:
    case CHANNEL_RESULT:
    case CHANNEL_CALL:
        return check_attempt(h->attempt, err);
    case CHANNEL_COUNT:
        break;
    }
    return err_set(err, ERR_FAIL, "channel: unknown");
}

static int check_names(const struct strv *names, const char *key, struct err *err)
{
    if (names->n > WELCOME_NAMES_MAX)
        return err_set(err, ERR_FAIL, "%s: more than %d", key, WELCOME_NAMES_MAX);
    for (size_t i = 0; i < names->n; i++)
        if (!names->v[i][0])
            return err_set(err, ERR_FAIL, "%s[%zu]: empty", key, i);
    return 0;
}

static int check_welcome(const struct msg *m, struct err *err)
{
    const struct msg_welcome *w = &m->u.welcome;
    int rc = check_version(w->version, err);

    if (rc == 0 && (w->slots < 1 || w->slots > SLOTS_MAX))
        rc = err_set(err, ERR_FAIL, "slots: not in 1 to %d", SLOTS_MAX);
    if (rc == 0 && !key_fingerprint_valid(w->host_key))
        rc = err_set(err, ERR_FAIL, "host_key: not a key fingerprint");
    if (rc == 0 && w->landlock_abi < 0)
        rc = err_set(err, ERR_FAIL, "landlock_abi: negative");
    if (rc == 0)
        rc = check_names(&w->images, "images", err);
    if (rc == 0)
        rc = check_names(&w->reach, "reach", err);
    if (rc == 0)
        rc = check_names(&w->tools, "tools", err);
    for (size_t i = 0; rc == 0 && i < w->attempts.n; i++) {
        const struct msg_attempt *a = (const struct msg_attempt *)w->attempts.items + i;
        rc = check_attempt(a->attempt, err);
    }
    return rc;
}

static int check_refused(const struct msg *m, struct err *err)
{
    return m->u.refused.attempt[0] ? check_attempt(m->u.refused.attempt, err) : 0;
}

static int check_accepted(const struct msg *m, struct err *err)
{
    return check_attempt(m->u.accepted.attempt, err);
}

static int check_state(const struct msg *m, struct err *err)
{
    return check_attempt(m->u.state.attempt, err);
}

static int check_ended(const struct msg *m, struct err *err)
{
    return check_attempt(m->u.ended.attempt, err);
}

static int check_pack_ok(const struct msg *m, struct err *err)
{
    return check_attempt(m->u.pack_ok.attempt, err);
}

static int check_calls(const struct msg *m, struct err *err)
{
    if (m->u.calls.wanted < 1 || m->u.calls.wanted > CALLS_WANTED_MAX)
        return err_set(err, ERR_FAIL, "wanted: not in 1 to %d", CALLS_WANTED_MAX);
    return check_attempt(m->u.calls.attempt, err);
}

static int check_repo_token(const struct msg *m, struct err *err)
{
    if (!m->u.repo_token.sealed[0])
        return err_set(err, ERR_FAIL, "sealed: empty");
    return check_attempt(m->u.repo_token.attempt, err);
}

static const struct json_field hello_fields[] = {
    JSON_ROW(struct msg_hello, INT, version),
    JSON_ROW(struct msg_hello, ENUM, channel, .names = channel_names),
    JSON_ROW(struct msg_hello, TEXT, program),
    JSON_ROW(struct msg_hello, TEXT, attempt, .optional = true),
    JSON_ROW(struct msg_hello, U64, offset, .optional = true),
    JSON_ROW(struct msg_hello, HEX, proof, .optional = true),
    JSON_END,
};
static const struct json_shape hello_shape = {sizeof(struct msg_hello), hello_fields};

static const struct json_field attempt_fields[] = {
    JSON_ROW(struct msg_attempt, TEXT, attempt),
    JSON_ROW(struct msg_attempt, ENUM, state, .names = attempt_state_names),
    JSON_ROW(struct msg_attempt, U64, log_bytes),
    JSON_END,
};
static const struct json_shape attempt_shape = {sizeof(struct msg_attempt), attempt_fields};

static const struct json_field welcome_fields[] = {
    JSON_ROW(struct msg_welcome, INT, version),
    JSON_ROW(struct msg_welcome, TEXT, program),
    JSON_ROW(struct msg_welcome, B64, runner_key),
    JSON_ROW(struct msg_welcome, TEXT, host_key),
    JSON_ROW(struct msg_welcome, TEXT, kernel),
    JSON_ROW(struct msg_welcome, INT, slots),
    JSON_ROW(struct msg_welcome, BOOL, rooted),
    JSON_ROW(struct msg_welcome, BITS, unenforceable, .names = limit_names),
    JSON_ROW(struct msg_welcome, PROSE, unenforceable_why, .optional = true),
    JSON_ROW(struct msg_welcome, BOOL, memory_cleared),
    JSON_ROW(struct msg_welcome, BOOL, disk_images, .optional = true),
    JSON_ROW(struct msg_welcome, PROSE, disk_images_why, .optional = true),
    JSON_ROW(struct msg_welcome, INT, landlock_abi, .optional = true),
    JSON_ROW(struct msg_welcome, BITS, presets, .names = preset_names, .optional = true),
    JSON_ROW(struct msg_welcome, STRS, images, .max = IMAGE_NAME_MAX, .optional = true),
    JSON_ROW(struct msg_welcome, STRS, reach, .max = NETWORK_TEXT_MAX, .optional = true),
    JSON_ROW(struct msg_welcome, STRS, tools, .max = IMAGE_NAME_MAX, .optional = true),
    JSON_ROW(struct msg_welcome, LIST, attempts, .shape = &attempt_shape),
    JSON_END,
};
static const struct json_shape welcome_shape = {sizeof(struct msg_welcome), welcome_fields};

static const struct json_field ping_fields[] = {
    JSON_ROW(struct msg_ping, U64, seq),
    JSON_END,
};
static const struct json_shape ping_shape = {sizeof(struct msg_ping), ping_fields};

static const struct json_field accepted_fields[] = {
    JSON_ROW(struct msg_accepted, TEXT, attempt),
    JSON_END,
};
static const struct json_shape accepted_shape = {sizeof(struct msg_accepted), accepted_fields};

static const struct json_field refused_fields[] = {
    JSON_ROW(struct msg_refused, TEXT, attempt, .optional = true),
    JSON_ROW(struct msg_refused, ENUM, reason, .names = refusal_names),
    JSON_ROW(struct msg_refused, PROSE, detail, .optional = true),
    JSON_END,
};
static const struct json_shape refused_shape = {sizeof(struct msg_refused), refused_fields};

static const struct json_field state_fields[] = {
    JSON_ROW(struct msg_state, TEXT, attempt),
    JSON_ROW(struct msg_state, ENUM, state, .names = attempt_state_names),
    JSON_ROW(struct msg_state, PROSE, step, .optional = true),
    JSON_END,
};
static const struct json_shape state_shape = {sizeof(struct msg_state), state_fields};

static const struct json_field ended_fields[] = {
    JSON_ROW(struct msg_ended, TEXT, attempt),
    JSON_ROW(struct msg_ended, U64, log_bytes),
    JSON_ROW(struct msg_ended, U64, pack_bytes),
    JSON_END,
};
static const struct json_shape ended_shape = {sizeof(struct msg_ended), ended_fields};

static const struct json_field pack_ok_fields[] = {
    JSON_ROW(struct msg_pack_ok, TEXT, attempt),
    JSON_END,
};
static const struct json_shape pack_ok_shape = {sizeof(struct msg_pack_ok), pack_ok_fields};

static const struct json_field calls_fields[] = {
    JSON_ROW(struct msg_calls, TEXT, attempt),
    JSON_ROW(struct msg_calls, INT, wanted),
    JSON_END,
};
static const struct json_shape calls_shape = {sizeof(struct msg_calls), calls_fields};

static const struct json_field repo_token_fields[] = {
    JSON_ROW(struct msg_repo_token, TEXT, attempt),
    JSON_ROW(struct msg_repo_token, TEXT, sealed),
    JSON_ROW(struct msg_repo_token, HEX, proof),
    JSON_END,
};
static const struct json_shape repo_token_shape = {sizeof(struct msg_repo_token),
                                                   repo_token_fields};

#define ON(channel) (1u << CHANNEL_##channel)
#define ANY_CHANNEL ((1u << CHANNEL_COUNT) - 1)

struct msg_row {
    enum msg_type type;
    const char *name;
    const struct json_shape *shape; /* NULL: the payload is a document, passed through */
    int (*check)(const struct msg *m, struct err *err);
    unsigned legal[2]; /* channels, by enum side */
};

/* Every message. What has no row does not exist. */
static const struct msg_row messages[] = {
    {MSG_HELLO, "hello", &hello_shape, check_hello, {[SIDE_CONTROLLER] = ANY_CHANNEL}},
    {MSG_WELCOME, "welcome", &welcome_shape, check_welcome, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_PING, "ping", &ping_shape, NULL, {[SIDE_CONTROLLER] = ON(CONTROL)}},
    {MSG_PONG, "pong", &ping_shape, NULL, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_ENVELOPE, "envelope", NULL, NULL, {[SIDE_CONTROLLER] = ON(CONTROL)}},
    {MSG_ACCEPTED, "accepted", &accepted_shape, check_accepted, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_REFUSED, "refused", &refused_shape, check_refused, {[SIDE_RUNNER] = ANY_CHANNEL}},
    {MSG_CANCEL, "cancel", NULL, NULL, {[SIDE_CONTROLLER] = ON(CONTROL)}},
    {MSG_STATE, "state", &state_shape, check_state, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_ENDED, "ended", &ended_shape, check_ended, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_WIPE, "wipe", NULL, NULL, {[SIDE_CONTROLLER] = ON(CONTROL)}},
    {MSG_RECEIPT, "receipt", NULL, NULL, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_CALLS, "calls", &calls_shape, check_calls, {[SIDE_RUNNER] = ON(CONTROL)}},
    {MSG_REPO_TOKEN,
     "repo_token",
     &repo_token_shape,
     check_repo_token,
     {[SIDE_CONTROLLER] = ON(CONTROL)}},
    {MSG_PACK_OK, "pack_ok", &pack_ok_shape, check_pack_ok, {[SIDE_RUNNER] = ON(PACK)}},
    {MSG_RESULT, "result", NULL, NULL, {[SIDE_RUNNER] = ON(RESULT)}},
};

static const struct msg_row *row_find(unsigned type)
{
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        if ((unsigned)messages[i].type == type)
            return &messages[i];
    }
    return NULL;
}

const char *msg_name(enum msg_type type)
{
    const struct msg_row *row = row_find((unsigned)type);

    return row ? row->name : "?";
}

bool msg_legal(enum side from, enum channel channel, enum msg_type type)
{
    const struct msg_row *row = row_find((unsigned)type);

    if (!row || (unsigned)from > SIDE_RUNNER || (unsigned)channel >= CHANNEL_COUNT)
        return false;
    return row->legal[from] & 1u << channel;
}

int msg_decode(const struct frame *f, struct msg *out, struct err *err)
{
    const struct msg_row *row = row_find(f->type);
    int rc;

    memset(out, 0, sizeof(*out));
    if (!row)
        return err_set(err, ERR_FAIL, "unknown message type %u", (unsigned)f->type);
    if (!row->shape) {
        if (f->len == 0)
            return err_set(err, ERR_FAIL, "%s: empty", row->name);
        out->type = row->type;
        out->u.doc.bytes = f->payload;
        out->u.doc.len = f->len;
        return 0;
    }
    rc = json_decode(row->shape, f->payload, f->len, &out->u, err);
    if (rc == 0) {
        out->type = row->type;
        rc = row->check ? row->check(out, err) : 0;
    }
    if (rc < 0) {
        msg_done(out);
        err_wrap(err, "%s", row->name);
    }
    return rc;
}

void msg_done(struct msg *m)
{
    const struct msg_row *row = row_find((unsigned)m->type);

    if (row && row->shape)
        json_release(row->shape, &m->u);
    memset(m, 0, sizeof(*m));
}

/* Free text for people is repaired rather than refused: a refusal or a state must go out even when
 * the words in it were cut or came from a hostile tree. */
static void repair(struct msg *m)
{
    if (m->type == MSG_REFUSED)
        utf8_repair(m->u.refused.detail, true);
    else if (m->type == MSG_STATE)
        utf8_repair(m->u.state.step, true);
    else if (m->type == MSG_WELCOME)
        utf8_repair(m->u.welcome.unenforceable_why, true);
}

static int put_json(struct buf *to, const struct msg_row *row, const struct msg *m, struct err *err)
{
    struct msg copy = *m; /* shallow: lists are only read */
    struct buf payload;
    int rc = row->check ? row->check(m, err) : 0;

    if (rc < 0) {
        err_wrap(err, "%s", row->name);
        return rc;
    }
    repair(&copy);
    buf_init(&payload, FRAME_PAYLOAD_MAX);
    rc = json_encode(row->shape, &copy.u, &payload, err);
    if (rc < 0)
        err_wrap(err, "%s", row->name);
    else if (frame_put(to, (uint8_t)row->type, payload.data, payload.len) < 0)
        rc = err_set(err, ERR_FAIL, "%s: no room for the frame", row->name);
    buf_done(&payload);
    return rc;
}

int msg_put(struct buf *to, const struct msg *m, struct err *err)
{
    const struct msg_row *row = row_find((unsigned)m->type);

    if (!row)
        return err_set(err, ERR_FAIL, "unknown message type %u", (unsigned)m->type);
    if (row->shape)
        return put_json(to, row, m, err);
    if (m->u.doc.len == 0 || frame_put(to, (uint8_t)row->type, m->u.doc.bytes, m->u.doc.len) < 0)
        return err_set(err, ERR_FAIL, "%s: empty, or no room for a frame of %zu bytes", row->name,
                       m->u.doc.len);
    return 0;
}
