/* One reader of HTTP request heads that takes nothing which another reader could take otherwise. */
#include "common/http_head.h"

#include <string.h>
#include <strings.h>

#define METHOD_MAX 32

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* tchar of RFC 9110 5.6.2. */
static bool is_token(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_span_is(struct http_span s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -1;
}

/* The head's bytes up to its empty line: 1 and *ret_n (the empty line included), 0 when more are
 * needed. What no head may hold anywhere is refused as soon as it is seen. */
static int find_end(const char *p, size_t n, size_t *ret_n, const char **ret_why)
{
    size_t line = 0;
    for (size_t i = 0; i < n && i < HTTP_HEAD_BYTES; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '\n' && (i == 0 || p[i - 1] != '\r'))
            return refuse(ret_why, "a line ends in LF without CR");
        if (i > 0 && p[i - 1] == '\r' && c != '\n')
            return refuse(ret_why, "CR without LF");
        if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
            return refuse(ret_why, "a control byte");
        if (c != '\n')
            continue;
        if (i - line == 1) {
            *ret_n = i + 1;
            return line > 0 ? 1 : refuse(ret_why, "an empty line before the request");
        }
        line = i + 1;
    }
    return n >= HTTP_HEAD_BYTES ? refuse(ret_why, "the head is over 32 KiB") : 0;
}

/* The next line of a head that find_end passed, without its CRLF. */
static struct http_span take_line(const char **at)
{
    const char *end = strchr(*at, '\r');
    struct http_span line = {*at, (size_t)(end - *at)};
    *at = end + 2;
    return line;
}

static int parse_request_line(struct http_span line, struct http_head *out, const char **ret_why)
{
    const char *end = line.p + line.n, *sp = memchr(line.p, ' ', line.n);
    const char *sp2 = sp ? memchr(sp + 1, ' ', (size_t)(end - sp - 1)) : NULL;
    if (!sp2)
        return refuse(ret_why, "the request line is not METHOD TARGET VERSION");
    out->method = (struct http_span){line.p, (size_t)(sp - line.p)};
    out->target = (struct http_span){sp + 1, (size_t)(sp2 - sp - 1)};
    if (out->method.n < 1 || out->method.n > METHOD_MAX)
        return refuse(ret_why, "a method of no or too many letters");
    for (size_t i = 0; i < out->method.n; i++)
        if ((line.p[i] < 'A' || line.p[i] > 'Z') && line.p[i] != '-')
            return refuse(ret_why, "a method that is not in capital letters");
    if (end - sp2 != 9 || memcmp(sp2, " HTTP/1.", 8) != 0 || (end[-1] != '0' && end[-1] != '1'))
        return refuse(ret_why, "a version other than HTTP/1.0 and HTTP/1.1");
    out->minor = end[-1] - '0';
    for (size_t i = 0; i < out->target.n; i++) {
        unsigned char c = (unsigned char)out->target.p[i];
        if (c <= 0x20 || c >= 0x7f || c == '#' || c == '\\')
            return refuse(ret_why, "a byte in the target that must be percent-encoded");
    }
    return 0;
}

/* ":PORT" after a host; 0 when there is none. */
static int parse_port(struct http_span s, uint16_t *ret)
{
    unsigned long port = 0;
    *ret = 0;
    if (s.n == 0)
        return 0;
    if (s.n < 2 || s.n > 6 || s.p[0] != ':' || s.p[1] == '0')
        return -1;
    for (size_t i = 1; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return -1;
        port = port * 10 + (unsigned long)(s.p[i] - '0');
    }
    if (port > 65535)
        return -1;
    *ret = (uint16_t)port;
    return 0;
}

static int parse_authority(struct http_span s, char host[static DNS_NAME_SIZE], uint16_t *ret_port,
                           const char **ret_why)
{
    if (memchr(s.p, '@', s.n))
        return refuse(ret_why, "a user name before the host");
    const char *colon = memchr(s.p, ':', s.n);
    size_t n = colon ? (size_t)(colon - s.p) : s.n;
    if (!dns_name_canon(s.p, n, host))
        return refuse(ret_why, "not a host name (addresses are not taken)");
    if (parse_port((struct http_span){s.p + n, s.n - n}, ret_port) < 0)
        return refuse(ret_why, "not a port of 1 to 65535");
    return 0;
}

