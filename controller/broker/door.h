/* The broker's end of one connection that a jail opened to its broker door: an HTTP/1.1 server for one
 * attempt. Reads requests strictly, checks the task token, hands each to who serves its path, answers.
 *
 * The token must be this attempt's, and the attempt not over: as "Authorization: Bearer", "x-api-key" or
 * the password of Basic. Everything on the connection is hostile: heads bounded (common/http_head.h), one
 * request at a time, idle and total time limited, no upgrade, no compressed body. */
#ifndef CONTROLLER_BROKER_DOOR_H
#define CONTROLLER_BROKER_DOOR_H

#include "common/http_head.h"
#include "controller/broker/process.h"

struct door;    /* one connection */
struct request; /* one request of it, until it is answered or the connection is gone */

/* Who serves requests of some paths. */
struct service {
    /* The head is whole, the token right. What it returns is `state` of the other calls; NULL: it has
     * answered at once (request_reply), the body is skipped. `head` is borrowed during the call. */
    void *(*begin)(struct request *rq, const struct http_head *head);
    /* Bytes of the body, decoded. False: no more room ever: it has answered. */
    bool (*body)(void *state, const void *bytes, size_t n);
    void (*body_end)(void *state);
    /* There is room again after request_write said there is none. */
    void (*writable)(void *state);
    /* The last call, exactly once for each begin() that returned a state: answered in full, or
     * (gone) the jail's end went away before. */
    void (*done)(void *state, bool gone);
};

extern const struct service model_service; /* model_call.c */
extern const struct service git_service;   /* git_call.c: paths below /git/ */
/* Lets go of an attempt's pushes (NULL: of all) that are heard to their end though their clients went. */
void git_calls_end(struct process *p, const char *attempt);

/* Takes the descriptor (a stream socket), also on failure. */
int door_open(struct process *p, const char *attempt, int fd, struct err *err);
/* Closes the attempt's doors; their services are told. */
void doors_end(struct process *p, const char *attempt);
void doors_close(struct process *p); /* all */
/* At the end of each turn of the loop: sends what was answered, begins the next requests. */
void doors_turn(struct process *p);
/* Once a second: limits of time. */
void doors_tick(struct process *p);

struct process *request_process(const struct request *rq);
const struct ledger_attempt *request_attempt(const struct request *rq);

struct live_attempt *request_live(const struct request *rq); /* attempts.h */

/* The head of an answer; `headers` are "name: value" lines, framing (chunked, or a length when length >=
 * 0) is added. Then the body in pieces, then the end. */
void request_head(struct request *rq, int status, const struct strv *headers, int64_t length);
/* All is taken; false: over 256 KiB wait to be sent, stop until writable(). */
bool request_write(struct request *rq, const void *bytes, size_t n);
void request_end(struct request *rq);
/* A whole answer at once. */
void request_reply(struct request *rq, int status, const char *content_type, const void *body,
                   size_t n);
/* The answer cannot be finished as it was begun: the connection is cut, so that the jail's side knows. */
void request_abort(struct request *rq);

#endif
