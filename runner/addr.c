/* The addresses that the gate never dials, as a table one can hold beside IANA's registries. */
#include "runner/addr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_OF_4 96 /* where the IPv4 part of 16 bytes begins */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* Beside each row: the registry's name for it, and where it is defined. */
struct range {
    const char *net;
    const char *why;
    bool never; /* not even when the operator lists it */
};

/* IANA IPv4 Special-Purpose Address Registry and what else no public service has. The first row that
 * matches says why. */
static const struct range ranges4[] = {
    {"0.0.0.0/32", "unspecified", true}, /* "This host on this network", RFC 1122 3.2.1.3 */
    {"0.0.0.0/8", "this network", true}, /* "This network", RFC 791 3.2 */
    {"10.0.0.0/8", "private", false},    /* Private-Use, RFC 1918 */
    {"100.100.100.200/32", "cloud metadata", true}, /* not IANA's: Alibaba's */
    {"100.64.0.0/10", "carrier NAT", false},        /* Shared Address Space, RFC 6598 */
    {"127.0.0.0/8", "loopback", true},              /* Loopback, RFC 1122 3.2.1.3 */
    {"168.63.129.16/32", "cloud metadata", true},   /* not IANA's: Azure's host service */
    {"169.254.0.0/16", "link-local", true},     /* Link Local, RFC 3927; most clouds' metadata */
    {"172.16.0.0/12", "private", false},        /* Private-Use, RFC 1918 */
    {"192.0.0.192/32", "cloud metadata", true}, /* not IANA's: Oracle's */
    {"192.0.0.0/24", "protocol assignment", false}, /* IETF Protocol Assignments, RFC 6890 2.1 */
    {"192.0.2.0/24", "documentation", false},       /* TEST-NET-1, RFC 5737 */
    {"192.31.196.0/24", "AS112", false},            /* AS112-v4, RFC 7535 */
    {"192.52.193.0/24", "multicast relay", false},  /* AMT, RFC 7450 */
    {"192.88.99.0/24", "6to4 relay", false},        /* 6to4 Relay Anycast, RFC 7526 */
    {"192.168.0.0/16", "private", false},           /* Private-Use, RFC 1918 */
    {"192.175.48.0/24", "AS112", false},            /* Direct Delegation AS112, RFC 7534 */
    {"198.18.0.0/15", "benchmarking", false},       /* Benchmarking, RFC 2544 */
    {"198.51.100.0/24", "documentation", false},    /* TEST-NET-2, RFC 5737 */
    {"203.0.113.0/24", "documentation", false},     /* TEST-NET-3, RFC 5737 */
    {"224.0.0.0/4", "multicast", true},             /* Multicast, RFC 5771 */
    {"255.255.255.255/32", "broadcast", true},      /* Limited Broadcast, RFC 919, RFC 8190 */
    {"240.0.0.0/4", "reserved", false},             /* Reserved, RFC 1112 4 */
};

/* IANA IPv6 Special-Purpose Address Registry. What is in no row and outside 2000::/3, the only block
 * of global unicast addresses (RFC 4291 2.4, IANA IPv6 Address Space), is refused too. */
static const struct range ranges6[] = {
    {"::/128", "unspecified", true},                      /* Unspecified, RFC 4291 2.5.2 */
    {"::1/128", "loopback", true},                        /* Loopback, RFC 4291 2.5.3 */
    {"::ffff:0:0/96", "IPv4-mapped", true},               /* IPv4-mapped, RFC 4291 2.5.5.2 */
    {"::/96", "IPv4-compatible", true},                   /* deprecated, RFC 4291 2.5.5.1 */
    {"::ffff:0:0:0/96", "IPv4-translated", true},         /* SIIT, RFC 7915 (was RFC 2765) */
    {"64:ff9b::/96", "NAT64 of an IPv4 address", false},  /* IPv4-IPv6 Translation, RFC 6052 */
    {"64:ff9b:1::/48", "NAT64 of an IPv4 address", true}, /* local translation, RFC 8215 */
    {"100::/64", "discard", false},                       /* Discard-Only, RFC 6666 */
    {"100:0:0:1::/64", "discard", false},                 /* Dummy IPv6 Prefix, RFC 9780 */
    {"2001::/32", "Teredo", true},                        /* TEREDO, RFC 4380 */
    {"2001:2::/48", "benchmarking", false},               /* Benchmarking, RFC 5180 */
    {"2001::/23", "protocol assignment", false},          /* IETF assignments, RFC 2928 */
    {"2001:db8::/32", "documentation", false},            /* Documentation, RFC 3849 */
    {"2002::/16", "6to4", true},                          /* 6to4, RFC 3056 */
    {"2620:4f:8000::/48", "AS112", false},                /* Direct Delegation AS112, RFC 7534 */
    {"3fff::/20", "documentation", false},                /* Documentation, RFC 9637 */
    {"5f00::/16", "segment routing", false},              /* SRv6 SIDs, RFC 9602 */
    {"fd00:ec2::254/128", "cloud metadata", true},        /* not IANA's: Amazon's */
    {"fd20:ce::254/128", "cloud metadata", true},         /* not IANA's: Google's */
    {"fc00::/7", "private", false},                       /* Unique-Local, RFC 4193 */
    {"fe80::/10", "link-local", true},                    /* Link-Local Unicast, RFC 4291 2.5.6 */
    {"fec0::/10", "site-local", false},                   /* deprecated, RFC 3879 */
    {"ff00::/8", "multicast", true},                      /* Multicast, RFC 4291 2.7 */
};

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool is_4(const uint8_t bytes[static 16], unsigned prefix)
{
    return prefix >= PREFIX_OF_4 && memcmp(bytes, mapped, sizeof mapped) == 0;
}

