/* The head of one HTTP/1.x request from a jail, parsed strictly (RFC 9112): what two readers could
 * read differently is refused. Pure; nothing is copied, the head's bytes are the caller's. */
#ifndef COMMON_HTTP_HEAD_H
#define COMMON_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/egress.h"

#define HTTP_HEAD_BYTES  (32u << 10)
#define HTTP_HEADERS_MAX 128

struct http_span {
    const char *p;
    size_t n;
};

struct http_header {
    struct http_span name, value; /* value without blanks around it */
};

enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED };

struct http_head {
    struct http_span method, target;
    struct http_span path;    /* of an absolute-form target: path and query, "/" when empty */
    bool connect;             /* method CONNECT: authority-form */
    bool origin;              /* origin-form ("/path"): legal at the port 80 door alone */
    int minor;                /* HTTP/1.minor */
    char host[DNS_NAME_SIZE]; /* canonical; from the target, or from Host in origin-form */
    uint16_t port;            /* 80 when an absolute-form target has none */
    enum http_body body;
    uint64_t length; /* HTTP_BODY_LENGTH */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t nheaders;
};

/* 1: a whole head, *ret_used bytes of it (its empty line included); 0: more bytes are needed; -1:
 * refused, *ret_why says why in a few words for the 400's body and the log. Refused are: bare CR or LF,
 * NUL or control bytes, obs-fold, blanks before the colon, two Host or Content-Length headers, Content-Length with
 * Transfer-Encoding, any Transfer-Encoding but exactly "chunked", a Host that differs from the target,
 * userinfo, a target that is an address, a scheme but http, HTTP/1.0 with Transfer-Encoding,
 * CONNECT with a body, over HTTP_HEAD_BYTES or HTTP_HEADERS_MAX. CONNECT needs no Host (pip sends
 * HTTP/1.0 without). An Upgrade is only an offer (RFC 9110 7.8; Java's client makes it unasked): whoever sends
 * the request on leaves it out. */
int http_head_parse(const void *bytes, size_t n, struct http_head *out, size_t *ret_used,
                    const char **ret_why);

/* As http_head_parse, for a server of our own on the jail's loopback: only origin-form, and a Host that is
 * 127.0.0.1, localhost or [::1], with any port; `host` is then "localhost". */
int http_head_parse_door(const void *bytes, size_t n, struct http_head *out, size_t *ret_used,
                         const char **ret_why);
/* Is the name this one, whatever its case? */
bool http_span_is(struct http_span s, const char *text);

/* Follows a chunked body without decoding it, so that the gate knows where a request ends. */
struct http_chunks {
    int state;
    uint64_t left;
};
/* How many of bytes[0..n) belong to the body; *ret_done when it ended there. -1: malformed (chunk
 * extensions, bare LF, sizes over 2^40 and trailers are refused). */
long http_chunks_take(struct http_chunks *c, const void *bytes, size_t n, bool *ret_done);
/* As http_chunks_take, but stops after the first piece of data, which *ret_data then shows (n = 0: there
 * was none in these bytes). */
long http_chunks_data(struct http_chunks *c, const void *bytes, size_t n,
                      struct http_span *ret_data, bool *ret_done);

#endif
