/* Request heads from any bytes: no byte behind the head is needed or used; what is refused stays refused
 * with more bytes; the host is a name in its one form; and what was understood, written out anew by the
 * rules, is understood the same. The last also as a judge apart from it counts header lines. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/buf.h"
#include "common/http_head.h"
#include "tests/fuzz/fuzz.h"

static int parse(const uint8_t *bytes, size_t len, struct http_head *h, size_t *used)
{
    const char *why = NULL;
    int rc = http_head_parse(bytes, len, h, used, &why);
    MUST(rc >= -1 && rc <= 1);
    MUST(rc != -1 || (why && why[0] && strlen(why) < 120));
    return rc;
}

static void within(struct http_span s, const uint8_t *bytes, size_t used)
{
    const uint8_t *p = (const uint8_t *)s.p;
    MUST(p >= bytes && p + s.n <= bytes + used);
}

static bool is(struct http_span s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

static bool same(struct http_span a, struct http_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Lines that begin with "name:", whatever their case, by a reader that knows nothing else. */
static unsigned lines(const uint8_t *bytes, size_t used, const char *name)
{
    unsigned found = 0;
    size_t n = strlen(name);
    for (size_t i = 1; i + n < used; i++)
        found += bytes[i - 1] == '\n' && strncasecmp((const char *)bytes + i, name, n) == 0 &&
                 bytes[i + n] == ':';
    return found;
}

static void judge(const struct http_head *h, const uint8_t *bytes, size_t used)
{
    char again[DNS_NAME_SIZE];
    MUST(used >= 4 && memcmp(bytes + used - 4, "\r\n\r\n", 4) == 0);
    MUST(dns_name_canon(h->host, strlen(h->host), again) && strcmp(again, h->host) == 0);
    MUST(h->port > 0 && (h->minor == 0 || h->minor == 1) && h->nheaders <= HTTP_HEADERS_MAX);
    within(h->method, bytes, used);
    within(h->target, bytes, used);
    MUST(h->connect == is(h->method, "CONNECT"));
    MUST(h->connect || (h->path.n > 0 && h->path.p[0] == '/'));
    for (size_t i = 0; i < h->nheaders; i++) {
        within(h->headers[i].name, bytes, used);
        within(h->headers[i].value, bytes, used);
    }
    unsigned length = lines(bytes, used, "content-length");
    unsigned coding = lines(bytes, used, "transfer-encoding");
    MUST(length + coding <= 1 && lines(bytes, used, "host") <= 1);
    MUST((h->body == HTTP_BODY_LENGTH) == (length == 1));
    MUST((h->body == HTTP_BODY_CHUNKED) == (coding == 1));
    MUST(!h->connect || (h->body != HTTP_BODY_CHUNKED && h->length == 0));
    for (size_t i = 0; i < used; i++)
        MUST(bytes[i] >= 0x20 || bytes[i] == '\t' || bytes[i] == '\r' || bytes[i] == '\n');
}

static void rewrite(const struct http_head *h, struct buf *to)
{
    buf_add(to, h->method.p, h->method.n);
    if (h->connect)
        buf_addf(to, " %s:%u", h->host, h->port);
    else if (h->origin)
        buf_addf(to, " %.*s", (int)h->path.n, h->path.p);
    else
        buf_addf(to, " http://%s:%u%.*s", h->host, h->port, (int)h->path.n, h->path.p);
    buf_addf(to, " HTTP/1.%d\r\nHost: %s:%u\r\n", h->minor, h->host, h->port);
    for (size_t i = 0; i < h->nheaders; i++) {
        const struct http_header *hd = &h->headers[i];
        if (is(hd->name, "Host"))
            continue;
        buf_add(to, hd->name.p, hd->name.n);
        buf_addf(to, ": %.*s\r\n", (int)hd->value.n, hd->value.p);
    }
    buf_adds(to, "\r\n");
    MUST(!to->failed);
}

/* A server of our own takes heads of its own names alone, and needs as many bytes as the gate to know. */
static void at_door(const uint8_t *bytes, size_t len)
{
    static struct http_head h, gate;
    size_t used = 0, used_gate = 0;
    const char *why = "";
    int rc = http_head_parse_door(bytes, len, &h, &used, &why);
    int other = parse(bytes, len, &gate, &used_gate);
    MUST((rc == 0) == (other == 0));
    if (rc < 0)
        MUST(why[0]);
    if (rc <= 0)
        return;
    MUST(h.origin && !h.connect && h.path.n > 0 && h.path.p[0] == '/');
    MUST(strcmp(h.host, "localhost") == 0 && used <= len);
    MUST(other != 1 || used == used_gate);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct http_head h, again;
    size_t used = 0, used_again = 0;
    int rc = parse(bytes, len, &h, &used);
    at_door(bytes, len);
    size_t cut = len > 0 ? bytes[0] * (len - 1) / 255 : 0;
    int early = parse(bytes, cut, &again, &used_again);
    MUST(early == 0 || early == rc);
    if (rc <= 0)
        return 0;
    MUST(used <= len && (cut >= used) == (early == 1));
    judge(&h, bytes, used);
    MUST(parse(bytes, used, &again, &used_again) == 1 && used_again == used);
    MUST(parse(bytes, used - 1, &again, &used_again) == 0);

    struct buf text;
    buf_init(&text, 4 * HTTP_HEAD_BYTES);
    rewrite(&h, &text);
    if (text.len <= HTTP_HEAD_BYTES &&
        h.nheaders < HTTP_HEADERS_MAX) { /* it may have grown by a Host */
        MUST(parse(text.data, text.len, &again, &used) == 1 && used == text.len);
        MUST(strcmp(again.host, h.host) == 0 && again.port == h.port && again.minor == h.minor);
        MUST(again.connect == h.connect && again.origin == h.origin);
        MUST(again.body == h.body && again.length == h.length);
        MUST(same(again.method, h.method) && same(again.path, h.path));
    }
    buf_done(&text);
    return 0;
}
