/* What a host told of itself, judged: each thing that a task may miss there, with what to do about it. */
#ifndef CONTROLLER_CLI_HOST_FACTS_H
#define CONTROLLER_CLI_HOST_FACTS_H

#include "controller/store.h"

/* `fix` is NULL when nothing needs doing. `text` is one line without the host's name; what the host
 * itself said in it is not yet neutralised. */
typedef void host_fact_cb(void *arg, const char *text, const char *fix);

/* Calls back for each finding, the weightiest first; at least once. */
void host_facts(const struct host_row *h, host_fact_cb *cb, void *arg);

#endif
