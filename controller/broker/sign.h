/* What the broker does with its signing key: envelopes and orders. */
#ifndef CONTROLLER_BROKER_SIGN_H
#define CONTROLLER_BROKER_SIGN_H

#include "controller/broker/process.h"

/* Answer one request of the engine into p->out; an error is the answer instead. */
int sign_task(struct process *p, const struct frame *f, struct err *err);
int sign_order(struct process *p, const struct frame *f, struct err *err);

#endif
