/* What the parts of an attempt share: attempt.c (states), attempt_tell.c (what it says), attempt_io.c
 * (what a phase prints),
 * attempt_pack.c (source in, patch out), attempt_gate.c (the run's egress), attempt_end.c (result and
 * receipt). */
#ifndef RUNNER_ATTEMPT_INTERNAL_H
#define RUNNER_ATTEMPT_INTERNAL_H

#include "runner/attempt.h"

/* Is there a cell for it in the table? */
bool attempt_legal(enum attempt_at at, enum attempt_event ev);
uint64_t attempt_now_us(const struct attempt *a);

/* attempt_tell.c */
void attempt_tell_state(struct attempt *a, const char *step);
void attempt_tell_refused(struct attempt *a);
/* Sets the refusal; the caller then leads the attempt to its wipe. */
void attempt_set_refusal(struct attempt *a, enum refusal why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* First error wins. */
void attempt_set_error(struct attempt *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* attempt_io.c */
int attempt_steps_init(struct attempt *a, struct err *err);
struct step_result *attempt_step(struct attempt *a, enum step_kind kind, unsigned index);
/* Takes `nfds` read ends of a phase: stdout, stderr, and of a run also status. */
int attempt_pipes_open(struct attempt *a, int *fds, size_t nfds, struct err *err);
/* Reads what is still in them (every writer is dead) and closes them. */
void attempt_pipes_drain(struct attempt *a);
void attempt_pipes_close(struct attempt *a);
/* Steps that were running when the jail was killed. */
void attempt_steps_end(struct attempt *a);

/* attempt_pack.c */
void attempt_pack_close(struct attempt *a);
/* Reads collect's line; takes the patch pack. 1: hashing began, EV_HASHED follows; 0: no patch;
 * negative: error set. */
int attempt_patch_begin(struct attempt *a, const int *fds, size_t nfds);
void attempt_patch_close(struct attempt *a);

/* attempt_gate.c */
/* When the attempt begins: the policy's rules are read, and presets begin to be asked for. */
int attempt_gate_prepare(struct attempt *a, struct err *err);
/* Before its run: presets become rules. -ERR_REFUSED when one is not known here after all. */
int attempt_gate_resolve(struct attempt *a, struct err *err);
/* Takes fds[0..nfds), the sockets in the order of enum gate_socket. */
int attempt_gate_open(struct attempt *a, int *fds, size_t nfds, struct err *err);
/* Ends what is open and keeps the account. Its sockets are closed when a->gate is NULL; with
 * a->gate_awaited set, attempt_gate_gone() is called then. */
void attempt_gate_end(struct attempt *a);
void attempt_gate_gone(struct attempt *a); /* attempt.c */

/* attempt_token.c */
/* The run is there, and its place for a token: `dir` is the attempt's now. */
int attempt_token_place(struct attempt *a, int dir, struct err *err);
void attempt_token_end(struct attempt *a); /* wipes it */

/* attempt_end.c */
int attempt_result_make(struct attempt *a, struct err *err);
int attempt_receipt_make(struct attempt *a, const struct warden_wiped *w, bool ok, struct err *err);

#endif