/* Decimal, at most `max`, no leading zero. */
static int parse_prefix(const char *s, unsigned max, uint8_t *ret)
{
    size_t n = strlen(s);
    if (n < 1 || n > 3 || strspn(s, "0123456789") != n || (n > 1 && s[0] == '0'))
        return -1;
    unsigned long v = strtoul(s, NULL, 10);
    if (v > max)
        return -1;
    *ret = (uint8_t)v;
    return 0;
}

static int parse_net(const char *text, struct addr_net *out)
{
    char host[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    bool four = false;
    if (n >= sizeof host)
        return -1;
    memcpy(host, text, n);
    host[n] = 0;
    memcpy(out->bytes, mapped, sizeof mapped);
    if (inet_pton(AF_INET, host, out->bytes + 12) == 1)
        four = true;
    else if (inet_pton(AF_INET6, host, out->bytes) != 1)
        return -1;
    out->prefix = four ? 32 : 128;
    if (slash && parse_prefix(slash + 1, out->prefix, &out->prefix) < 0)
        return -1;
    if (four)
        out->prefix += PREFIX_OF_4;
    return 0;
}

int addr_net_parse(const char *text, struct addr_net *out, struct err *err)
{
    struct addr_net net;
    if (parse_net(text, &net) < 0)
        return err_set(err, ERR_USAGE,
                       "'%.64s' is not a network: write 10.0.0.0/8, fd00::/8 or one address", text);
    for (unsigned bit = net.prefix; bit < 128; bit++)
        if (net.bytes[bit / 8] & (0x80 >> bit % 8))
            return err_set(err, ERR_USAGE, "'%.64s' has bits set behind its prefix of %s", text,
                           strchr(text, '/'));
    if (strchr(text, ':') && is_4(net.bytes, net.prefix))
        return err_set(err, ERR_USAGE, "'%.64s' is IPv4: write it as such", text);
    *out = net;
    return 0;
}

static const struct range *find_range(const struct range *rows, size_t n,
                                      const uint8_t bytes[static 16])
{
    for (size_t i = 0; i < n; i++) {
        struct addr_net net;
        if (parse_net(rows[i].net, &net) == 0 && bits_equal(net.bytes, bytes, net.prefix))
            return &rows[i];
    }
    return NULL;
}

static const struct range *find_range4(const uint8_t bytes[static 16])
{
    return find_range(ranges4, sizeof ranges4 / sizeof *ranges4, bytes);
}

static const struct range *find_range6(const uint8_t bytes[static 16])
{
    static const struct range beyond = {"", "not a global address", false};
    const struct range *r = find_range(ranges6, sizeof ranges6 / sizeof *ranges6, bytes);
    return r || bytes[0] >> 5 == 1 /* 2000::/3 */ ? r : &beyond;
}

/* Has the operator listed it? A network of one family lists nothing of the other. */
static bool listed(const uint8_t bytes[static 16], bool four, const struct addr_net *reach,
                   size_t nreach)
{
    for (size_t i = 0; i < nreach; i++)
        if (is_4(reach[i].bytes, reach[i].prefix) == four &&
            bits_equal(reach[i].bytes, bytes, reach[i].prefix))
            return true;
    return false;
}

/* What a listed NAT64 prefix leads to is judged too, or it would lead to everything. */
static const char *refused_behind_nat64(const uint8_t bytes[static 16])
{
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    uint8_t inner[16];
    if (memcmp(bytes, nat64, sizeof nat64) != 0)
        return NULL;
    memcpy(inner, mapped, sizeof mapped);
    memcpy(inner + 12, bytes + 12, 4);
    return find_range4(inner) ? "NAT64 of an address that is not public" : NULL;
}

/* False: no internet address. */
static bool to_bytes(const struct sockaddr *sa, uint8_t bytes[static 16], bool *four)
{
    *four = sa->sa_family == AF_INET;
    if (*four) {
        memcpy(bytes, mapped, sizeof mapped);
        memcpy(bytes + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6)
        memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    return sa->sa_family == AF_INET6;
}

bool addr_named(const struct sockaddr *sa, const struct addr_net *reach, size_t nreach)
{
    uint8_t bytes[16];
    bool four;
    if (!to_bytes(sa, bytes, &four))
        return false;
    for (size_t i = 0; i < nreach; i++)
        if (reach[i].prefix == 128 && memcmp(reach[i].bytes, bytes, sizeof bytes) == 0)
            return true;
    return false;
}

const char *addr_refused(const struct sockaddr *sa, const struct addr_net *reach, size_t nreach)
{
    uint8_t bytes[16];
    bool four;
    if (!to_bytes(sa, bytes, &four))
        return "not an internet address";
    const struct range *r = four ? find_range4(bytes) : find_range6(bytes);
    if (!r)
        return NULL;
    if (r->never || !listed(bytes, four, reach, nreach))
        return r->why;
    return four ? NULL : refused_behind_nat64(bytes);
}
