/* An attempt's log on this machine: what comes in from the runner, what of it is stored.
 *
 * What comes in is chained frame by frame, as the runner's signed result will say. What is stored is the
 * same, byte for byte, as long as there is no secret to look for; with needles each stream is redacted
 * before it is written, so frames are others: bytes that may begin a secret are kept back until a later
 * frame of their stream decides, and never written. From the first frame that differs a second file,
 * log.json, says where the runner's log is to be asked for to go on exactly there after a crash, and, when
 * the log is whole, the digests of both forms: `creel verify` needs them. */
#ifndef CONTROLLER_LOG_SINK_H
#define CONTROLLER_LOG_SINK_H

#include "common/sha256.h"
#include "controller/redact.h"
#include "proto/frame.h"

#define LOG_FILE        "log"
#define LOG_RECORD_FILE "log.json"

/* Of one stream: of its payload from `raw` on the first `skip` bytes are dealt with, and `cover` bytes
 * behind them belong to the place marked last, which is called `name`. */
struct log_stream_record {
    uint64_t skip;
    uint64_t cover;
    char name[NEEDLE_NAME_SIZE];
};

/* log.json */
struct log_record {
    bool complete;
    uint64_t raw; /* complete: of the whole log; else where a frame begins, to go on from */
    uint8_t chain[SHA256_BYTES]; /* of the frames before it */
    uint64_t stored;
    uint8_t stored_chain[SHA256_BYTES];
    uint64_t places; /* where something was redacted */
    struct log_stream_record note, out, err;
};
extern const struct json_shape log_record_shape;
/* 1, or 0 when there is none: the log is stored as it came. */
int log_record_load(int dirfd, const char *name, struct log_record *out, struct err *err);

struct log_mark { /* the log's state before a frame */
    uint64_t raw;
    uint8_t chain[SHA256_BYTES];
    uint64_t fed[LOG_STREAM_COUNT];
};

struct log_sink {
    int dirfd, fd, recordfd; /* fd -1: closed */
    uint64_t bytes;          /* taken in: the offset to ask for */
    uint64_t max;            /* more than this is not a log but an attack */
    uint64_t whole;          /* of `bytes`, in whole frames */
    uint8_t chain[SHA256_BYTES];
    struct buf tail; /* bytes of a frame not yet whole */
    struct buf pend; /* frames not yet written */
    struct buf out;  /* of one frame, redacted */
    uint64_t stored; /* in the file, and in pend */
    uint8_t stored_chain[SHA256_BYTES];
    bool differs, complete;
    uint64_t places; /* before it was opened */
    uint64_t at_us[LOG_STREAM_COUNT];
    struct redactor *redactor[LOG_STREAM_COUNT];
    struct log_mark now, from[LOG_STREAM_COUNT]; /* from: where what is held began */
    uint64_t skip[LOG_STREAM_COUNT];             /* payload that comes again */
};

/* Opens what is there, to go on from its end; `dirfd` (the task's directory) is the sink's from now on,
 * also on failure. Closed sinks have fd -1. */
int log_sink_open(struct log_sink *l, int dirfd, uint64_t max, struct err *err);
void log_sink_close(struct log_sink *l);
/* Takes bytes in. -ERR_TRUST: they are no log, or more than `max`; else it could not be written. In both
 * cases the sink is closed: opened again, it stands where it can go on. */
int log_sink_feed(struct log_sink *l, const struct needles *set, const void *bytes, size_t n,
                  struct err *err);
/* The log is whole: writes the rest, and the record where one is due, durably. May be repeated. */
int log_sink_finish(struct log_sink *l, struct err *err);

#endif
