/* Request heads: what honest clients send is read, and every way known to us of making two readers
 * disagree is refused with words; where a chunked body ends. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/http_head.h"

static struct http_head head;

static int parse(const char *text, size_t n, size_t *used, const char **why)
{
    char *exact = malloc(n > 0 ? n : 1); /* so that a read over the end is seen */
    assert_non_null(exact);
    memcpy(exact, text, n);
    *why = "";
    int rc = http_head_parse(exact, n, &head, used, why);
    free(exact);
    return rc;
}

static void taken(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool connect, origin;
        enum http_body body;
        uint64_t length;
    } rows[] = {
        {"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", "example.org", 443,
         true, false, HTTP_BODY_NONE, 0},
        {"CONNECT example.org:443 HTTP/1.0\r\n\r\n", "example.org", 443, true, false,
         HTTP_BODY_NONE, 0},
        {"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n", "example.org", 443, true,
         false, HTTP_BODY_NONE, 0},
        {"CONNECT EXAMPLE.org.:8443 HTTP/1.1\r\nhost:Example.ORG:8443\r\n\r\n", "example.org", 8443,
         true, false, HTTP_BODY_NONE, 0},
        {"CONNECT example.org:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "example.org", 1, true,
         false, HTTP_BODY_LENGTH, 0},
        {"CONNECT example.org:65535 HTTP/1.1\r\n\r\n", "example.org", 65535, true, false,
         HTTP_BODY_NONE, 0},
        {"GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\n\r\n", "example.org", 80,
         false, false, HTTP_BODY_NONE, 0},
        {"GET http://example.org HTTP/1.0\r\n\r\n", "example.org", 80, false, false, HTTP_BODY_NONE,
         0},
        {"GET HTTP://example.org:8080/ HTTP/1.1\r\nHost: example.org:8080\r\n\r\n", "example.org",
         8080, false, false, HTTP_BODY_NONE, 0},
        {"GET http://example.org:80/ HTTP/1.1\r\nHost: example.org\r\n\r\n", "example.org", 80,
         false, false, HTTP_BODY_NONE, 0},
        {"POST http://a.example.org/ HTTP/1.1\r\nHost: a.example.org:80\r\nContent-Length: "
         "5\r\n\r\nhello",
         "a.example.org", 80, false, false, HTTP_BODY_LENGTH, 5},
        {"PUT http://example.org/ HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: "
         "Chunked\r\n\r\n",
         "example.org", 80, false, false, HTTP_BODY_CHUNKED, 0},
        {"GET /a//b HTTP/1.1\r\nHost: example.org\r\n\r\n", "example.org", 80, false, true,
         HTTP_BODY_NONE, 0},
        {"GET / HTTP/1.1\r\nHost: example.org:8080\r\n\r\n", "example.org", 8080, false, true,
         HTTP_BODY_NONE, 0},
        {"GET / HTTP/1.1\r\nHost:\texample.org \t\r\nUser-Agent: na\xc3\xafve\tx\r\nEmpty:\r\n\r\n",
         "example.org", 80, false, true, HTTP_BODY_NONE, 0},
        {"VERSION-CONTROL / HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive, TE\r\n\r\n",
         "example.org", 80, false, true, HTTP_BODY_NONE, 0},
        {"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade, HTTP2-Settings\r\n"
         "Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n\r\n",
         "example.org", 80, false, true, HTTP_BODY_NONE, 0},
        {"GET http://example.org/@x:y HTTP/1.1\r\nHost: example.org\r\n\r\n", "example.org", 80,
         false, false, HTTP_BODY_NONE, 0},
        {"POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 999999999999999\r\n\r\n",
         "example.org", 80, false, true, HTTP_BODY_LENGTH, 999999999999999},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *why, *end = strstr(rows[i].text, "\r\n\r\n");
        size_t used = 0, n = (size_t)(end - rows[i].text) + 4;
        if (parse(rows[i].text, strlen(rows[i].text), &used, &why) != 1)
            fail_msg("%s: refused: %s", rows[i].text, why);
        assert_int_equal(used, n);
        assert_string_equal(head.host, rows[i].host);
        assert_int_equal(head.port, rows[i].port);
        assert_int_equal(head.connect, rows[i].connect);
        assert_int_equal(head.origin, rows[i].origin);
        assert_int_equal(head.body, rows[i].body);
        assert_int_equal(head.length, rows[i].length);
        /* Cut anywhere, it asks for more. */
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(parse(rows[i].text, cut, &used, &why), 0);
    }
}