/* http://AUTHORITY[PATH][?QUERY] */
static int parse_absolute(struct http_head *out, const char **ret_why)
{
    static const char scheme[] = "http://";
    struct http_span t = out->target, authority;
    if (t.n < sizeof scheme - 1 || strncasecmp(t.p, scheme, sizeof scheme - 1) != 0)
        return refuse(ret_why, "a target that is not http://HOST/PATH (https goes by CONNECT)");
    authority.p = t.p + sizeof scheme - 1;
    size_t rest = t.n - (sizeof scheme - 1), n = 0;
    while (n < rest && authority.p[n] != '/' && authority.p[n] != '?')
        n++;
    authority.n = n;
    out->path = (struct http_span){authority.p + n, rest - n};
    if (n < rest && authority.p[n] == '?')
        return refuse(ret_why, "a query without a path before it");
    if (n == rest)
        out->path = (struct http_span){"/", 1};
    if (parse_authority(authority, out->host, &out->port, ret_why) < 0)
        return -1;
    if (out->port == 0)
        out->port = 80;
    return 0;
}

static int parse_target(struct http_head *out, const char **ret_why)
{
    out->connect = out->method.n == 7 && memcmp(out->method.p, "CONNECT", 7) == 0;
    if (out->connect) {
        if (parse_authority(out->target, out->host, &out->port, ret_why) < 0)
            return -1;
        return out->port ? 0 : refuse(ret_why, "CONNECT without a port");
    }
    out->origin = out->target.n > 0 && out->target.p[0] == '/';
    if (!out->origin)
        return parse_absolute(out, ret_why);
    out->path = out->target;
    return 0;
}

static int parse_header(struct http_span line, struct http_head *out, const char **ret_why)
{
    struct http_header *h = &out->headers[out->nheaders];
    const char *colon = memchr(line.p, ':', line.n), *end = line.p + line.n;
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return refuse(ret_why, "a header line that begins with a blank");
    if (!colon || colon == line.p)
        return refuse(ret_why, "a header line without a name");
    if (out->nheaders == HTTP_HEADERS_MAX)
        return refuse(ret_why, "over 128 header lines");
    h->name = (struct http_span){line.p, (size_t)(colon - line.p)};
    for (size_t i = 0; i < h->name.n; i++)
        if (!is_token(line.p[i]))
            return refuse(ret_why, "a header name with a blank or another byte in it that no name "
                                   "has");
    for (colon++; colon < end && (*colon == ' ' || *colon == '\t');)
        colon++;
    while (end > colon && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    h->value = (struct http_span){colon, (size_t)(end - colon)};
    out->nheaders++;
    return 0;
}

/* The one header of this name, or NULL. -1 when there are several. */
static int one_header(const struct http_head *h, const char *name, const struct http_header **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < h->nheaders; i++) {
        if (!http_span_is(h->headers[i].name, name))
            continue;
        if (*ret)
            return -1;
        *ret = &h->headers[i];
    }
    return 0;
}

/* A gateway behind us may read '_' as '-' (RFC 3875 4.1.18 makes both the same variable). */
static bool has_underscored(const struct http_head *h)
{
    for (size_t i = 0; i < h->nheaders; i++) {
        struct http_span s = h->headers[i].name;
        if (http_span_is(s, "Content_Length") || http_span_is(s, "Transfer_Encoding"))
            return true;
    }
    return false;
}

static int parse_length(struct http_span s, uint64_t *ret)
{
    *ret = 0;
    if (s.n < 1 || s.n > 15 || (s.n > 1 && s.p[0] == '0'))
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return -1;
        *ret = *ret * 10 + (uint64_t)(s.p[i] - '0');
    }
    return 0;
}

/* RFC 9112 6.3, and of what it lets a recipient choose always the refusal. */
static int judge_body(struct http_head *out, const char **ret_why)
{
    const struct http_header *length, *coding;
    if (one_header(out, "Content-Length", &length) < 0)
        return refuse(ret_why, "two Content-Length headers");
    if (one_header(out, "Transfer-Encoding", &coding) < 0)
        return refuse(ret_why, "two Transfer-Encoding headers");
    if (has_underscored(out))
        return refuse(ret_why, "Content_Length or Transfer_Encoding");
    if (length && coding)
        return refuse(ret_why, "Content-Length and Transfer-Encoding together");
    if (length && parse_length(length->value, &out->length) < 0)
        return refuse(ret_why, "a Content-Length that is not one plain number");
    if (coding && out->minor == 0)
        return refuse(ret_why, "Transfer-Encoding in HTTP/1.0");
    if (coding && !http_span_is(coding->value, "chunked"))
        return refuse(ret_why, "a Transfer-Encoding other than chunked");
    if (out->connect && (coding || out->length > 0))
        return refuse(ret_why, "CONNECT with a body");
    if (length)
        out->body = HTTP_BODY_LENGTH;
    if (coding)
        out->body = HTTP_BODY_CHUNKED;
    return 0;
}

