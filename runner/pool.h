/* Spare cells: one for each free slot, made when the warden has nothing else to do, so that an attempt
 * finds its keeper, disk, checkout jail and run jail waiting. A spare is made for the default policy
 * and knows nothing of any task until a verified envelope's is given to it; it is used once, or thrown
 * away. What it does not fit is made from nothing, as is everything when spares cannot be made. */
#ifndef RUNNER_POOL_H
#define RUNNER_POOL_H

#include "runner/warden_internal.h"

/* A free slot that could have a spare and has none; NULL: there is nothing to do. */
struct slot *pool_wants(struct warden *w);
/* Begins to make one. A slot whose spare failed gets none before it has been used. */
void pool_fill(struct warden *w, struct slot *slot);
/* Does the slot hold a spare? Then its cell's ctl is to be polled, and pool_heard called. */
bool pool_spare(const struct slot *slot);
/* A spare's keeper said that it is ready, or is gone. */
void pool_heard(struct slot *slot);
/* The slot's cell for a task: the spare if it fits, else a new one. As cell_open. */
int pool_open(struct warden *w, struct slot *slot, const struct task *task, const uint8_t *token,
              int *ret_pack, struct err *err);
/* Throws the slot's spare away. */
void pool_drop(struct slot *slot);

#endif
