/* A task's log on disk: frames exactly as the runner has them (proto/frame.h), growing at its end
 * while the attempt runs; and beside it, in the same form and on the same clock, what the controller
 * itself has to say (tasks/ID/notes). Read here, by any number of processes at any time; only the
 * engine writes.
 *
 * The bytes are an agent's: bounded, and raw only to something that is not a terminal.
 */
#ifndef CONTROLLER_LOGFILE_H
#define CONTROLLER_LOGFILE_H

#include "common/term.h"
#include "controller/paths.h"
#include "proto/frame.h"

struct logfile; /* opaque, owned by the opener */

/* A log that does not exist yet reads as empty, and is looked for again at each logfile_next. */
int logfile_open(const struct paths *p, const char *id, struct logfile **ret, struct err *err);
/* A log outside the state directory, for `creel verify --log`. `path` is borrowed. */
int logfile_open_file(const char *path, struct logfile **ret, struct err *err);
void logfile_close(struct logfile *l);
/* 1: a whole frame, borrowed until the next call; 0: no more for now; -ERR_FAIL: not a log. Frames of
 * the log and of the controller's own notes beside it, by their times. */
int logfile_next(struct logfile *l, struct log_frame *ret, struct err *err);
/* Bytes of whole frames of the log read so far. */
uint64_t logfile_offset(const struct logfile *l);
/* Reads to the end; *ret_chain is what a result calls log_chain. Bytes after the last whole frame
 * are an error. */
int logfile_digest(struct logfile *l, uint8_t ret_chain[static 32], struct err *err);

struct event_stream; /* controller/events/event_stream.h */

/* How frames become output. */
struct log_view {
    struct event_stream
        *events; /* borrowed, set after log_view_init; not NULL: stdout is an agent's
                                  * events, shown as lines for people */
    bool notes;  /* creel's own lines too, each on a line of its own: "creel: ..." */
    bool neutral[LOG_STREAM_COUNT];  /* the stream's control sequences are made visible */
    bool at_start[LOG_STREAM_COUNT]; /* the stream's last output ended in a newline */
    struct term_filter filter[LOG_STREAM_COUNT];
};

void log_view_init(struct log_view *v, bool notes, bool neutral_out, bool neutral_err);
/* Appends one frame's output: stdout's to `out`, everything else to `other` (may be the same). -1
 * when a buffer is full; LOG_VIEW_ROOM spare bytes are always enough for one frame, with events
 * EVENTS_ROOM. */
int log_view_frame(struct log_view *v, const struct log_frame *f, struct buf *out,
                   struct buf *other);
/* What a filter still holds, and the newline that unfinished neutral last lines lack. */
int log_view_end(struct log_view *v, struct buf *out, struct buf *other);

#define LOG_VIEW_ROOM (8 * LOG_PAYLOAD_MAX + 64)

#endif
