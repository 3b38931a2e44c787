/* What a task may spend, from what its operator typed and configured: the step between `creel run
 * --budget` and the policy that is signed. Reads providers.json and prices.json; holds no secret. */
#ifndef CONTROLLER_SPEND_PLAN_H
#define CONTROLLER_SPEND_PLAN_H

#include "controller/broker/price.h"
#include "controller/broker/provider.h"
#include "controller/paths.h"

/* Both files of the operator's. */
struct spend_books {
    struct providers providers;
    struct prices *prices;
};
/* -ERR_USAGE with what to type when there is no provider or no price yet. */
int spend_books_open(const struct paths *p, struct spend_books *out, struct err *err);
/* As spend_books_open, but a file that is not there is an empty list, and prices NULL. */
int spend_books_peek(const struct paths *p, struct spend_books *out, struct err *err);
void spend_books_done(struct spend_books *b); /* safe when zeroed and twice */

struct spend_wish {
    const char *provider;      /* NULL or "": the only one there is */
    const char *budget;        /* dollars as a person types them: "2.50" */
    const char *dialect;       /* that the agent speaks ("responses"); NULL or "": any */
    const struct strv *models; /* that may be asked for; NULL or none: each that the provider may */
    const struct strv *hosted; /* hosted tools; NULL: none */
    uint64_t calls;            /* 0: the default of spend_init, here and below */
    uint64_t calls_per_minute, in_flight, output_tokens, repeats;
};
/* Fills `s` (zeroed, or spend_init()ed), checked; -ERR_USAGE in a line that says what to type. */
int spend_plan(const struct spend_books *b, const struct spend_wish *w, struct spend *s,
               struct err *err);
/* The most that one call may reserve when its request has `bytes`: over all models it may ask for. For the
 * plan: what a budget means in calls, and that it covers the first one. */
uint64_t spend_plan_call(const struct spend_books *b, const struct spend *s, uint64_t bytes);
/* A first request of real agents has 30 to 50 kB. */
#define SPEND_PLAN_BYTES 50000

#endif
