/* Egress rules and host names from any bytes: one name has one form, which no address parser takes; a rule
 * that is read is written back the same; and what it allows is what a plain comparison says. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "proto/egress.h"
#include "tests/fuzz/fuzz.h"

static void try_name(const uint8_t *bytes, size_t len)
{
    char name[DNS_NAME_SIZE], again[DNS_NAME_SIZE];
    struct in_addr in;
    struct in6_addr in6;
    if (!dns_name_canon(bytes, len, name))
        return;
    MUST(strlen(name) == len || (strlen(name) == len - 1 && bytes[len - 1] == '.'));
    MUST(dns_name_canon(name, strlen(name), again) && strcmp(name, again) == 0);
    MUST(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name));
    MUST(!strstr(name, "..") && name[0] != '.' && strchr(name, '.'));
    MUST(inet_aton(name, &in) == 0 && inet_pton(AF_INET6, name, &in6) == 0);
}

static void write_rule(const struct egress_rule *r, char out[static 2 * DNS_NAME_SIZE])
{
    char port[8] = "";
    if (r->port)
        snprintf(port, sizeof port, ":%u", r->port);
    if (r->kind == EGRESS_PRESET)
        snprintf(out, 2 * DNS_NAME_SIZE, "%s", preset_names[r->preset]);
    else
        snprintf(out, 2 * DNS_NAME_SIZE, "%s%s%s", r->kind == EGRESS_SUFFIX ? "*." : "", r->name,
                 port);
}

/* Does the rule's text allow this name at this port? */
static bool oracle(const char *rule, const char *name, unsigned port)
{
    char host[2 * DNS_NAME_SIZE];
    unsigned at = 0;
    snprintf(host, sizeof host, "%s", rule);
    char *colon = strchr(host, ':');
    if (colon) {
        *colon = 0;
        at = (unsigned)atoi(colon + 1);
    }
    if (at ? at != port : port != 80 && port != 443)
        return false;
    if (host[0] != '*')
        return strchr(host, '.') && strcmp(host, name) == 0;
    const char *tail = strstr(name, host + 1); /* ".suffix", each place where it stands */
    while (tail && strcmp(tail, host + 1) != 0)
        tail = strstr(tail + 1, host + 1);
    return tail && tail > name;
}

static void try_rule(const char *text, const char *other)
{
    struct err err = ERR_INIT;
    struct egress_rule r;
    char again[2 * DNS_NAME_SIZE], name[DNS_NAME_SIZE];
    static const unsigned ports[] = {80, 443, 22, 8443, 1};
    if (egress_parse(text, &r, &err) < 0) {
        MUST(err.code == ERR_USAGE && err.msg[0]);
        return;
    }
    write_rule(&r, again);
    MUST(strcmp(again, text) == 0);
    if (!dns_name_canon(other, strlen(other), name))
        snprintf(name, sizeof name, "a.%.200s", r.name);
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        const struct egress_rule *m = egress_match(&r, 1, name, (uint16_t)ports[i]);
        MUST((m != NULL) == oracle(text, name, ports[i]));
        MUST(!m || egress_knows(&r, 1, name));
        MUST(r.kind != EGRESS_EXACT || egress_match(&r, 1, r.name, r.port ? r.port : 443));
    }
}

/* All lines as one policy's rules. */
static void try_list(char *text)
{
    static struct egress_rule rules[EGRESS_RULES_MAX];
    struct err err = ERR_INIT;
    struct strv list = {0};
    uint16_t ports[EGRESS_PORTS_MAX];
    size_t n = 0;
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        MUST(strv_add(&list, line) == 0);
    if (egress_parse_all(&list, rules, &n, &err) == 0) {
        MUST(n == list.n);
        size_t count = egress_ports(rules, n, ports);
        MUST(count >= 2 && count <= EGRESS_PORTS_MAX);
        for (size_t i = 1; i < count; i++)
            MUST(ports[i - 1] < ports[i]);
    } else {
        MUST(err.code == ERR_USAGE && n == 0);
    }
    strv_done(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    try_name(bytes, len);
    if (memchr(bytes, 0, len))
        return 0;
    char *text = malloc(len + 1), *line;
    MUST(text);
    memcpy(text, bytes, len);
    text[len] = 0;
    line = strchr(text, '\n');
    if (line)
        *line = 0;
    try_rule(text, line ? line + 1 : "");
    if (line)
        *line = '\n';
    try_list(text);
    free(text);
    return 0;
}
