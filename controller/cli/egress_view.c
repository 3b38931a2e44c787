/* The gate's account, as a table, as a few lines, as JSON. The result was verified and is well-formed;
 * what is in it is still a host's word about an agent's wishes.
 */
#include "controller/cli/egress_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SUMMARY_NAMES 5

static const struct egress_entry *entry(const struct result *r, size_t i)
{
    return (const struct egress_entry *)r->egress.items + i;
}

bool egress_allow(const struct egress_entry *e, struct buf *b)
{
    char name[DNS_NAME_SIZE];

    if (e->verdict != EGRESS_DENIED || !dns_name_canon(e->name, strlen(e->name), name) ||
        strcmp(name, e->name) != 0)
        return false;
    return egress_flag(name, (uint16_t)e->port, b) == 0;
}

static void bytes(uint64_t n, struct buf *b)
{
    limit_format(LIMIT_SENT, n, b);
}

static void bytes_text(uint64_t n, char out[static 24])
{
    struct buf b;

    buf_init(&b, 24);
    bytes(n, &b);
    snprintf(out, 24, "%s", buf_str(&b));
    buf_done(&b);
}

static void place(const struct egress_entry *e, struct buf *b)
{
    cli_text(b, e->name);
    if (e->port)
        buf_addf(b, ":%d", e->port);
}

/* ---- table ---- */

static void entry_line(const struct egress_entry *e, struct buf *b)
{
    char sent[24], received[24];
    size_t at, width;

    bytes_text(e->sent, sent);
    bytes_text(e->received, received);
    buf_addf(b, "%-8s ", egress_verdict_names[e->verdict]);
    at = b->len;
    place(e, b);
    width = b->len - at;
    buf_addf(b, "%*s %6" PRIu64 " %10s %10s", width < 40 ? (int)(40 - width) : 0, "", e->count,
             sent, received);
    if (e->why[0]) {
        buf_adds(b, "  ");
        cli_text(b, e->why);
    }
    buf_addc(b, '\n');
}

static void allow_line(const struct egress_entry *e, struct buf *b)
{
    size_t before = b->len;

    buf_adds(b, "           allow it: ");
    if (egress_allow(e, b))
        buf_addc(b, '\n');
    else if (e->verdict == EGRESS_DENIED) {
        b->len = before;
        buf_adds(b, "           no rule can allow it: it is not a host's name\n");
    } else {
        b->len = before;
    }
}

static void totals(const struct result *r, struct buf *b)
{
    buf_addf(b, "%" PRIu64 " connection%s, ", r->conns, r->conns == 1 ? "" : "s");
    bytes(r->sent, b);
    buf_adds(b, " out, ");
    bytes(r->received, b);
    buf_addf(b, " in; %" PRIu64 " question%s for names", r->dns, r->dns == 1 ? "" : "s");
    if (r->egress_more)
        buf_addf(b, "; %" PRIu64 " more in no line", r->egress_more);
    buf_addc(b, '\n');
}

static void hit_lines(const struct result *r, const char *before, const char *said, struct buf *b)
{
    const struct limit_hit *hits = r->hits.items;
    struct buf words;

    buf_init(&words, 512);
    for (size_t i = 0; i < r->hits.n; i++) {
        buf_clear(&words);
        limit_hit_words(&hits[i], &r->policy, &words);
        if (!strstr(said, buf_str(&words)))
            buf_addf(b, "%s%s\n", before, buf_str(&words));
    }
    buf_done(&words);
}

void egress_table(const struct result *r, struct buf *b)
{
    if (r->egress.n > 0)
        buf_addf(b, "%-8s %-40s %6s %10s %10s  %s\n", "VERDICT", "NAME:PORT", "COUNT", "OUT", "IN",
                 "WHY");
    for (size_t i = 0; i < r->egress.n; i++) {
        entry_line(entry(r, i), b);
        allow_line(entry(r, i), b);
    }
    buf_adds(b, "total    ");
    totals(r, b);
    hit_lines(r, "limit    ", "", b);
}

/* ---- summary ---- */

void egress_summary(const struct result *r, const char *id, const char *said, struct buf *b)
{
    size_t denied = 0;

    hit_lines(r, "  LIMIT     ", said, b);
    if (r->egress.n == 0 && r->conns == 0 && r->dns == 0)
        return;
    buf_adds(b, "  network   ");
    totals(r, b);
    for (size_t i = 0; i < r->egress.n; i++) {
        const struct egress_entry *e = entry(r, i);

        if (e->verdict == EGRESS_ALLOWED)
            continue;
        if (++denied > SUMMARY_NAMES)
            continue;
        buf_addf(b, "  %-9s ", egress_verdict_names[e->verdict]);
        place(e, b);
        if (e->count > 1)
            buf_addf(b, ", %" PRIu64 " times", e->count);
        buf_adds(b, e->why[0] ? ": " : "");
        cli_text(b, e->why);
        if (e->verdict == EGRESS_DENIED) {
            size_t before = b->len;
            buf_adds(b, "; allow it: ");
            if (!egress_allow(e, b))
                b->len = before;
        }
        buf_addc(b, '\n');
    }
    if (denied > SUMMARY_NAMES)
        buf_addf(b, "            and %zu more: creel show %s --egress\n", denied - SUMMARY_NAMES,
                 id);
}

/* ---- JSON ---- */

static void entry_json(const struct egress_entry *e, struct buf *b)
{
    struct buf allow;

    buf_init(&allow, 512);
    emit_open(b, NULL, '{');
    emit_text(b, "verdict", egress_verdict_names[e->verdict]);
    emit_text(b, "name", e->name);
    emit_int(b, "port", e->port);
    emit_uint(b, "count", e->count);
    emit_uint(b, "sent", e->sent);
    emit_uint(b, "received", e->received);
    emit_text(b, "why", e->why);
    if (egress_allow(e, &allow))
        emit_text(b, "allow", buf_str(&allow));
    emit_close(b, '}');
    buf_done(&allow);
}

static void hit_json(const struct limit_hit *h, const struct policy *p, struct buf *b)
{
    struct buf words;

    buf_init(&words, 512);
    limit_hit_words(h, p, &words);
    emit_open(b, NULL, '{');
    emit_text(b, "limit", limit_names[h->limit]);
    emit_uint(b, "value", p->limits[h->limit]);
    emit_uint(b, "peak", h->peak);
    emit_uint(b, "count", h->count);
    emit_text(b, "words", buf_str(&words));
    emit_close(b, '}');
    buf_done(&words);
}

void egress_json(const struct result *r, struct buf *b)
{
    const struct limit_hit *hits = r->hits.items;

    emit_open(b, "egress", '{');
    emit_uint(b, "conns", r->conns);
    emit_uint(b, "sent", r->sent);
    emit_uint(b, "received", r->received);
    emit_uint(b, "dns", r->dns);
    emit_open(b, "entries", '[');
    for (size_t i = 0; i < r->egress.n; i++)
        entry_json(entry(r, i), b);
    emit_close(b, ']');
    emit_uint(b, "more", r->egress_more);
    emit_close(b, '}');
    emit_open(b, "hits", '[');
    for (size_t i = 0; i < r->hits.n; i++)
        hit_json(&hits[i], &r->policy, b);
    emit_close(b, ']');
}
