/* The two halves of the HTTPS client: the multi handle in the loop (http_client.c), and one exchange
 * (http_exchange.c). */
#ifndef CONTROLLER_BROKER_HTTP_INTERNAL_H
#define CONTROLLER_BROKER_HTTP_INTERNAL_H

#include <curl/curl.h>

#include "controller/broker/http_client.h"

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    CURLSH *share;          /* of TLS sessions */
    uv_timer_t timer;       /* curl's */
    uv_timer_t tick;        /* our limits of time; runs while there are exchanges */
    struct watch **watches; /* by descriptor; NULL: never had one */
    size_t nwatches;
    int open_handles;
    int depth;                   /* > 0: curl is at work, and takes no exchange away */
    struct http_exchange *first; /* list */
    bool reap;                   /* some exchange was cancelled meanwhile */
    bool closing;
};

struct http_exchange {
    struct http_exchange *next, *prev;
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers; /* nodes and texts in `header_bytes` */
    char *header_bytes;         /* wiped before it is freed */
    size_t header_size;
    struct http_callbacks cb;
    void *arg;
    const uint8_t *body;
    size_t len, at; /* handed to curl so far */
    unsigned first_byte_ms, idle_ms;
    uint64_t answer_max, answered;
    uint64_t heard_ms; /* when the last bytes came, or the exchange began */
    struct strv answer_headers;
    size_t answer_header_bytes;
    int status;
    bool headed;    /* the owner has the head */
    bool paused;    /* the owner takes nothing now */
    bool cancelled; /* the owner is gone */
    struct err why; /* code != 0: we end it, and why */
    char words[CURL_ERROR_SIZE];
};

/* http_exchange.c */
int exchange_new(struct http_client *c, const struct http_ask *ask, const struct http_callbacks *cb,
                 void *arg, struct http_exchange **ret, struct err *err);
/* Out of curl's hands by now; wipes and frees, calls nobody. */
void exchange_free(struct http_exchange *x);
/* Tells the owner how it ended, and frees. */
void exchange_end(struct http_exchange *x, CURLcode code);
/* Why it has waited too long by `now_ms` of the loop's clock; false: it has not. */
bool exchange_late(const struct http_exchange *x, uint64_t now_ms, struct err *err);

#endif
