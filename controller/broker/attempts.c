/* Live attempts: a list, since there are as many as hosts run at once. */
#include "controller/broker/attempts.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/sha256.h"
#include "controller/broker/door.h"

int attempts_get(struct process *p, const char *attempt, struct live_attempt **ret, struct err *err)
{
    struct live_attempt *l = p->attempts;
    while (l && strcmp(l->a.attempt, attempt) != 0)
        l = l->next;
    if (!l) {
        if (!(l = calloc(1, sizeof *l)))
            return err_set(err, ERR_FAIL, "out of memory");
        int rc = ledger_get(p->ledger, attempt, &l->a, err);
        if (rc == 0 && l->a.over) {
            ledger_attempt_done(&l->a);
            rc = err_set(err, ERR_REFUSED, "the attempt is over");
        }
        if (rc < 0) {
            free(l);
            return rc;
        }
        l->next = p->attempts;
        p->attempts = l;
    }
    *ret = l;
    return 0;
}

bool attempt_token_is(const struct live_attempt *l, const char *token, size_t n)
{
    uint8_t digest[SHA256_BYTES];
    if (n != 2 * TASK_TOKEN_BYTES || l->a.over || clock_wall_s() >= l->a.exp)
        return false;
    sha256_of(token, n, digest);
    return sodium_memcmp(digest, l->a.token_sha256, sizeof digest) == 0;
}

static void forget(struct live_attempt **at)
{
    struct live_attempt *l = *at;
    *at = l->next;
    ledger_attempt_done(&l->a);
    free(l);
}

void attempts_end(struct process *p, const char *attempt)
{
    struct err err = ERR_INIT;
    doors_end(p, attempt);
    git_calls_end(p, attempt);
    for (struct live_attempt **at = &p->attempts; *at; at = &(*at)->next) {
        if (strcmp((*at)->a.attempt, attempt) != 0)
            continue;
        forget(at);
        break;
    }
    if (ledger_over(p->ledger, attempt, &err) < 0)
        diag(DIAG_ERROR, "broker: %s", err.msg);
}

void attempts_free(struct process *p)
{
    git_calls_end(p, NULL);
    while (p->attempts)
        forget(&p->attempts);
}

bool attempt_room(const struct process *p, const struct live_attempt *l, size_t n, size_t spare)
{
    size_t others = p->buffered - l->buffered;
    size_t room = others < PROCESS_BUFFERED_MAX ? (PROCESS_BUFFERED_MAX - others) / 2 : 0;
    if (room < ATTEMPT_ROOM_MIN)
        room = ATTEMPT_ROOM_MIN;
    room += spare;
    return l->buffered <= room && n <= room - l->buffered;
}

void attempt_holds(struct process *p, struct live_attempt *l, size_t from, size_t to)
{
    l->buffered = l->buffered - from + to;
    p->buffered = p->buffered - from + to;
}

uint64_t repeats_count(struct repeats *r, const uint8_t fingerprint[static 32])
{
    bool same = r->n > 0 && memcmp(r->last, fingerprint, sizeof r->last) == 0;
    r->n = same ? r->n + 1 : 1;
    memcpy(r->last, fingerprint, sizeof r->last);
    return r->n;
}
