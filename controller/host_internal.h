/* What host.c, host_dial.c, host_trust.c and host_stream.c share: one session's whole state.
 *
 * Two rules keep libssh and libuv from biting each other. Callbacks that libssh makes only note
 * facts or hand bytes over; channels and sessions are freed by host_drive alone, once libssh has
 * returned. And libssh owns a duplicate of the socket: when it closes its own on an error, the
 * descriptor that the loop polls stays ours, so it cannot be reused under the loop's feet. */
#ifndef CONTROLLER_HOST_INTERNAL_H
#define CONTROLLER_HOST_INTERNAL_H

#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <uv.h>

#include "controller/host.h"

#define HOST_CHANNELS_MAX  240          /* of one session, control included; sshd is told 256 */
#define HOST_SPARES        3            /* kept open ahead of need */
#define HOST_OUT_MAX       (256u << 10) /* queued by one stream, not yet taken by libssh */
#define HOST_CONTROL_MAX   (4u << 20)   /* queued messages on control */
#define HOST_WINDOW_LIBSSH (1280000u)   /* what libssh grants by itself */
#define HOST_WINDOW_SLACK  (128u << 10) /* a packet in flight while the window is counted */
#define HOST_WINDOW_WIDE   (8u << 20)   /* granted to bulk streams over a long line */
#define HOST_WIDE_RTT_US   10000        /* from this round trip on a line is long */
#define HOST_NOTE_MAX      1024         /* of a forced command's stderr kept for the error text */

enum host_state {
    HOST_RESOLVING,
    HOST_DIALLING,
    HOST_KEYS, /* key exchange, then the pinned key is compared */
    HOST_LOGIN,
    HOST_OPENING, /* channels, the forced command on each */
    HOST_HELLO,   /* said hello on control, waits for WELCOME */
    HOST_READY,
    HOST_GONE,
    HOST_STATE_COUNT,
};

struct host_times {
    unsigned connect_ms, login_ms, open_ms, welcome_ms;
    unsigned ping_ms, silence_ms;
};

enum host_step { HOST_WAIT, HOST_ON };

enum stream_state {
    STREAM_WAITING, /* the server takes no more channels just now */
    STREAM_OPENING,
    STREAM_REQUESTING, /* exec of the forced command sent */
    STREAM_OPEN,
};

/* One SSH channel. Unowned: a spare. */
struct host_stream {
    struct host_link *h;
    struct host_stream *prev, *next;
    enum stream_state state;
    ssh_channel ch;
    struct ssh_channel_callbacks_struct hooks; /* libssh keeps the pointer */
    bool owned;                                /* cb may be called */
    bool dropped;                              /* to be freed by the driver */
    bool bulk;                                 /* deserves a wide window over a long line */
    bool paused;                               /* the owner took less than offered */
    bool resume;                               /* and wants more now */
    bool room_wanted;                          /* a write was cut short */
    bool eof_wanted, eof_sent, close_sent;
    bool remote_eof, remote_closed, eof_told;
    int exit_status;    /* -1: not said */
    uint64_t opened_ms; /* when the command was started, by uv_now */
    unsigned refusals;  /* of a channel, while we had none but control */
    struct stream_callbacks cb;
    void *arg;
    struct buf out;  /* hello and written bytes until libssh takes them */
    struct buf held; /* read out of libssh, not taken by the owner */
    struct buf note; /* stderr of the forced command, cut */
    uint64_t received;
    uint32_t ungranted; /* bytes since the window was last widened */
};

struct lookup; /* a name being resolved: may outlive the link, for libuv cannot always stop it */

struct host_link {
    uv_loop_t *loop;
    struct host_target target;
    struct host_callbacks cb;
    void *arg;
    struct host_times times;
    enum host_state state;
    struct err why; /* code != 0: failed, and why */
    bool driving;   /* host_drive is on the stack */
    bool closing;   /* host_close was called while driving */
    bool active;    /* libssh told us something since the last look */
    bool refill;    /* look whether spares are missing */
    /* what is left of this drive's share of the loop's turn */
    unsigned pumps_left, frames_left;
    size_t parsed;
    /* reaching it (host_dial.c) */
    struct lookup *lookup;
    struct addrinfo *addrs, *next_addr;
    int fd; /* the loop's; libssh has a duplicate */
    uv_poll_t *poll;
    int polled; /* UV_READABLE | UV_WRITABLE as armed */
    uv_timer_t *deadline;
    uv_idle_t *kick;
    /* the session (host_trust.c) */
    ssh_session session;
    ssh_event event;
    ssh_key login;
    unsigned key_round;          /* which host key types are asked for */
    char seen_fpr[KEY_FPR_SIZE]; /* first key seen that was not the pinned one */
    char key_line[KEY_LINE_MAX];
    /* streams (host_stream.c) */
    struct host_stream *streams; /* control first */
    struct host_stream *control;
    unsigned nchannels, max_channels;
    uint8_t *scratch; /* HOST_WINDOW_WIDE bytes once a wide window was granted; hardly touched */
    bool long_line;
    struct buf in; /* control's bytes not yet parsed */
    uint64_t ping_seq, heard_ms;
};

/* host.c */
extern const struct host_times host_times_default;
/* For tests: other deadlines, before the loop runs. */
void host_set_times(struct host_link *h, const struct host_times *t);
/* Records the failure (the first counts); the driver ends the session. Always -code. */
int host_fail(struct host_link *h, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What the server refused is asked for again in a moment, not at the next keep-alive. */
void host_ask_again(struct host_link *h);
void host_enter(struct host_link *h, enum host_state state);
/* Goes as far as it can go now; frees what is to be freed. The only caller of libssh. */
void host_drive(struct host_link *h);
/* Drives in the next turn of the loop. */
void host_kick(struct host_link *h);
void host_handle_close(uv_handle_t *handle); /* malloc'ed handle: closed, freed later */

/* host_dial.c */
int host_lookup(struct host_link *h, struct err *err);
void host_dial_next(struct host_link *h);
/* Which events of the socket wake the driver. */
void host_watch(struct host_link *h, int events);
void host_hang_up(struct host_link *h); /* poll handle and socket */
void host_dial_done(struct host_link *h);
void host_quick_ack(const struct host_link *h);
unsigned host_rtt_us(const struct host_link *h);

/* host_trust.c */
int host_login_key(struct host_link *h, struct err *err);
int host_session_start(struct host_link *h);
void host_session_end(struct host_link *h);
enum host_step host_step_keys(struct host_link *h);
enum host_step host_step_login(struct host_link *h);

/* host_stream.c */
int host_control_open(struct host_link *h, const struct stream_callbacks *cb, struct err *err);
/* Moves every stream as far as it goes: opens, reads, writes, ends, frees, refills the spares. */
void host_streams_step(struct host_link *h);
/* Tells the owners and frees all; the session's channels are let go. */
void host_streams_detach(struct host_link *h);
void host_streams_end(struct host_link *h, const struct err *err);
/* Appends what the forced command said on stderr, as one harmless line, and its exit status. */
void stream_excuse(const struct host_stream *st, char out[static 400]);

#endif
