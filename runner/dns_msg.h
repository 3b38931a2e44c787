/* DNS messages as the gate's name server needs them (RFC 1035): one question in, one answer out. Pure. */
#ifndef RUNNER_DNS_MSG_H
#define RUNNER_DNS_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/egress.h"

#define DNS_MSG_BYTES 512 /* the longest question taken, and the longest answer made */

enum dns_code {
    DNS_OK = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5
};

struct dns_question {
    uint16_t id, flags;
    char name[DNS_NAME_SIZE];  /* canonical; empty when the name is no host name: answer NXDOMAIN */
    char shown[DNS_NAME_SIZE]; /* as asked, other bytes than [0-9A-Za-z._-] as '?', for the log */
    uint16_t type, class;
    size_t end; /* of the question in the message */
};

/* 1: a question. 0: drop it (a response, or shorter than a header). -1: answer FORMERR (compression,
 * more than one question, answers in a query, trailing bytes that are no OPT record); then of it only
 * id, flags and end count, and the answer repeats no question. */
int dns_question_parse(const void *bytes, size_t n, struct dns_question *out);
/* 0 for a query; any other is answered NOTIMP. */
unsigned dns_opcode(const struct dns_question *q);
/* Makes the answer to `query` (its header and question are repeated): an A record of `address` (network
 * order) with TTL 60 when code is DNS_OK, the type is A and address is not 0; no record otherwise.
 * Returns its bytes. */
size_t dns_answer_make(const void *query, const struct dns_question *q, enum dns_code code,
                       uint32_t address, uint8_t out[static DNS_MSG_BYTES]);

#endif
