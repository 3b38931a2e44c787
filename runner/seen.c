/* The nonce store; see seen.h. Appends are fsynced; rewriting is an atomic replace. It never removes
 * a record whose envelope could still be admitted, and never guesses at a damaged file. */
#include "runner/seen.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"

#define SEEN_HEAD      "creel-seen 1\n"
#define SEEN_LINE_MAX  256
#define SEEN_BYTES_MAX ((size_t)(SEEN_MAX + SEEN_KEYS_MAX) * 2 * 192)

struct live {
    uint64_t exp;
    uint8_t nonce[TASK_NONCE_BYTES];
    char attempt[ATTEMPT_ID_SIZE];
};

struct fence {
    char key[KEY_FPR_SIZE];
    uint64_t highest;
};

struct seen {
    int dir, fd; /* dir borrowed, fd owned: the file, for appending */
    size_t n, cap, nfences, appended;
    struct live *live;
    struct fence *fences;
    bool broken; /* the file's end is unknown: nothing more may be admitted */
};

/* ---- memory ---- */

static bool expired(const struct live *l, uint64_t now)
{
    return l->exp < now && now - l->exp > TASK_SKEW_S;
}

/* Room for one more, so that adding it cannot fail. */
static int live_reserve(struct seen *s, struct err *err)
{
    if (s->n < s->cap)
        return 0;
    size_t cap = s->cap ? s->cap * 2 : 64;
    if (cap > SEEN_MAX)
        cap = SEEN_MAX;
    struct live *more = s->n < SEEN_MAX ? realloc(s->live, cap * sizeof *more) : NULL;
    if (!more)
        return err_set(err, ERR_FAIL, "nonce store: full with %zu live records", s->n);
    s->live = more;
    s->cap = cap;
    return 0;
}

static int live_add(struct seen *s, const struct live *l, struct err *err)
{
    int r = live_reserve(s, err);
    if (r == 0)
        s->live[s->n++] = *l;
    return r;
}

static struct fence *fence_find(const struct seen *s, const char *key)
{
    for (size_t i = 0; i < s->nfences; i++)
        if (strcmp(s->fences[i].key, key) == 0)
            return &s->fences[i];
    return NULL;
}

/* The key's fence, made with 0 when there is none: then raising it cannot fail. */
static int fence_reserve(struct seen *s, const char *key, struct fence **ret, struct err *err)
{
    *ret = fence_find(s, key);
    if (*ret)
        return 0;
    struct fence *more =
        s->nfences < SEEN_KEYS_MAX ? realloc(s->fences, (s->nfences + 1) * sizeof *more) : NULL;
    if (!more)
        return err_set(err, ERR_FAIL, "nonce store: too many controller keys");
    s->fences = more;
    *ret = &more[s->nfences++];
    memset(*ret, 0, sizeof **ret);
    strncpy((*ret)->key, key, sizeof((*ret)->key) - 1);
    return 0;
}

static void fence_raise(struct fence *f, uint64_t value)
{
    if (value > f->highest)
        f->highest = value;
}

/* ---- text ---- */

/* Cuts the next blank-separated word off *p; NULL when there is none. One blank between words. */
static char *word(char **p)
{
    char *start = *p;
    if (!start || !*start || *start == ' ')
        return NULL;
    char *end = strchr(start, ' ');
    *p = end ? end + 1 : NULL;
    if (end)
        *end = 0;
    return start;
}

