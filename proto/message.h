/* Every message between controller and runner, declared once.
 *
 * A channel begins with one HELLO from the controller that says what the channel carries; from then
 * on the table in message.c says which types are legal from which side on which kind of channel.
 *
 *   control: HELLO -> WELCOME, then ENVELOPE, CANCEL, WIPE, REPO_TOKEN, PING ->
 *            and <- ACCEPTED, REFUSED, STATE, CALLS, ENDED, RECEIPT, PONG
 *   pack:    HELLO(attempt) -> then exactly pack_bytes raw bytes; <- PACK_OK or REFUSED, then EOF
 *   log:     HELLO(attempt, offset) -> ; <- raw log frames (proto/frame.h) from that byte of the
 *            attempt's log on, live, until the log is complete, then EOF
 *   result:  HELLO(attempt) -> ; <- RESULT (the DSSE document), then the patch pack's bytes, EOF
 *   call:    HELLO(attempt, proof) -> ; then, once a connection of that attempt's jail took the channel, the raw
 *            bytes of that one connection both ways: HTTP/1.1 between the jail and the broker, which
 *            the runner does not read. Each side's EOF is passed on; the channel ends with it
 *
 * On the stream kinds the runner may answer REFUSED instead and close.
 */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include "proto/frame.h"
#include "proto/id.h"
#include "proto/json.h"
#include "proto/key.h"
#include "proto/policy.h"
#include "proto/proof.h"
#include "proto/refusal.h"
#include "proto/state.h"

#define PROTO_VERSION     1
#define WELCOME_NAMES_MAX 64 /* images, reach, tools: names in one list */

enum channel {
    CHANNEL_CONTROL,
    CHANNEL_PACK,
    CHANNEL_LOG,
    CHANNEL_RESULT,
    CHANNEL_CALL,
    CHANNEL_COUNT,
};
extern const char *const channel_names[CHANNEL_COUNT + 1];

/* Numbers are the wire's; retired ones are never used again. */
enum msg_type {
    MSG_HELLO = 1,
    MSG_WELCOME = 2,
    MSG_PING = 3,
    MSG_PONG = 4,
    MSG_ENVELOPE = 16, /* payload: a DSSE document, DSSE_TYPE_TASK */
    MSG_ACCEPTED = 17,
    MSG_REFUSED = 18,
    MSG_CANCEL = 19, /* payload: a DSSE document, DSSE_TYPE_ORDER, of ORDER_CANCEL */
    MSG_STATE = 20,
    MSG_ENDED = 21,
    MSG_WIPE = 22, /* the controller has the result on disk, fsynced: the runner may wipe. Payload:
                       * a DSSE document, DSSE_TYPE_ORDER, of ORDER_WIPE */
    MSG_RECEIPT = 23,    /* payload: a DSSE document, DSSE_TYPE_RECEIPT */
    MSG_CALLS = 24,      /* a jail waits at its broker's door: open `wanted` more call channels */
    MSG_REPO_TOKEN = 25, /* a token for the repository, for a running attempt; also its renewal */
    MSG_PACK_OK = 32,
    MSG_RESULT = 33, /* payload: a DSSE document, DSSE_TYPE_RESULT */
};

struct msg_hello {
    int version;                   /* PROTO_VERSION */
    int channel;                   /* enum channel */
    char program[65];              /* "creel 0.1.0" */
    char attempt[ATTEMPT_ID_SIZE]; /* all but control */
    uint64_t offset;               /* log: first byte wanted */
    uint8_t proof[PROOF_BYTES];    /* call: PROOF_CALL */
};

/* One attempt that the runner still has, for a controller that comes back. */
struct msg_attempt {
    char attempt[ATTEMPT_ID_SIZE];
    int state; /* enum attempt_state */
    uint64_t log_bytes;
};