#define HOST "Host: a.example\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST
#define GET  "GET / HTTP/1.1\r\n" HOST

static const struct refusal {
    const char *text, *why;
} refused_rows[] = {
    /* the line */
    {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "empty line"},
    {"GET /\r\n\r\n", "request line"},
    {"GET  / HTTP/1.1\r\n\r\n", "version"},
    {"GET / HTTP/1.1 \r\n\r\n", "version"},
    {"GET\t/\tHTTP/1.1\r\n\r\n", "request line"},
    {"GET / x HTTP/1.1\r\n\r\n", "version"},
    {" GET / HTTP/1.1\r\n\r\n", "a method of no"},
    {"GET / HTTP/1.2\r\n\r\n", "version"},
    {"GET / HTTP/2.0\r\n\r\n", "version"},
    {"PRI * HTTP/2.0\r\n\r\n", "version"},
    {"GET / http/1.1\r\n\r\n", "version"},
    {"GET / HTTP/1.1x\r\n\r\n", "version"},
    {"GET / HTTP/01.1\r\n\r\n", "version"},
    {"get / HTTP/1.1\r\n" HOST "\r\n", "capital"},
    {"connect a.example:443 HTTP/1.1\r\n\r\n", "capital"},
    {"GE\xc3\x89 / HTTP/1.1\r\n" HOST "\r\n", "capital"},
    {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" HOST "\r\n", "too many"},
    {"GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", "percent"},
    {"GET /a#b HTTP/1.1\r\n" HOST "\r\n", "percent"},
    {"GET /a\\b HTTP/1.1\r\n" HOST "\r\n", "percent"},
    {"GET /a\tb HTTP/1.1\r\n" HOST "\r\n", "percent"},
    /* bytes and line ends */
    {"GET / HTTP/1.1\n" HOST "\r\n", "LF without CR"},
    {"GET / HTTP/1.1\r\nHost: a.example\n\r\n", "LF without CR"},
    {GET "X: a\n\r\n", "LF without CR"},
    {GET "X: a\rb\r\n\r\n", "CR without LF"},
    {GET "X: a\r\r\n\r\n", "CR without LF"},
    {GET "X: a\x0b\r\n\r\n", "control"},
    {GET "X: a\x7f\r\n\r\n", "control"},
    {GET "X: a\x1b[m\r\n\r\n", "control"},
    {GET "Transfer-Encoding:\x0b"
         "chunked\r\n\r\n",
     "control"},
    /* headers */
    {GET " X: folded\r\n\r\n", "blank"},
    {GET "X: a\r\n\tb\r\n\r\n", "blank"},
    {"GET / HTTP/1.1\r\n Host: a.example\r\n\r\n", "blank"},
    {POST "Transfer-Encoding:\r\n chunked\r\n\r\n", "blank"},
    {GET "X : a\r\n\r\n", "header name"},
    {GET "X\t: a\r\n\r\n", "header name"},
    {POST "Content-Length : 5\r\n\r\n", "header name"},
    {POST "Transfer-Encoding : chunked\r\n\r\n", "header name"},
    {GET ": a\r\n\r\n", "without a name"},
    {GET "X\r\n\r\n", "without a name"},
    {GET "X(y): a\r\n\r\n", "header name"},
    {GET "\xc3\xa9: a\r\n\r\n", "header name"},
    /* where the body ends */
    {POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "two Content-Length"},
    {POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n", "two Content-Length"},
    {POST "Content-Length: 5, 5\r\n\r\n", "one plain number"},
    {POST "Content-Length: +5\r\n\r\n", "one plain number"},
    {POST "Content-Length: -5\r\n\r\n", "one plain number"},
    {POST "Content-Length: 05\r\n\r\n", "one plain number"},
    {POST "Content-Length: 0x5\r\n\r\n", "one plain number"},
    {POST "Content-Length: 5 6\r\n\r\n", "one plain number"},
    {POST "Content-Length: 5_0\r\n\r\n", "one plain number"},
    {POST "Content-Length: \"5\"\r\n\r\n", "one plain number"},
    {POST "Content-Length: 5;\r\n\r\n", "one plain number"},
    {POST "Content-Length:\r\n\r\n", "one plain number"},
    {POST "Content-Length: 9999999999999999\r\n\r\n", "one plain number"},
    {POST "Content-Length: 18446744073709551621\r\n\r\n", "one plain number"},
    {POST "Content_Length: 5\r\n\r\n", "Content_Length"},
    {POST "Transfer_Encoding: chunked\r\n\r\n", "Content_Length"},
    {POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "together"},
    {POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", "together"},
    {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
     "two Transfer-Encoding"},
    {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     "two Transfer-Encoding"},
    {POST "Transfer-Encoding: xchunked\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: chunked;q=1\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: gzip, chunked\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: chunked, chunked\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: chunked,\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: \"chunked\"\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: identity\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding:\r\n\r\n", "other than chunked"},
    {POST "Transfer-Encoding: \xc2\xa0"
          "chunked\r\n\r\n",
     "other than chunked"},
    {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"},
    {"CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 1\r\n\r\n", "CONNECT with a body"},
    {"CONNECT a.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "CONNECT with a body"},
    /* hops */
    {GET "Connection: close , HOST\r\n\r\n", "Connection header"},
    {POST "Content-Length: 3\r\nConnection: content-length\r\n\r\n", "Connection header"},
    {POST "Transfer-Encoding: chunked\r\nConnection: ,,transfer-encoding ,\r\n\r\n",
     "Connection header"},
    /* hosts */
    {"GET / HTTP/1.1\r\n\r\n", "no Host"},
    {"GET / HTTP/1.0\r\n\r\n", "no Host"},
    {"GET http://a.example/ HTTP/1.1\r\n\r\n", "no Host"},
    {GET HOST "\r\n", "two Host"},
    {GET "HOST: b.example\r\n\r\n", "two Host"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "Host header that is not"},
    {"GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", "Host header that is not"},
    {"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "Host header that is not"},
    {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "Host header that is not"},
    {"GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n", "Host header that is not"},
    {"GET / HTTP/1.1\r\nHost: a.example/\r\n\r\n", "Host header that is not"},
    {"GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", "Host header that is not"},
    {"GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n", "another host"},
    {"GET http://a.example/ HTTP/1.0\r\nHost: b.example\r\n\r\n", "another host"},
    {"GET http://a.example/ HTTP/1.1\r\nHost: a.example:8080\r\n\r\n", "another host"},
    {"GET http://a.example:8080/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "another host"},
    {"CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n", "another host"},
    {"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "another host"},
    {"CONNECT a.example:22 HTTP/1.1\r\nHost: a.example\r\n\r\n", "another host"},
    /* targets */
    {"GET https://a.example/ HTTP/1.1\r\n" HOST "\r\n", "https goes by CONNECT"},
    {"GET ftp://a.example/ HTTP/1.1\r\n" HOST "\r\n", "not http://"},
    {"GET http:/a.example/ HTTP/1.1\r\n" HOST "\r\n", "not http://"},
    {"GET a.example HTTP/1.1\r\n" HOST "\r\n", "not http://"},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "not http://"},
    {"GET http:// HTTP/1.1\r\n" HOST "\r\n", "not a host name"},
    {"GET http:///a.example HTTP/1.1\r\n" HOST "\r\n", "not a host name"},
    {"GET http://a.example?q HTTP/1.1\r\n" HOST "\r\n", "query without"},
    {"GET http://u@a.example/ HTTP/1.1\r\n" HOST "\r\n", "user name"},
    {"GET http://a.example:80@b.example/ HTTP/1.1\r\n" HOST "\r\n", "user name"},
    {"GET http://a.example\\@b.example/ HTTP/1.1\r\n" HOST "\r\n", "percent"},
    {"GET http://a.example%00.b.example/ HTTP/1.1\r\n" HOST "\r\n", "not a host name"},
    {"GET http://a%2eexample/ HTTP/1.1\r\n" HOST "\r\n", "not a host name"},
    {"CONNECT a.example:443/ HTTP/1.1\r\n\r\n", "not a port"},
    {"CONNECT http://a.example:443 HTTP/1.1\r\n\r\n", "not a host name"},
    {"CONNECT /a HTTP/1.1\r\n\r\n", "not a host name"},
    {"CONNECT a.example HTTP/1.1\r\n\r\n", "without a port"},
    {"CONNECT  HTTP/1.1\r\n\r\n", "not a host name"},
    {"CONNECT : HTTP/1.1\r\n\r\n", "not a host name"},
    {"CONNECT :: HTTP/1.1\r\n\r\n", "not a host name"},
    {"CONNECT :443 HTTP/1.1\r\n\r\n", "not a host name"},
};

static void refused(void **state)
{
    for (size_t i = 0; i < sizeof refused_rows / sizeof *refused_rows; i++) {
        const struct refusal *r = &refused_rows[i];
        const char *why;
        size_t used;
        if (parse(r->text, strlen(r->text), &used, &why) != -1)
            fail_msg("%s: not refused", r->text);
        if (!strstr(why, r->why))
            fail_msg("%s: says \"%s\", not \"%s\"", r->text, why, r->why);
        assert_true(strlen(why) < 100);
    }
}

/* Every spelling of a host and port that is none, in each place where one stands. */
static void bad_authorities(void **state)
{
    static const char *const bad[] = {
        "127.0.0.1:443",
        "127.1:443",
        "2130706433:443",
        "0x7f.1:443",
        "0x7f000001:443",
        "0177.0.0.1:443",
        "[::1]:443",
        "[::ffff:7f00:1]:443",
        "::1:443",
        "[a.example]:443",
        "[[a.example]]:443",
        "[fe80::1%25eth0]:443",
        "localhost:443",
        "a:443",
        "a..example:443",
        ".a.example:443",
        "a.example..:443",
        "-a.example:443",
        "a-.example:443",
        "a_.example:443",
        "a.ex_ample:443",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:007",
        "a.example:-12",
        "a.example:+443",
        "a.example:https",
        "a.example:4 43",
        "a.example:443:443",
        "a.example:99999999999",
        "a.example:443@b.example:443",
        "a@b.example:443",
        "a.example%00:443",
        "a.example%2eorg:443",
        "a.exam\xc3\xa9ple:443",
        "\xe2\x91\xa0.0.0.1:443",
        "127\xe3\x80\x82"
        "0\xe3\x80\x82"
        "0\xe3\x80\x82"
        "1:443",
        "a.example\t:443",
        "a.example;:443",
        "a.example,b.example:443",
        "*.example.org:443",
        "a.123:443",
        "a.0x7f:443",
        "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.example:443",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        const char *why;
        size_t used;
        snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\n\r\n", bad[i]);
        if (parse(text, strlen(text), &used, &why) != -1)
            fail_msg("%s: not refused", text);
        snprintf(text, sizeof text, "GET http://%s/ HTTP/1.0\r\n\r\n", bad[i]);
        if (parse(text, strlen(text), &used, &why) != -1)
            fail_msg("%s: not refused", text);
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        if (parse(text, strlen(text), &used, &why) != -1)
            fail_msg("%s: not refused", text);
    }
}

static void nul_bytes(void **state)
{
    static const char target[] = "CONNECT evil.example\0.a.example:443 HTTP/1.1\r\n\r\n";
    static const char value[] = GET "X: a\0b\r\n\r\n";
    const char *why;
    size_t used;
    assert_int_equal(parse(target, sizeof target - 1, &used, &why), -1);
    assert_string_equal(why, "a control byte");
    assert_int_equal(parse(value, sizeof value - 1, &used, &why), -1);
    assert_string_equal(why, "a control byte");
}

/* What can never become a head is refused before its end came: nobody waits for an answer. */
static void refused_early(void **state)
{
    static const char *const begun[] = {"GET / HTTP/1.0\n", "\r\n", "SSH-2.0-x\n", "\x16\x03\x01",
                                        "GET / HTTP/1.1\rX"};
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++) {
        const char *why;
        size_t used;
        assert_int_equal(parse(begun[i], strlen(begun[i]), &used, &why), -1);
    }
}

static void limits(void **state)
{
    size_t n = HTTP_HEAD_BYTES + 10, used;
    char *big = malloc(n + 1);
    const char *why;
    assert_non_null(big);
    int at = sprintf(big, GET "X: ");
    memset(big + at, 'a', n - (size_t)at);
    assert_int_equal(parse(big, HTTP_HEAD_BYTES - 1, &used, &why), 0);
    assert_int_equal(parse(big, HTTP_HEAD_BYTES, &used, &why), -1);
    assert_non_null(strstr(why, "32 KiB"));
    memcpy(big + HTTP_HEAD_BYTES - 4, "\r\n\r\n", 4);
    assert_int_equal(parse(big, HTTP_HEAD_BYTES, &used, &why), 1);
    assert_int_equal(used, HTTP_HEAD_BYTES);
    big[HTTP_HEAD_BYTES - 4] = 'a';
    memcpy(big + HTTP_HEAD_BYTES - 3, "\r\n\r\n", 4);
    assert_int_equal(parse(big, n, &used, &why), -1);

    at = sprintf(big, GET);
    for (int i = 1; i < HTTP_HEADERS_MAX; i++)
        at += sprintf(big + at, "X%d:\r\n", i);
    memcpy(big + at, "\r\n", 2);
    assert_int_equal(parse(big, (size_t)at + 2, &used, &why), 1);
    assert_int_equal(head.nheaders, HTTP_HEADERS_MAX);
    memcpy(big + at, "Y:\r\n\r\n", 6);
    assert_int_equal(parse(big, (size_t)at + 6, &used, &why), -1);
    assert_non_null(strstr(why, "128"));
    free(big);
}

static void paths_and_headers(void **state)
{
    static const char text[] = "GET http://A.example/x?y=http://b/ HTTP/1.1\r\nHost: a.example\r\n"
                               "Accept:  a , b \t\r\n\r\nGET /next";
    const char *why;
    size_t used;
    assert_int_equal(http_head_parse(text, sizeof text - 1, &head, &used, &why), 1);
    assert_string_equal(text + used, "GET /next");
    assert_int_equal(head.path.n, 14);
    assert_memory_equal(head.path.p, "/x?y=http://b/", 14);
    assert_int_equal(head.method.n, 3);
    assert_int_equal(head.nheaders, 2);
    assert_int_equal(head.headers[1].value.n, 5);
    assert_memory_equal(head.headers[1].value.p, "a , b", 5);
    assert_int_equal(
        http_head_parse("GET http://a.example HTTP/1.0\r\n\r\n", 33, &head, &used, &why), 1);
    assert_int_equal(head.path.n, 1);
    assert_memory_equal(head.path.p, "/", 1);
}

/* Each body as a whole, and cut in two at every place. `body` of the bytes belong to it; -1: malformed. */
static void chunks(void **state)
{
    static const struct {
        const char *bytes;
        long body;
    } rows[] = {
        {"0\r\n\r\n", 5},
        {"0\r\n\r\nGET /", 5},
        {"0000\r\n\r\n", 8},
        {"5\r\nhello\r\n0\r\n\r\n", 15},
        {"5\r\n0\r\n\r\n\r\n0\r\n\r\nX", 15},
        {"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", 35},
        {"0000000000000001\r\nx\r\n0\r\n\r\n", 26},
        {"00000000000000001\r\nx\r\n0\r\n\r\n", -1}, /* 17 digits */
        {"10000000001\r\n", -1},                     /* over 2^40 */
        {"ffffffffffffffff\r\n", -1},
        {"5;a=b\r\nhello\r\n0\r\n\r\n", -1},
        {"5 \r\nhello\r\n0\r\n\r\n", -1},
        {" 5\r\nhello\r\n0\r\n\r\n", -1},
        {"+5\r\nhello\r\n0\r\n\r\n", -1},
        {"0x5\r\nhello\r\n0\r\n\r\n", -1},
        {"5\nhello\r\n0\r\n\r\n", -1},
        {"5\r\nhello\n0\r\n\r\n", -1},
        {"5\r\nhello\rX0\r\n\r\n", -1},
        {"5\r\nhelloX0\r\n\r\n", -1},
        {"5\r\nhello0\r\n\r\n", -1},
        {"\r\n", -1},
        {"g\r\n", -1},
        {"0\r\nX: y\r\n\r\n", -1}, /* a trailer */
        {"0\r\n\n", -1},
        {"0\r\n\rX", -1},
        {"5\rX", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].bytes);
        for (size_t cut = 0; cut <= n; cut++) {
            struct http_chunks c = {0};
            bool done = false;
            long a = http_chunks_take(&c, rows[i].bytes, cut, &done), b = 0;
            if (a >= 0 && !done)
                b = http_chunks_take(&c, rows[i].bytes + cut, n - cut, &done);
            long all = a < 0 || b < 0 ? -1 : a + b;
            if (all != rows[i].body || done != (all >= 0))
                fail_msg("%s cut at %zu: %ld", rows[i].bytes, cut, all);
            if (all < 0) /* and it stays refused */
                assert_int_equal(http_chunks_take(&c, "0\r\n\r\n", 5, &done), -1);
            else
                assert_int_equal(http_chunks_take(&c, "0\r\n\r\n", 5, &done), 0);
        }
    }
}

/* A server of our own on the loopback takes its own names alone, and no absolute form. */
static void door(void **state)
{
    static const struct {
        const char *host;
        bool fine;
    } rows[] = {
        {"127.0.0.1:4100", true},
        {"127.0.0.1", true},
        {"localhost:4100", true},
        {"LocalHost", true},
        {"[::1]:4100", true},
        {"127.0.0.1:", false},
        {"127.0.0.1.example.com", false},
        {"localhost.example.com", false},
        {"127.0.0.2", false},
        {"example.com", false},
        {"user@localhost", false},
        {"", false},
        {"localhost:0", false},
        {"localhost:99999", false},
        {"localhosts", false},
    };
    static const char *const targets[] = {"http://localhost/", "http://example.com/", "*",
                                          "localhost:4100"};
    struct http_head h;
    const char *why = "";
    size_t used;
    char text[512];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int n =
            snprintf(text, sizeof text, "POST /v1/x HTTP/1.1\r\nHost: %s\r\n\r\n", rows[i].host);
        int rc = http_head_parse_door(text, (size_t)n, &h, &used, &why);
        if ((rc == 1) != rows[i].fine)
            fail_msg("%s: %d", rows[i].host, rc);
        if (rc == 1)
            assert_string_equal(h.host, "localhost");
    }
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        int n =
            snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", targets[i]);
        assert_int_equal(http_head_parse_door(text, (size_t)n, &h, &used, &why), -1);
    }
    static const char none[] = "GET / HTTP/1.0\r\n\r\n";
    assert_int_equal(http_head_parse_door(none, sizeof none - 1, &h, &used, &why), -1);
    /* and the gate takes what it took */
    static const char gate[] = "GET /x HTTP/1.1\r\nHost: 127.0.0.1:4100\r\n\r\n";
    assert_int_equal(http_head_parse(gate, sizeof gate - 1, &h, &used, &why), -1);
}

static void chunks_of_data(void **state)
{
    static const char text[] = "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET";
    for (size_t cut = 1; cut < sizeof text; cut++) {
        struct http_chunks c = {0};
        char got[16] = "";
        size_t n = 0, at = 0, end = sizeof text - 1;
        bool done = false;
        while (!done) {
            struct http_span data;
            size_t some = cut < end - at ? cut : end - at;
            long used = http_chunks_data(&c, text + at, some, &data, &done);
            assert_true(used >= 0 && (size_t)used <= some && data.n <= some);
            assert_true(n + data.n < sizeof got);
            memcpy(got + n, data.p, data.n);
            n += data.n;
            at += (size_t)used;
        }
        assert_string_equal(got, "hello!");
        assert_int_equal(at, end - 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken),
        cmocka_unit_test(refused),
        cmocka_unit_test(bad_authorities),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(refused_early),
        cmocka_unit_test(limits),
        cmocka_unit_test(paths_and_headers),
        cmocka_unit_test(chunks),
        cmocka_unit_test(chunks_of_data),
        cmocka_unit_test(door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
