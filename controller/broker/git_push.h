/* What a git client asks a remote to do when it pushes, and what it is told: pkt-lines (gitprotocol-common),
 * the command list of receive-pack (gitprotocol-pack), reports. Pure; commands are a jail's, answers a
 * forge's: both hostile. */
#ifndef CONTROLLER_BROKER_GIT_PUSH_H
#define CONTROLLER_BROKER_GIT_PUSH_H

#include "proto/buf.h"
#include "proto/err.h"

#define GIT_OID_SIZE      65 /* SHA-1 or SHA-256 in hex, and NUL */
#define GIT_REF_SIZE      256
#define GIT_COMMANDS_MAX  64
#define GIT_COMMAND_BYTES (64u << 10) /* of a whole command list */
#define PKT_MAX           65520       /* bytes of one packet, its length included */

struct pkt {
    const uint8_t *p;
    size_t n;
    bool flush; /* "0000" */
};
/* 1: a packet of *ret_used bytes; 0: more bytes are needed; -1: malformed. */
int pkt_take(const uint8_t *bytes, size_t len, struct pkt *ret, size_t *ret_used);
int pkt_put(struct buf *to, const void *bytes, size_t n); /* n < PKT_MAX - 4 */
int pkt_puts(struct buf *to, const char *text);
int pkt_flush(struct buf *to);

struct git_command {
    char old[GIT_OID_SIZE], new[GIT_OID_SIZE], ref[GIT_REF_SIZE];
};
struct git_push {
    struct git_command commands[GIT_COMMANDS_MAX];
    size_t n;
    bool report, side_band; /* how the client wants to be told */
    bool options;           /* it sends push options */
};
/* The command list at the beginning of a receive-pack request, up to its flush. 1: whole, *ret_used bytes;
 * 0: more bytes are needed; -1: malformed or of a kind that is not for here (certificates, shallow lines),
 * *ret_why says which; what could be read before stands in `out`. */
int git_push_parse(const uint8_t *bytes, size_t len, struct git_push *out, size_t *ret_used,
                   const char **ret_why);
/* May it pass? One command, that creates or moves refs/heads/`branch`, from where it is known to stand: `tip`
 * is its object name, all zeros when it does not exist, "" when nothing is known. -ERR_REFUSED in words. */
int git_push_judge(const struct git_push *push, const char *branch, const char *tip,
                   struct err *err);
bool git_oid_none(const char *oid); /* all zeros */
/* Appends what the client is told instead: each ref is "ng", with these words. */
int git_push_refusal(const struct git_push *push, const char *why, struct buf *to);
/* Does the forge's answer to a push say that this ref was taken? */
bool git_push_taken(const uint8_t *bytes, size_t len, const struct git_push *push, const char *ref);

/* Finds where a branch stands in the list of refs that a forge shows first. */
struct git_tips {
    struct buf in;
    char ref[GIT_REF_SIZE + 16]; /* "refs/heads/.." */
    char tip[GIT_OID_SIZE];      /* "": not seen (yet) */
    unsigned flushes;
    size_t digits; /* of an object name there */
    bool broken;
};
void git_tips_init(struct git_tips *t, const char *branch);
void git_tips_done(struct git_tips *t);
void git_tips_feed(struct git_tips *t, const void *bytes, size_t n);
/* The list is at its end. False: it was none, nothing is known. */
bool git_tips_end(const struct git_tips *t, char ret_tip[static GIT_OID_SIZE]);

#endif