struct msg_welcome {
    int version;
    char program[65];                  /* "creel-runner 0.1.0" */
    uint8_t runner_key[KEY_PUB_BYTES]; /* signs results and receipts; tokens are sealed to it */
    char host_key[KEY_FPR_SIZE];       /* the SSH host key this runner takes for its own */
    char kernel[129];
    int slots;              /* attempts at once */
    bool rooted;            /* warden runs as root (own uid range) or not */
    unsigned unenforceable; /* LIMIT_BIT()s this host cannot enforce */
    char unenforceable_why[201];
    bool memory_cleared;       /* kernel frees pages zeroed (init_on_free=1) */
    bool disk_images;          /* disks over memory's size: encrypted images can be made */
    char disk_images_why[201]; /* why not; empty when they can */
    int landlock_abi;          /* 0: this kernel has none */
    unsigned presets;          /* 1u << enum egress_preset: those that resolve on this host */
    struct strv images; /* names that a policy's `image` may have, at most WELCOME_NAMES_MAX */
    struct strv reach;  /* "10.0.0.0/8": private networks that the host's operator lets the gate
                                * reach, at most WELCOME_NAMES_MAX */
    struct strv
        tools; /* programs of the tool layer that jails are given, at most WELCOME_NAMES_MAX */
    struct json_list attempts; /* struct msg_attempt */
};

struct msg_ping {
    uint64_t seq;
};

struct msg_accepted {
    char attempt[ATTEMPT_ID_SIZE];
};

struct msg_refused {
    char attempt[ATTEMPT_ID_SIZE]; /* empty when the envelope never verified */
    int reason;                    /* enum refusal */
    char detail[301];              /* JSON_PROSE; hostile: neutralise before printing */
};

struct msg_state {
    char attempt[ATTEMPT_ID_SIZE];
    int state;      /* enum attempt_state */
    char step[201]; /* what runs now: "setup 1", "command", "test 2" */
};

struct msg_ended {
    char attempt[ATTEMPT_ID_SIZE];
    uint64_t log_bytes;  /* total bytes of the log's frames */
    uint64_t pack_bytes; /* of the patch pack that follows RESULT */
};

struct msg_pack_ok {
    char attempt[ATTEMPT_ID_SIZE];
};

struct msg_calls {
    char attempt[ATTEMPT_ID_SIZE];
    int wanted; /* 1 .. CALLS_WANTED_MAX: connections without a channel, beyond those asked for before */
};
#define CALLS_WANTED_MAX 256

/* The token as crypto_box_seal to the runner's key, in base64, from who sent the attempt's envelope.
 * Replaces an earlier one. */
#define REPO_TOKEN_MAX 4096 /* bytes, unsealed; a forge's tokens have no fixed length */
struct msg_repo_token {
    char attempt[ATTEMPT_ID_SIZE];
    char sealed[(REPO_TOKEN_MAX + 48 + 2) / 3 * 4 + 1];
    uint8_t proof[PROOF_BYTES]; /* PROOF_REPO_TOKEN */
};

/* Any message, decoded. For MSG_ENVELOPE, MSG_CANCEL, MSG_WIPE, MSG_RECEIPT and MSG_RESULT the payload
 * is the document itself: `doc` borrows the frame's bytes. */
struct msg {
    enum msg_type type;
    union {
        struct msg_hello hello;
        struct msg_welcome welcome;
        struct msg_ping ping; /* also pong */
        struct msg_accepted accepted;
        struct msg_refused refused;
        struct msg_state state;
        struct msg_ended ended;
        struct msg_pack_ok pack_ok;
        struct msg_calls calls;
        struct msg_repo_token repo_token;
        struct {
            const uint8_t *bytes;
            size_t len;
        } doc;
    } u;
};

enum side { SIDE_CONTROLLER, SIDE_RUNNER };

/* Name of a type ("envelope"), or "?" */
const char *msg_name(enum msg_type type);
/* May `from` send this type on this kind of channel? */
bool msg_legal(enum side from, enum channel channel, enum msg_type type);
/* Decodes a frame's payload. msg_done() releases, also safe after failure. */
int msg_decode(const struct frame *f, struct msg *out, struct err *err);
void msg_done(struct msg *m);
/* Appends the message as one frame. */
int msg_put(struct buf *to, const struct msg *m, struct err *err);

#endif