/* Canonical decimal only. */
static bool number(const char *text, uint64_t *ret)
{
    uint64_t v = 0;
    if (!text || !*text || (text[0] == '0' && text[1]))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || v > (UINT64_MAX - (uint64_t)(*text - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(*text - '0');
    }
    *ret = v;
    return true;
}

static bool nonce_parse(const char *text, uint8_t out[static TASK_NONCE_BYTES])
{
    size_t n = 0;
    const char *end = NULL;
    return text && strlen(text) == 2 * TASK_NONCE_BYTES &&
           strspn(text, "0123456789abcdef") == 2 * TASK_NONCE_BYTES &&
           sodium_hex2bin(out, TASK_NONCE_BYTES, text, 2 * TASK_NONCE_BYTES, NULL, &n, &end) == 0 &&
           n == TASK_NONCE_BYTES;
}

static int live_format(const struct live *l, struct buf *to)
{
    char nonce[2 * TASK_NONCE_BYTES + 1];
    sodium_bin2hex(nonce, sizeof nonce, l->nonce, sizeof l->nonce);
    return buf_addf(to, "seen %" PRIu64 " %s %s\n", l->exp, nonce, l->attempt);
}

static int fence_format(const char *key, uint64_t value, struct buf *to)
{
    return buf_addf(to, "fence %s %" PRIu64 "\n", key, value);
}

static bool fence_line(struct seen *s, char *rest, struct err *err)
{
    char *key = word(&rest), *value = word(&rest);
    struct fence *f;
    uint64_t v;
    if (rest || !key || !key_fingerprint_valid(key) || !number(value, &v) ||
        fence_reserve(s, key, &f, err) < 0)
        return false;
    fence_raise(f, v);
    return true;
}

static bool seen_line(struct seen *s, char *rest, uint64_t now, struct err *err)
{
    struct live l = {0};
    char *exp = word(&rest), *nonce = word(&rest), *attempt = word(&rest);
    if (rest || !number(exp, &l.exp) || !nonce_parse(nonce, l.nonce) || !attempt ||
        !attempt_id_valid(attempt))
        return false;
    strncpy(l.attempt, attempt, sizeof l.attempt - 1);
    return expired(&l, now) || live_add(s, &l, err) == 0;
}

static int parse(struct seen *s, char *text, size_t len, uint64_t now, struct err *err)
{
    size_t head = strlen(SEEN_HEAD), number_of_line = 2;
    if (len < head || memcmp(text, SEEN_HEAD, head) != 0)
        return err_set(err, ERR_FAIL, "nonce store '%s' is damaged: no '%.12s' at its start",
                       SEEN_FILE, SEEN_HEAD);
    for (char *p = text + head, *end = text + len; p < end; number_of_line++) {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        if (!nl)
            break; /* a crash cut this append: it was never acted upon */
        *nl = 0;
        bool whole = strlen(p) == (size_t)(nl - p) && nl - p < SEEN_LINE_MAX;
        char *rest = p, *kind = whole ? word(&rest) : NULL;
        struct err why = ERR_INIT;
        bool good = kind && ((strcmp(kind, "fence") == 0 && fence_line(s, rest, &why)) ||
                             (strcmp(kind, "seen") == 0 && seen_line(s, rest, now, &why)));
        if (!good)
            return err_set(
                err, ERR_FAIL,
                "nonce store '%s' is damaged at line %zu%s%s: without it a task could run "
                "twice; move it away only if no envelope of the last 24 hours may come again",
                SEEN_FILE, number_of_line, why.code ? ": " : "", why.msg);
        p = nl + 1;
    }
    return 0;
}

/* ---- file ---- */

/* Drops what expired and replaces the file by what is left. */
static int rewrite(struct seen *s, uint64_t now, struct err *err)
{
    struct buf text;
    size_t kept = 0;
    buf_init(&text, SEEN_BYTES_MAX);
    buf_adds(&text, SEEN_HEAD);
    for (size_t i = 0; i < s->nfences; i++)
        fence_format(s->fences[i].key, s->fences[i].highest, &text);
    for (size_t i = 0; i < s->n; i++) {
        if (expired(&s->live[i], now))
            continue;
        live_format(&s->live[i], &text);
        s->live[kept++] = s->live[i];
    }
    s->n = kept;
    int r = text.failed ? err_set(err, ERR_FAIL, "nonce store: out of memory")
                        : file_replace(s->dir, SEEN_FILE, text.data, text.len, 0600, err);
    buf_done(&text);
    if (r < 0)
        return r;
    fd_close(&s->fd);
    s->fd = openat(s->dir, SEEN_FILE, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    s->appended = 0;
    s->broken = s->fd < 0;
    return s->fd < 0 ? err_errno(err, ERR_FAIL, "open %s", SEEN_FILE) : 0;
}

int seen_open(int state_fd, uint64_t now, struct seen **ret, struct err *err)
{
    struct buf text;
    struct seen *s = calloc(1, sizeof *s);
    int r = 0;
    if (!s)
        return err_set(err, ERR_FAIL, "nonce store: out of memory");
    buf_init(&text, SEEN_BYTES_MAX);
    s->dir = state_fd;
    s->fd = -1;
    if (faccessat(state_fd, SEEN_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        r = file_read(state_fd, SEEN_FILE, &text, err);
        if (r == 0)
            r = parse(s, (char *)text.data, text.len, now, err);
    }
    if (r == 0)
        r = rewrite(s, now, err);
    buf_done(&text);
    if (r < 0) {
        seen_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void seen_free(struct seen *s)
{
    if (!s)
        return;
    fd_close(&s->fd);
    free(s->live);
    free(s->fences);
    free(s);
}

bool seen_has(const struct seen *s, const uint8_t nonce[static TASK_NONCE_BYTES],
              const char *attempt)
{
    for (size_t i = 0; i < s->n; i++)
        if (memcmp(s->live[i].nonce, nonce, TASK_NONCE_BYTES) == 0 ||
            strcmp(s->live[i].attempt, attempt) == 0)
            return true;
    return false;
}

uint64_t seen_fence(const struct seen *s, const char *key)
{
    const struct fence *f = fence_find(s, key);
    return f ? f->highest : 0;
}

/* Appends lines and makes them durable; what could not be written whole is cut off again, and
 * when even that fails the store refuses everything from then on. */
static int append(struct seen *s, const struct buf *line, struct err *err)
{
    off_t before = lseek(s->fd, 0, SEEK_END);
    if (before < 0)
        return err_errno(err, ERR_FAIL, "nonce store");
    if (write_all(s->fd, line->data, line->len) == 0 && fdatasync(s->fd) == 0)
        return 0;
    int r = err_errno(err, ERR_FAIL, "nonce store: cannot record");
    if (ftruncate(s->fd, before) < 0 || fdatasync(s->fd) < 0)
        s->broken = true;
    return r;
}

int seen_add(struct seen *s, const struct seen_record *rec, uint64_t now, struct err *err)
{
    struct buf line;
    struct fence *fence = NULL;
    if (s->n == SEEN_MAX || s->appended >= SEEN_MAX) {
        int r = rewrite(s, now, err);
        if (r < 0)
            return r;
    }
    if (s->broken)
        return err_set(err, ERR_FAIL, "nonce store: an earlier write failed; restart the runner");
    int r = live_reserve(s, err); /* whatever can fail comes before the disk */
    if (r == 0)
        r = fence_reserve(s, rec->key, &fence, err);
    if (r < 0)
        return r;
    assert(fence);
    struct live l = {.exp = rec->exp};
    memcpy(l.nonce, rec->nonce, sizeof l.nonce);
    memcpy(l.attempt, rec->attempt, sizeof l.attempt);
    buf_init(&line, 2 * SEEN_LINE_MAX);
    r = live_format(&l, &line) < 0 || fence_format(rec->key, rec->fence, &line) < 0
            ? err_set(err, ERR_FAIL, "nonce store: record too long")
            : append(s, &line, err);
    buf_done(&line);
    if (r < 0)
        return r;
    s->appended++;
    fence_raise(fence, rec->fence);
    return live_add(s, &l, err);
}
