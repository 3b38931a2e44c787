/* A model call: judged and bounded by its dialect, its price held in the ledger, sent with the operator's
 * key, metered while it passes, settled.
 *
 * What is charged:
 *   the answer was whole and told its usage            what that costs
 *   whole, but no usage or none but zeros              the whole reservation
 *   cut, stuck, too long, or nobody listened any more  the whole reservation
 *   the provider answered with an error status         nothing: providers do not bill those, and one that
 *                                                      lies about it takes from nobody but itself. It counts
 *                                                      as a call
 *   a gateway gave up waiting (504, 524)               the whole reservation: the provider may bill it
 *   certainly nothing left this machine                nothing
 *
 * How it is refused: 429 with retry-after where a little later it may pass (calls a minute, calls at once,
 * money held by calls under way): agents wait on that. Else 400: agents stop on that. The first refusal for
 * money or number of calls ends the attempt's calls for good. */
#ifndef CONTROLLER_BROKER_MODEL_CALL_H
#define CONTROLLER_BROKER_MODEL_CALL_H

#include "controller/broker/door.h"

int model_calls_open(struct process *p, struct err *err);
/* Waits until no thread has the ledger. What is under way stays held. */
void model_calls_close(struct process *p);
/* At the end of each turn of the loop: makes what was held durable, then lets those calls go. */
void model_calls_turn(struct process *p);
/* As many syncs are under way as may be: what was held since waits for the end of one. */
bool model_calls_full(const struct process *p);
/* The lists of calls that wait, 0, 1, ...; NULL: no more of them. */
struct model_call **model_calls_waiting(struct process *p, unsigned i);
/* Their holds are durable; with a failure, void. */
void model_calls_leave(struct process *p, struct model_call *list, int rc, const struct err *err);
/* Once a second: what was settled is made durable even when no call follows. */
void model_calls_tick(struct process *p);

#endif