/* Does a Connection header name one of the headers that say where a request goes and ends? A reader
 * that drops what Connection names (RFC 9110 7.6.1) would see another request than we do. */
static bool connection_drops(struct http_span value)
{
    static const char *const kept[] = {"Host", "Content-Length", "Transfer-Encoding"};
    for (size_t at = 0, n; at < value.n; at += n + 1) {
        const char *comma = memchr(value.p + at, ',', value.n - at);
        n = comma ? (size_t)(comma - value.p) - at : value.n - at;
        struct http_span token = {value.p + at, n};
        for (; token.n > 0 && strchr(" \t", token.p[0]); token.p++)
            token.n--;
        while (token.n > 0 && strchr(" \t", token.p[token.n - 1]))
            token.n--;
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
            if (http_span_is(token, kept[i]))
                return true;
    }
    return false;
}

static int judge_hops(const struct http_head *out, const char **ret_why)
{
    for (size_t i = 0; i < out->nheaders; i++) {
        if (http_span_is(out->headers[i].name, "Connection") &&
            connection_drops(out->headers[i].value))
            return refuse(ret_why, "a Connection header that names what must be kept");
    }
    return 0;
}

static int judge_host(struct http_head *out, const char **ret_why)
{
    const struct http_header *h;
    char host[DNS_NAME_SIZE];
    uint16_t port;
    if (one_header(out, "Host", &h) < 0)
        return refuse(ret_why, "two Host headers");
    if (!h)
        return out->connect || (!out->origin && out->minor == 0)
                   ? 0
                   : refuse(ret_why, "no Host header");
    if (parse_authority(h->value, host, &port, ret_why) < 0)
        return refuse(ret_why, "a Host header that is not HOST or HOST:PORT");
    if (out->origin) {
        memcpy(out->host, host, sizeof host);
        out->port = port ? port : 80;
        return 0;
    }
    /* A client leaves out its scheme's port, and with CONNECT the scheme is not ours to know. */
    bool same_port =
        port ? port == out->port : out->port == 80 || (out->connect && out->port == 443);
    if (strcmp(host, out->host) != 0 || !same_port)
        return refuse(ret_why, "a Host header that names another host than the target");
    return 0;
}

/* The names that this machine has for itself, with or without a port. */
static int judge_own_host(struct http_head *out, const char **ret_why)
{
    static const char *const own[] = {"127.0.0.1", "localhost", "[::1]"};
    const struct http_header *h;
    if (!out->origin)
        return refuse(ret_why, "a target that is not a path: this is no proxy");
    if (one_header(out, "Host", &h) < 0)
        return refuse(ret_why, "two Host headers");
    if (!h)
        return refuse(ret_why, "no Host header");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        struct http_span name = {h->value.p, strlen(own[i])}, port;
        if (h->value.n < name.n || !http_span_is(name, own[i]))
            continue;
        port = (struct http_span){name.p + name.n, h->value.n - name.n};
        if (parse_port(port, &out->port) < 0)
            break;
        memcpy(out->host, "localhost", sizeof "localhost");
        return 0;
    }
    return refuse(ret_why, "a Host header that is not 127.0.0.1 or localhost");
}

static int parse(const void *bytes, size_t n, bool door, struct http_head *out, size_t *ret_used,
                 const char **ret_why)
{
    const char *at = bytes, *end;
    size_t used;
    int rc = find_end(at, n, &used, ret_why);
    if (rc <= 0)
        return rc;
    end = at + used - 2;
    *out = (struct http_head){0};
    if (parse_request_line(take_line(&at), out, ret_why) < 0 || parse_target(out, ret_why) < 0)
        return -1;
    while (at < end)
        if (parse_header(take_line(&at), out, ret_why) < 0)
            return -1;
    if (judge_body(out, ret_why) < 0 || judge_hops(out, ret_why) < 0 ||
        (door ? judge_own_host(out, ret_why) : judge_host(out, ret_why)) < 0)
        return -1;
    *ret_used = used;
    return 1;
}

int http_head_parse(const void *bytes, size_t n, struct http_head *out, size_t *ret_used,
                    const char **ret_why)
{
    return parse(bytes, n, false, out, ret_used, ret_why);
}

int http_head_parse_door(const void *bytes, size_t n, struct http_head *out, size_t *ret_used,
                         const char **ret_why)
{
    return parse(bytes, n, true, out, ret_used, ret_why);
}
