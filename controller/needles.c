/* The set: sorted by window, before it a map of bits that turns nearly every position away.
 *
 * The window's hash is a folded 64x64 bit product of the window with two secret words: not to be solved
 * for the window as a polynomial could be, and one multiplication a position, each on its own, so that
 * positions overlap in the processor. */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "controller/redact_internal.h"

#define KEY_BYTES 32
#define MAP_BITS  18

struct needles {
    uint8_t key[KEY_BYTES];
    uint64_t k[2]; /* the window's, from the key */
    uint64_t adds; /* the highest needle::added */
    size_t n, cap;
    struct needle *v; /* by window, then the longest first, then the hash */
    uint64_t map[(1u << MAP_BITS) / 64];
};

static void set_key(struct needles *n)
{
    static const uint8_t what[] = "creel needle window";
    crypto_generichash((uint8_t *)n->k, sizeof n->k, what, sizeof what, n->key, KEY_BYTES);
}

static struct needles *make(struct err *err)
{
    struct needles *n = calloc(1, sizeof *n);
    if (!n)
        err_set(err, ERR_FAIL, "out of memory");
    return n;
}

struct needles *needles_new(struct err *err)
{
    struct needles *n = make(err);
    if (n) {
        randombytes_buf(n->key, sizeof n->key);
        set_key(n);
    }
    return n;
}

void needles_free(struct needles *n)
{
    if (!n)
        return;
    free(n->v);
    sodium_memzero(n, sizeof *n);
    free(n);
}

size_t needles_count(const struct needles *n)
{
    return n ? n->n : 0;
}

static inline uint32_t window_hash(const struct needles *n, const uint8_t *p)
{
    uint64_t a, b;
    memcpy(&a, p, 8);
    memcpy(&b, p + NEEDLE_WINDOW - 8, 8);
    unsigned __int128 m = (unsigned __int128)(a ^ n->k[0]) * (b ^ n->k[1]);
    return (uint32_t)m ^ (uint32_t)(m >> 64);
}

static inline bool in_map(const struct needles *n, uint32_t window)
{
    uint32_t at = window & ((1u << MAP_BITS) - 1);
    return n->map[at / 64] >> (at % 64) & 1;
}

size_t needles_next(const struct needles *n, const uint8_t *bytes, size_t from, size_t to)
{
    for (; from < to; from++) {
        if (in_map(n, window_hash(n, bytes + from)))
            break;
    }
    return from;
}

static void whole_hash(const struct needles *n, const uint8_t *bytes, size_t len,
                       uint8_t out[static 16])
{
    crypto_generichash(out, 16, bytes, len, n->key, KEY_BYTES);
}

static bool before(const struct needle *a, const struct needle *b)
{
    if (a->window != b->window)
        return a->window < b->window;
    if (a->len != b->len)
        return a->len > b->len;
    return memcmp(a->whole, b->whole, sizeof a->whole) < 0;
}

/* The first needle that is not before this one. */
static size_t lower(const struct needles *n, const struct needle *what)
{
    size_t a = 0, b = n->n;
    while (a < b) {
        size_t mid = a + (b - a) / 2;
        if (before(&n->v[mid], what))
            a = mid + 1;
        else
            b = mid;
    }
    return a;
}

const struct needle *needle_at(const struct needles *n, const uint8_t *bytes, size_t avail,
                               bool *ret_open)
{
    const struct needle first = {.window = window_hash(n, bytes), .len = NEEDLE_MAX};
    uint8_t whole[16];
    size_t hashed = 0;
    *ret_open = false;
    for (size_t i = lower(n, &first); i < n->n && n->v[i].window == first.window; i++) {
        size_t len = (size_t)n->v[i].len;
        if (len > avail) {
            *ret_open = true;
            continue;
        }
        if (len != hashed)
            whole_hash(n, bytes, hashed = len, whole);
        if (sodium_memcmp(whole, n->v[i].whole, sizeof whole) == 0)
            return &n->v[i];
    }
    return NULL;
}

static void put_in_map(struct needles *n, uint64_t window)
{
    uint32_t bit = (uint32_t)window & ((1u << MAP_BITS) - 1);
    n->map[bit / 64] |= 1ull << (bit % 64);
}

/* Takes out what was added first and not again since: a token of long ago, most likely. */
static int evict(struct needles *n, struct err *err)
{
    uint64_t oldest = n->adds;
    size_t kept = 0;
    for (size_t i = 0; i < n->n; i++)
        oldest = n->v[i].added < oldest ? n->v[i].added : oldest;
    if (oldest == n->adds)
        return err_set(err, ERR_REFUSED, "a secret of more than %d lines and pieces", NEEDLES_MAX);
    memset(n->map, 0, sizeof n->map);
    for (size_t i = 0; i < n->n; i++) {
        if (n->v[i].added == oldest)
            continue;
        put_in_map(n, n->v[i].window);
        n->v[kept++] = n->v[i];
    }
    n->n = kept;
    return 0;
}

static int grow(struct needles *n, struct err *err)
{
    if (n->n >= NEEDLES_MAX)
        return evict(n, err);
    if (n->n < n->cap)
        return 0;
    size_t cap = n->cap ? 2 * n->cap : 64;
    struct needle *v = realloc(n->v, cap * sizeof *v);
    if (!v)
        return err_set(err, ERR_FAIL, "out of memory");
    n->v = v;
    n->cap = cap;
    return 0;
}

