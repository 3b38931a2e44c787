/* HTTPS to providers and forges, by libcurl's multi interface in the loop: HTTP/1.1, identity encoding,
 * certificates checked always, no redirect followed, no cookie, no proxy but the operator's own
 * environment's. Bytes of an answer reach the owner as they come; what it does not take is held back. */
#ifndef CONTROLLER_BROKER_HTTP_CLIENT_H
#define CONTROLLER_BROKER_HTTP_CLIENT_H

#include <uv.h>

#include "proto/json.h"

struct http_client;
/* `user_agent`: "creel/0.1.0". */
int http_client_new(uv_loop_t *loop, struct http_client **ret, struct err *err);
/* Ends all exchanges without a callback; frees when its handles closed. Nobody else in the loop may wait for
 * a descriptor any more: libuv forgets those that have a number which a socket of ours had. */
void http_client_close(struct http_client *c);

struct http_exchange;

struct http_ask {
    const char *method; /* "POST" */
    const char *url;    /* https, or http towards loopback */
    const struct strv
        *headers;     /* "name: value"; may hold a secret: copied into memory that is wiped */
    const void *body; /* copied by none: must live until end(); NULL: none */
    size_t len;
    const char *ca_file;                                   /* PEM; NULL or "": the system's */
    unsigned connect_ms, first_byte_ms, idle_ms, total_ms; /* 0: 10 s, 300 s, 120 s, 3600 s */
    uint64_t answer_max;                                   /* bytes of the body; 0: 64 MiB */
};

struct http_callbacks {
    /* Once, when the final head is whole. `headers` are "name: value", names in lower case; borrowed. */
    void (*head)(void *arg, int status, const struct strv *headers);
    /* Bytes of the body; false: no room now, the same bytes come again after http_resume. */
    bool (*data)(void *arg, const void *bytes, size_t n);
    /* Once, the last. err NULL: the answer was whole. `sent`: false only when it is certain that no byte of
     * the request left (no address, no connection, certificate refused). The exchange is freed after. */
    void (*end)(void *arg, bool sent, const struct err *err);
};

int http_send(struct http_client *c, const struct http_ask *ask, const struct http_callbacks *cb,
              void *arg, struct http_exchange **ret, struct err *err);
void http_resume(struct http_exchange *x);
void http_cancel(struct http_exchange *x); /* no callback comes after */

#endif
