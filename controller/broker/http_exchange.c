/* One request and its answer, as libcurl's callbacks see it. What was sent is never sent again behind
 * our back: libcurl may only repeat a request of whose body no byte was taken. */
#include "controller/broker/http_internal.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define ANSWER_HEADER_BYTES (64u << 10)
#define ANSWER_HEADERS_MAX  256
#define ANSWER_MAX          (64u << 20)
#define UPLOAD_SMALL        16384L /* the least that libcurl takes */

static size_t end_it(struct http_exchange *x, const char *why)
{
    if (!x->why.code)
        err_set(&x->why, ERR_FAIL, "%s", why);
    return 0;
}

static bool starts(const char *p, size_t n, const char *text)
{
    return n >= strlen(text) && memcmp(p, text, strlen(text)) == 0;
}

/* "HTTP/1.1 200 OK" begins a head, and one before it (100 Continue) was not the final one. */
static void on_status_line(struct http_exchange *x)
{
    long status = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    x->status = (int)status;
    strv_done(&x->answer_headers);
    x->answer_header_bytes = 0;
}

/* One "Name: value" of the answer, its name in lower case. */
static size_t keep_header(struct http_exchange *x, const char *p, size_t n)
{
    char line[8192];
    size_t name = 0;
    while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n'))
        n--;
    x->answer_header_bytes += n;
    if (n >= sizeof line || memchr(p, 0, n) || x->answer_header_bytes > ANSWER_HEADER_BYTES ||
        x->answer_headers.n >= ANSWER_HEADERS_MAX)
        return end_it(x, "the answer's headers are too many or too long");
    for (; name < n && p[name] != ':'; name++)
        line[name] = p[name] >= 'A' && p[name] <= 'Z' ? (char)(p[name] + 32) : p[name];
    memcpy(line + name, p + name, n - name);
    line[n] = 0;
    return strv_add(&x->answer_headers, line) == 0 ? 1 : end_it(x, "out of memory");
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct http_exchange *x = arg;
    size_t len = size * n;
    if (x->cancelled || x->why.code)
        return 0;
    x->heard_ms = uv_now(x->client->loop);
    if (x->headed)
        return len; /* trailers */
    if (starts(p, len, "HTTP/")) {
        on_status_line(x);
        return len;
    }
    if (len > 0 && p[0] != '\r' && p[0] != '\n')
        return keep_header(x, p, len) ? len : 0;
    if (x->status < 200)
        return len;
    x->headed = true;
    x->cb.head(x->arg, x->status, &x->answer_headers);
    strv_done(&x->answer_headers);
    return x->cancelled ? 0 : len;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    struct http_exchange *x = arg;
    size_t len = size * n;
    if (x->cancelled || x->why.code)
        return 0;
    x->heard_ms = uv_now(x->client->loop);
    if (len > x->answer_max - x->answered)
        return end_it(x, "the answer is too long");
    x->paused = false;
    if (!x->cb.data(x->arg, p, len)) {
        x->paused = !x->cancelled;
        return x->cancelled ? 0 : CURL_WRITEFUNC_PAUSE;
    }
    x->answered += len;
    return x->cancelled ? 0 : len;
}

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    struct http_exchange *x = arg;
    size_t some = size * n < x->len - x->at ? size * n : x->len - x->at;
    if (x->cancelled || x->why.code)
        return CURL_READFUNC_ABORT;
    memcpy(to, x->body + x->at, some);
    x->at += some;
    x->heard_ms = uv_now(x->client->loop);
    return some;
}

/* libcurl wants to send the request again, on a new connection: what may have been paid once is not sent
 * twice. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    const struct http_exchange *x = arg;
    return x->at == 0 && offset == 0 && origin == SEEK_SET ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

/* Copies the header lines into one piece of memory, which libcurl reads in place. */
static int take_headers(struct http_exchange *x, const struct strv *headers)
{
    static const char expect[] = "Expect:"; /* libcurl asks for no 100 Continue */
    size_t n = headers ? headers->n : 0, bytes = sizeof expect;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(headers->v[i]) + 1;
    x->headers = calloc(n + 1, sizeof *x->headers);
    char *at = x->header_bytes = malloc(bytes);
    if (!x->headers || !at)
        return -1;
    x->header_size = bytes;
    for (size_t i = 0; i <= n; i++) {
        const char *line = i < n ? headers->v[i] : expect;
        size_t len = strlen(line) + 1;
        memcpy(at, line, len);
        x->headers[i].data = at;
        x->headers[i].next = i < n ? &x->headers[i + 1] : NULL;
        at += len;
    }
    return 0;
}

/* Is the address this machine's own, where plain http does no harm? */
static bool loopback(const char *url)
{
    static const char *const own[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        size_t n = strlen(own[i]);
        if (strncmp(url, own[i], n) == 0 && (url[n] == ':' || url[n] == '/' || url[n] == 0))
            return true;
    }
    return false;
}