static int insert(struct needles *n, const struct needle *what, struct err *err)
{
    size_t at = lower(n, what);
    if (at < n->n && !before(what, &n->v[at])) {
        n->v[at].added = what->added;
        return 0;
    }
    int rc = grow(n, err);
    if (rc < 0)
        return rc;
    at = lower(n, what); /* others may have gone */
    memmove(n->v + at + 1, n->v + at, (n->n - at) * sizeof *n->v);
    n->v[at] = *what;
    n->n++;
    put_in_map(n, what->window);
    return 0;
}

/* It stands in logs, between brackets, and in the lines of a review. */
static bool name_fits(const char *name)
{
    size_t len =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:@/-");
    return len > 0 && name[len] == 0 && len < NEEDLE_NAME_SIZE;
}

struct addition {
    struct needles *set;
    const char *name;
};

static int add_form(void *arg, enum needle_form form, const uint8_t *bytes, size_t n,
                    struct err *err)
{
    struct addition *a = arg;
    struct needle what = {
        .window = window_hash(a->set, bytes), .len = (int)n, .added = a->set->adds};
    (void)form;
    whole_hash(a->set, bytes, n, what.whole);
    memcpy(what.name, a->name, strlen(a->name));
    return insert(a->set, &what, err);
}

static int count_form(void *arg, enum needle_form form, const uint8_t *bytes, size_t n,
                      struct err *err)
{
    (void)form;
    (void)bytes;
    (void)n;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

int needles_add(struct needles *n, const char *name, const void *value, size_t len, struct err *err)
{
    struct addition a = {.set = n, .name = name};
    size_t forms = 0;
    if (!name_fits(name))
        return err_set(err, ERR_USAGE, "a name for logs: letters, digits and ._:@/-, at most %d",
                       NEEDLE_NAME_SIZE - 1);
    int rc = needle_forms_each(value, len, count_form, &forms, err);
    if (rc == 0 && forms > NEEDLES_MAX) /* before those of others had to go for them */
        rc = err_set(err, ERR_REFUSED, "a secret of more than %d lines and pieces", NEEDLES_MAX);
    if (rc < 0)
        return rc;
    n->adds++;
    return needle_forms_each(value, len, add_form, &a, err);
}

const char *needles_find(const struct needles *n, const void *bytes, size_t len, size_t *ret_at)
{
    size_t windows = len >= NEEDLE_WINDOW ? len - NEEDLE_WINDOW + 1 : 0;
    bool open;
    if (needles_count(n) == 0)
        return NULL;
    for (size_t i = 0; (i = needles_next(n, bytes, i, windows)) < windows; i++) {
        const struct needle *v = needle_at(n, (const uint8_t *)bytes + i, len - i, &open);
        if (v) {
            *ret_at = i;
            return v->name;
        }
    }
    return NULL;
}

/* The set for another process. */

struct wire_set {
    uint8_t key[KEY_BYTES];
    struct json_list needles; /* struct needle */
};

static const struct json_field needle_fields[] = {
    JSON_ROW(struct needle, U64, window), JSON_ROW(struct needle, INT, len),
    JSON_ROW(struct needle, HEX, whole),  JSON_ROW(struct needle, TEXT, name),
    JSON_ROW(struct needle, U64, added),  JSON_END,
};
static const struct json_shape needle_shape = {sizeof(struct needle), needle_fields};

static const struct json_field set_fields[] = {
    JSON_ROW(struct wire_set, HEX, key),
    JSON_ROW(struct wire_set, LIST, needles, .shape = &needle_shape, .max = NEEDLES_MAX),
    JSON_END,
};
static const struct json_shape set_shape = {sizeof(struct wire_set), set_fields};

int needles_encode(const struct needles *n, struct buf *to, struct err *err)
{
    struct wire_set w = {.needles = {.n = n->n, .items = n->v}};
    memcpy(w.key, n->key, KEY_BYTES);
    int rc = json_encode(&set_shape, &w, to, err);
    sodium_memzero(&w, sizeof w);
    return rc;
}

static int take_all(struct needles *n, const struct wire_set *w, struct err *err)
{
    const struct needle *v = w->needles.items;
    int rc = 0;
    memcpy(n->key, w->key, KEY_BYTES);
    set_key(n);
    for (size_t i = 0; i < w->needles.n && rc == 0; i++) {
        if (v[i].window > UINT32_MAX || v[i].len < NEEDLE_WINDOW || v[i].len > NEEDLE_MAX ||
            !name_fits(v[i].name) || v[i].added > UINT64_MAX / 2)
            rc = err_set(err, ERR_FAIL, "needles[%zu]: not a needle", i);
        else
            rc = insert(n, &v[i], err);
        n->adds = v[i].added > n->adds ? v[i].added : n->adds;
    }
    return rc;
}

int needles_decode(const void *bytes, size_t len, struct needles **ret, struct err *err)
{
    struct wire_set w;
    int rc = json_decode(&set_shape, bytes, len, &w, err);
    if (rc < 0)
        return rc;
    struct needles *n = make(err); /* its key comes with it: a confined process has no other */
    rc = n ? take_all(n, &w, err) : -ERR_FAIL;
    json_release(&set_shape, &w);
    if (rc < 0)
        needles_free(n);
    else
        *ret = n;
    return rc;
}
