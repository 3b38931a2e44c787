/* What a task may reach: one rule a string of policy.egress, and the grammar of host names that every
 * part of the gate uses.
 *
 *   NAME          a host, exactly; ports 80 and 443
 *   NAME:PORT     that port alone
 *   *.SUFFIX      every host below SUFFIX, not SUFFIX itself; also with :PORT
 *   PRESET        npm, apt, pip, cargo, go, github: the runner's host resolves it (runner/presets.h)
 *
 * Rules name hosts, never addresses. The ports 53, 3128 and 4100 are the gate's own in a jail and cannot
 * be named. Pure: no resolver, no sockets.
 */
#ifndef PROTO_EGRESS_H
#define PROTO_EGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"
#include "proto/err.h"
#include "proto/json.h"

#define DNS_NAME_MAX     253 /* RFC 1035 2.3.4, without the last dot */
#define DNS_NAME_SIZE    (DNS_NAME_MAX + 1)
#define EGRESS_RULES_MAX 256
#define EGRESS_PORTS_MAX \
    8 /* different ports that one policy's rules may name, 80 and 443 included */

enum egress_preset {
    PRESET_NPM,
    PRESET_APT,
    PRESET_PIP,
    PRESET_CARGO,
    PRESET_GO,
    PRESET_GITHUB,
    PRESET_COUNT,
};
extern const char *const preset_names[PRESET_COUNT + 1];

enum egress_kind { EGRESS_EXACT, EGRESS_SUFFIX, EGRESS_PRESET };

struct egress_rule {
    enum egress_kind kind;
    char name[DNS_NAME_SIZE]; /* exact name, or the suffix without "*." */
    uint16_t port;            /* 0: 80 and 443 */
    enum egress_preset preset;
};

/* The one grammar of host names: bytes[0..n) are 2 or more labels of [a-z0-9-] (upper case is folded,
 * one trailing dot dropped), 1 to 63 bytes each and not beginning or ending with '-', at most 253 in
 * all, the last label not all digits and not "0x..." (so that no spelling of an IPv4 address is a
 * name). '_' is taken in all but the last two labels. Writes the canonical form. False otherwise; NUL
 * and every other byte is refused, nothing is decoded. */
bool dns_name_canon(const void *bytes, size_t n, char out[static DNS_NAME_SIZE]);

/* One rule of a policy. -ERR_USAGE: one line that says what is wrong and how to write it. A suffix
 * needs at least two labels ("*.com" is refused). */
int egress_parse(const char *text, struct egress_rule *out, struct err *err);
/* All of a policy's rules into rules[0..*ret_n). Repeats, too many, and more than EGRESS_PORTS_MAX
 * different ports are errors. */
int egress_parse_all(const struct strv *texts, struct egress_rule rules[static EGRESS_RULES_MAX],
                     size_t *ret_n, struct err *err);
/* The first rule that allows a canonical name at a port, or NULL. Presets allow nothing here: they are
 * resolved to rules first. */
const struct egress_rule *egress_match(const struct egress_rule *rules, size_t n, const char *name,
                                       uint16_t port);
/* Does any rule allow this name at some port? */
bool egress_knows(const struct egress_rule *rules, size_t n, const char *name);
/* The ports that the rules name, ascending, each once; 80 and 443 are always there. Returns how many. */
size_t egress_ports(const struct egress_rule *rules, size_t n,
                    uint16_t out[static EGRESS_PORTS_MAX]);
/* Appends the flag that would allow a canonical name at a port: "--egress example.org", with ":PORT"
 * unless it is 80 or 443. */
int egress_flag(const char *name, uint16_t port, struct buf *to);

#endif