static void set_body(struct http_exchange *x, const struct http_ask *ask)
{
    bool bodied = ask->method[0] == 'P'; /* POST, PUT, PATCH: a length is said even of nothing */
    if (!ask->body && !bodied)
        return;
    x->body = ask->body;
    x->len = ask->body ? ask->len : 0;
    curl_easy_setopt(x->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->len);
    curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
    /* libcurl makes and wipes a whole buffer for each exchange. */
    if (x->len <= (size_t)UPLOAD_SMALL)
        curl_easy_setopt(x->easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_SMALL);
    curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
}

static void set_answer(struct http_exchange *x)
{
    curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->words);
    curl_easy_setopt(x->easy, CURLOPT_PRIVATE, x);
}

/* What no caller may choose otherwise. */
static void set_fences(struct http_exchange *x, const struct http_ask *ask, bool own)
{
    CURL *e = x->easy;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, own ? "http" : "https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    /* An idle connection that the far end is about to close is not taken up again. */
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, 20L);
    curl_easy_setopt(e, CURLOPT_SHARE, x->client->share);
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's are no answer */
    if (own)
        curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
    if (ask->ca_file && ask->ca_file[0])
        curl_easy_setopt(e, CURLOPT_CAINFO, ask->ca_file);
}

static int set_all(struct http_exchange *x, const struct http_ask *ask, struct err *err)
{
    bool own = loopback(ask->url);
    if (!own && strncmp(ask->url, "https://", 8) != 0)
        return err_set(err, ERR_REFUSED, "%.200s: only https, or http on this machine", ask->url);
    if (take_headers(x, ask->headers) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    set_body(x, ask);
    set_answer(x);
    set_fences(x, ask, own);
    x->first_byte_ms = ask->first_byte_ms ? ask->first_byte_ms : 300000;
    x->idle_ms = ask->idle_ms ? ask->idle_ms : 120000;
    x->answer_max = ask->answer_max ? ask->answer_max : ANSWER_MAX;
    long connect_ms = ask->connect_ms ? (long)ask->connect_ms : 10000;
    long total_ms = ask->total_ms ? (long)ask->total_ms : 3600000;
    curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, total_ms);
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    if (curl_easy_setopt(x->easy, CURLOPT_URL, ask->url) != CURLE_OK ||
        curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, ask->method) != CURLE_OK)
        return err_set(err, ERR_FAIL, "out of memory");
    if (strcmp(ask->method, "HEAD") == 0)
        curl_easy_setopt(x->easy, CURLOPT_NOBODY, 1L);
    return 0;
}

int exchange_new(struct http_client *c, const struct http_ask *ask, const struct http_callbacks *cb,
                 void *arg, struct http_exchange **ret, struct err *err)
{
    struct http_exchange *x = calloc(1, sizeof *x);
    if (!x || !(x->easy = curl_easy_init())) {
        free(x);
        return err_set(err, ERR_FAIL, "out of memory");
    }
    x->client = c;
    x->cb = *cb;
    x->arg = arg;
    x->heard_ms = uv_now(c->loop);
    int rc = set_all(x, ask, err);
    if (rc < 0) {
        exchange_free(x);
        return rc;
    }
    *ret = x;
    return 0;
}

void exchange_free(struct http_exchange *x)
{
    curl_easy_cleanup(x->easy);
    if (x->header_bytes)
        sodium_memzero(x->header_bytes, x->header_size);
    free(x->header_bytes);
    free(x->headers);
    strv_done(&x->answer_headers);
    free(x);
}

/* The peer's words have no place in ours: libcurl's own tell enough, and name no header. */
static void explain(struct http_exchange *x, CURLcode code, struct err *err)
{
    if (x->why.code)
        *err = x->why;
    else
        err_set(err, ERR_FAIL, "%.200s", x->words[0] ? x->words : curl_easy_strerror(code));
}

void exchange_end(struct http_exchange *x, CURLcode code)
{
    struct err err = ERR_INIT;
    long sent = 0;
    curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &sent);
    bool whole = code == CURLE_OK && x->headed && !x->why.code;
    if (!whole)
        explain(x, code, &err);
    if (!x->cancelled)
        x->cb.end(x->arg, sent > 0 || x->at > 0, whole ? NULL : &err);
    exchange_free(x);
}

bool exchange_late(const struct http_exchange *x, uint64_t now_ms, struct err *err)
{
    uint64_t limit = x->headed ? x->idle_ms : x->first_byte_ms;
    if (x->paused || now_ms < x->heard_ms + limit)
        return false;
    err_set(err, ERR_FAIL,
            x->headed ? "no more of the answer came for %llu s" : "no answer came for %llu s",
            (unsigned long long)(limit / 1000));
    return true;
}
