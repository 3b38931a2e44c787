/* Host names and egress rules: the grammar, matching, and what a person is told. */
#include "proto/egress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MAX 63

const char *const preset_names[PRESET_COUNT + 1] = {
    [PRESET_NPM] = "npm",     [PRESET_APT] = "apt", [PRESET_PIP] = "pip",
    [PRESET_CARGO] = "cargo", [PRESET_GO] = "go",   [PRESET_GITHUB] = "github",
    [PRESET_COUNT] = NULL,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One label, n >= 1 bytes of a canonical name. `strict`: no '_'. */
static bool label_valid(const char *s, size_t n, bool strict)
{
    if (n < 1 || n > LABEL_MAX || s[0] == '-' || s[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        bool letter = (s[i] >= 'a' && s[i] <= 'z') || is_digit(s[i]) || s[i] == '-';
        if (!letter && (strict || s[i] != '_'))
            return false;
    }
    return true;
}

/* An address parser takes "1.2.3.4", "0x7f.1" and their like by the form of the last label. */
static bool label_numeric(const char *s, size_t n)
{
    if (n >= 2 && s[0] == '0' && s[1] == 'x')
        return true;
    for (size_t i = 0; i < n; i++)
        if (!is_digit(s[i]))
            return false;
    return true;
}

static bool labels_valid(const char *name, size_t n)
{
    size_t dots = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        dots += name[i] == '.';
    if (dots == 0)
        return false;
    for (size_t label = 0; label <= dots; label++) {
        const char *dot = memchr(name + at, '.', n - at);
        size_t len = dot ? (size_t)(dot - name) - at : n - at;
        if (!label_valid(name + at, len, label + 1 >= dots))
            return false;
        if (label == dots && label_numeric(name + at, len))
            return false;
        at += len + 1;
    }
    return true;
}

bool dns_name_canon(const void *bytes, size_t n, char out[static DNS_NAME_SIZE])
{
    const char *s = bytes;
    if (n > 0 && s[n - 1] == '.')
        n--;
    if (n == 0 || n > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] - 'A' + 'a') : s[i];
    out[n] = 0;
    return labels_valid(out, n);
}

/* ":PORT" at the end; 0 when there is none. -1: malformed. */
static int take_port(const char *text, size_t *n, uint16_t *ret)
{
    const char *colon = memchr(text, ':', *n);
    unsigned long port = 0;
    *ret = 0;
    if (!colon)
        return 0;
    size_t digits = *n - (size_t)(colon - text) - 1;
    if (digits < 1 || digits > 5 || colon[1] == '0')
        return -1;
    for (size_t i = 1; i <= digits; i++) {
        if (!is_digit(colon[i]))
            return -1;
        port = port * 10 + (unsigned long)(colon[i] - '0');
    }
    if (port > 65535)
        return -1;
    *ret = (uint16_t)port;
    *n = (size_t)(colon - text);
    return 0;
}

/* The ports of the gate's own doors (runner/gate.h), where no second listener can be. */
static bool port_reserved(uint16_t port)
{
    return port == 53 || port == 3128 || port == 4100;
}

int egress_parse(const char *text, struct egress_rule *out, struct err *err)
{
    size_t n = strlen(text);
    *out = (struct egress_rule){.kind = EGRESS_EXACT};
    for (int i = 0; i < PRESET_COUNT; i++) {
        if (strcmp(text, preset_names[i]) == 0) {
            out->kind = EGRESS_PRESET;
            out->preset = (enum egress_preset)i;
            return 0;
        }
    }
    if (take_port(text, &n, &out->port) < 0)
        return err_set(err, ERR_USAGE, "egress: '%.64s': a port is 1 to 65535, as in name:8443",
                       text);
    if (port_reserved(out->port))
        return err_set(err, ERR_USAGE,
                       "egress: '%.64s': in a jail the ports 53, 3128 and 4100 are the gate's own",
                       text);
    if (n > 2 && text[0] == '*' && text[1] == '.') {
        out->kind = EGRESS_SUFFIX;
        text += 2;
        n -= 2;
    }
    if (!dns_name_canon(text, n, out->name) || strlen(out->name) != n ||
        memcmp(out->name, text, n) != 0)
        return err_set(err, ERR_USAGE,
                       "egress: '%.64s' is not a host name: write example.org, *.example.org, "
                       "example.org:8443, or a preset (npm, apt, pip, cargo, go, github), in lower "
                       "case and other scripts as xn--; addresses cannot be named",
                       text);
    return 0;
}

static bool same_rule(const struct egress_rule *a, const struct egress_rule *b)
{
    return a->kind == b->kind && a->port == b->port && a->preset == b->preset &&
           strcmp(a->name, b->name) == 0;
}

/* Adds to a sorted set. False when it is full. */
static bool add_port(uint16_t ports[static EGRESS_PORTS_MAX], size_t *n, uint16_t port)
{
    size_t at = 0;
    while (at < *n && ports[at] < port)
        at++;
    if (at < *n && ports[at] == port)
        return true;
    if (*n == EGRESS_PORTS_MAX)
        return false;
    memmove(&ports[at + 1], &ports[at], (*n - at) * sizeof *ports);
    ports[at] = port;
    (*n)++;
    return true;
}

static bool collect_ports(const struct egress_rule *rules, size_t n,
                          uint16_t out[static EGRESS_PORTS_MAX], size_t *ret_n)
{
    bool fits = true;
    *ret_n = 0;
    add_port(out, ret_n, 80);
    add_port(out, ret_n, 443);
    for (size_t i = 0; i < n; i++)
        if (rules[i].kind != EGRESS_PRESET && rules[i].port != 0)
            fits = add_port(out, ret_n, rules[i].port) && fits;
    return fits;
}

size_t egress_ports(const struct egress_rule *rules, size_t n,
                    uint16_t out[static EGRESS_PORTS_MAX])
{
    size_t count;
    collect_ports(rules, n, out, &count);
    return count;
}

int egress_parse_all(const struct strv *texts, struct egress_rule rules[static EGRESS_RULES_MAX],
                     size_t *ret_n, struct err *err)
{
    uint16_t ports[EGRESS_PORTS_MAX];
    size_t nports;
    *ret_n = 0;
    if (texts->n > EGRESS_RULES_MAX)
        return err_set(err, ERR_USAGE, "egress: %zu rules, at most %d are possible", texts->n,
                       EGRESS_RULES_MAX);
    for (size_t i = 0; i < texts->n; i++) {
        int rc = egress_parse(texts->v[i], &rules[i], err);
        if (rc < 0)
            return rc;
        for (size_t j = 0; j < i; j++)
            if (same_rule(&rules[i], &rules[j]))
                return err_set(err, ERR_USAGE, "egress: '%.64s' is named twice", texts->v[i]);
    }
    if (!collect_ports(rules, texts->n, ports, &nports))
        return err_set(err, ERR_USAGE, "egress: over %d different ports", EGRESS_PORTS_MAX);
    *ret_n = texts->n;
    return 0;
}

static bool name_matches(const struct egress_rule *r, const char *name)
{
    if (r->kind == EGRESS_EXACT)
        return strcmp(r->name, name) == 0;
    if (r->kind != EGRESS_SUFFIX)
        return false;
    size_t n = strlen(name), suffix = strlen(r->name);
    return n > suffix + 1 && name[n - suffix - 1] == '.' &&
           memcmp(name + n - suffix, r->name, suffix) == 0;
}

const struct egress_rule *egress_match(const struct egress_rule *rules, size_t n, const char *name,
                                       uint16_t port)
{
    for (size_t i = 0; i < n; i++) {
        bool at_port = rules[i].port ? rules[i].port == port : port == 80 || port == 443;
        if (at_port && name_matches(&rules[i], name))
            return &rules[i];
    }
    return NULL;
}

bool egress_knows(const struct egress_rule *rules, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (name_matches(&rules[i], name))
            return true;
    return false;
}

int egress_flag(const char *name, uint16_t port, struct buf *to)
{
    if (port == 0 || port == 80 || port == 443)
        return buf_addf(to, "--egress %s", name);
    return buf_addf(to, "--egress %s:%u", name, port);
}
