/* Redaction against a naive reference that knows the secrets: any text, cut anywhere, comes out as if each
 * needle had been looked for at each byte. */
#include "controller/redact.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "controller/redact_internal.h"
#include "proto/b64.h"
#include "tests/unit/cm.h"

#define KEY "sk-proj-9aZ/+b\"c<7dQ~Xy04KpLmNoP"
#define PEM                                                              \
    "-----BEGIN RSA PRIVATE KEY-----\n"                                  \
    "MIIEowIBAAKCAQEAu1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gun\n" \
    "VTLw7onLRnrq0/IzW7yWR7QkrmBL7jTKEn5u+qKhbwKfBstIs+bMY2Zkp18gnTxK\n" \
    "short\n"                                                            \
    "-----END RSA PRIVATE KEY-----\n"

/* ---- the reference ---- */

struct plain {
    char *bytes;
    size_t n;
    const char *name;
};

struct reference {
    struct plain v[4096];
    size_t n;
    const char *adding;
};

static int keep(void *arg, enum needle_form form, const uint8_t *bytes, size_t n, struct err *err)
{
    struct reference *r = arg;
    (void)form;
    (void)err;
    assert_in_range(n, NEEDLE_WINDOW, NEEDLE_MAX);
    assert_null(memchr(bytes, '\n', n));
    assert_null(memchr(bytes, '\r', n));
    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].n == n && memcmp(r->v[i].bytes, bytes, n) == 0)
            return 0;
    }
    assert_true(r->n < 4096);
    r->v[r->n].bytes = malloc(n);
    memcpy(r->v[r->n].bytes, bytes, n);
    r->v[r->n].n = n;
    r->v[r->n++].name = r->adding;
    return 0;
}

static void add(struct reference *r, struct needles *set, const char *name, const char *value)
{
    struct err err = ERR_INIT;
    r->adding = name;
    assert_ok(needle_forms_each(value, strlen(value), keep, r, &err));
    assert_ok(needles_add(set, name, value, strlen(value), &err));
}

static void forget(struct reference *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->v[i].bytes);
    free(r);
}

static const struct plain *longest(const struct reference *r, const uint8_t *at, size_t n)
{
    const struct plain *best = NULL;
    for (size_t i = 0; i < r->n; i++) {
        const struct plain *p = &r->v[i];
        if (p->n <= n && memcmp(p->bytes, at, p->n) == 0 && (!best || p->n > best->n))
            best = p;
    }
    return best;
}

static uint64_t replace(const struct reference *r, const struct buf *text, struct buf *out)
{
    uint64_t hits = 0;
    size_t end = 0;
    const char *name = NULL;
    for (size_t i = 0; i < text->len; i++) {
        const struct plain *p = longest(r, text->data + i, text->len - i);
        if (p && !(i < end || (i == end && name && strcmp(name, p->name) == 0))) {
            name = p->name;
            buf_addf(out, "[redacted:%s]", name);
            hits++;
        }
        if (p && i + p->n > end)
            end = i + p->n;
        if (i >= end) {
            buf_addc(out, (char)text->data[i]);
            name = NULL;
        }
    }
    return hits;
}

/* ---- what is compared with it ---- */

/* Feeds in pieces of 1..`most` bytes (0: all at once). */
static uint64_t redact(const struct needles *set, const struct buf *text, uint32_t most,
                       struct buf *out)
{
    struct redactor *r = redactor_new(set);
    assert_non_null(r);
    for (size_t at = 0, n; at < text->len; at += n) {
        n = most ? 1 + randombytes_uniform(most) : text->len;
        n = n < text->len - at ? n : text->len - at;
        assert_int_equal(redactor_feed(r, text->data + at, n, out), 0);
        assert_true(redactor_held(r) < NEEDLE_MAX);
        if (text->data[at + n - 1] == '\n')
            assert_int_equal(redactor_held(r), 0);
    }
    assert_int_equal(redactor_end(r, out), 0);
    assert_int_equal(redactor_held(r), 0);
    uint64_t hits = redactor_hits(r);
    redactor_free(r);
    return hits;
}

static void compare(const struct reference *ref, const struct needles *set, const struct buf *text,
                    uint32_t most)
{
    struct buf want, got;
    buf_init(&want, 1 << 20);
    buf_init(&got, 1 << 20);
    uint64_t hits = replace(ref, text, &want);
    assert_int_equal(redact(set, text, most, &got), hits);
    assert_string_equal(buf_str(&got), buf_str(&want));
    assert_int_equal(got.len, want.len);
    buf_done(&want);
    buf_done(&got);
}

/* Text of noise, needles, beginnings and ends of needles, and line ends. */
static void make_text(const struct reference *ref, struct buf *text)
{
    for (unsigned i = 2 + randombytes_uniform(12); i > 0; i--) {
        const struct plain *p = &ref->v[randombytes_uniform((uint32_t)ref->n)];
        size_t part = 1 + randombytes_uniform((uint32_t)p->n);
        switch (randombytes_uniform(6)) {
        case 0:
            buf_add(text, p->bytes, part);
            break;
        case 1:
            buf_add(text, p->bytes + p->n - part, part);
            break;
        case 2:
            buf_addc(text, randombytes_uniform(2) ? '\n' : '\r');
            break;
        case 3:
            for (unsigned n = randombytes_uniform(20); n > 0; n--)
                buf_addc(text, (char)('a' + randombytes_uniform(26)));
            break;
        default:
            buf_add(text, p->bytes, p->n);
            break;
        }
    }
}

static void as_the_reference(void **state)
{
    struct err err = ERR_INIT;
    struct reference *ref = calloc(1, sizeof *ref);
    struct needles *set = needles_new(&err);
    struct buf text;
    (void)state;
    add(ref, set, "openai", KEY);
    add(ref, set, "app", PEM);
    /* They overlap each other, and one holds another. */
    add(ref, set, "tail", "04KpLmNoP-and-more-of-it");
    add(ref, set, "inner", "b\"c<7dQ~Xy04K");
    add(ref, set, "twin", KEY "-longer");
    add(ref, set, "again", "abcabcabcabcabcabc");
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 1500; i++) {
        static const uint32_t most[] = {0, 1, 3, 11, 40, 300};
        buf_clear(&text);
        make_text(ref, &text);
        for (size_t m = 0; m < sizeof most / sizeof most[0]; m++)
            compare(ref, set, &text, most[m]);
    }
    buf_done(&text);
    forget(ref);
    needles_free(set);
}

static void cut_in_two_anywhere(void **state)
{
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    static const char text[] = "key: " KEY " and " KEY KEY "\nnext line";
    static const char want[] = "key: [redacted:k] and [redacted:k]\nnext line";
    (void)state;
    assert_ok(needles_add(set, "k", KEY, strlen(KEY), &err));
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        struct redactor *r = redactor_new(set);
        struct buf out;
        buf_init(&out, 4096);
        assert_int_equal(redactor_feed(r, text, cut, &out), 0);
        assert_int_equal(redactor_feed(r, text + cut, strlen(text) - cut, &out), 0);
        assert_int_equal(redactor_end(r, &out), 0);
        assert_string_equal(buf_str(&out), want);
        assert_int_equal(redactor_hits(r), 2);
        buf_done(&out);
        redactor_free(r);
    }
    needles_free(set);
}

static void hides(const struct needles *set, const char *text)
{
    struct buf in, out;
    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_adds(&in, text);
    redact(set, &in, 7, &out);
    if (!strstr(buf_str(&out), "[redacted:k]"))
        fail_msg("not hidden: %s", text);
    buf_done(&in);
    buf_done(&out);
}

/* The forms as other programs write them, not as our own code does. */
static void forms_that_programs_write(void **state)
{
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    static const char key[] = "AKfy+T5/9\"\\x&y=<z> 0123456789?";
    (void)state;
    assert_ok(needles_add(set, "k", key, strlen(key), &err));
    static const char *const texts[] = {
        key,
        "\"AKfy+T5/9\\\"\\\\x&y=<z> 0123456789?\"",
        "\"AKfy+T5\\/9\\\"\\\\x&y=<z> 0123456789?\"",
        "\"AKfy+T5/9\\\"\\\\x\\u0026y=\\u003cz\\u003e 0123456789?\"",
        "?k=AKfy%2BT5%2F9%22%5Cx%26y%3D%3Cz%3E%200123456789%3F",
        "?k=AKfy%2bT5%2f9%22%5cx%26y%3d%3cz%3e%200123456789%3f",
        "?k=AKfy%2BT5%2F9%22%5Cx%26y%3D%3Cz%3E+0123456789%3F",
        "?k=AKfy%2BT5/9%22%5Cx%26y%3D%3Cz%3E%200123456789%3F",
        "QUtmeStUNS85Ilx4Jnk9PHo+IDAxMjM0NTY3ODk/",         /* base64 of it */
        "QUtmeStUNS85Ilx4Jnk9PHo-IDAxMjM0NTY3ODk_",         /* urlsafe_b64encode */
        "QmFzaWM6QUtmeStUNS85Ilx4Jnk9PHo+IDAxMjM0NTY3ODk/", /* of "Basic:" and it */
        "eDpBS2Z5K1Q1LzkiXHgmeT08ej4gMDEyMzQ1Njc4OT8K",     /* of "x:" and it and "\n" */
        "OkFLZnkrVDUvOSJceCZ5PTx6PiAwMTIzNDU2Nzg5Pzo=",     /* of ":" and it and ":" */
        "414b66792b54352f39225c7826793d3c7a3e20303132333435363738393f",
        "414B66792B54352F39225C7826793D3C7A3E20303132333435363738393F",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        hides(set, texts[i]);
    needles_free(set);
}

/* base64 -w 76 and openssl base64 (64) of a key that is longer than a line. */
static void base64_in_lines(void **state)
{
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    char key[165], whole[256] = "";
    struct buf b;
    (void)state;
    for (size_t i = 0; i < sizeof key - 1; i++)
        key[i] = (char)('a' + randombytes_uniform(26));
    key[sizeof key - 1] = 0;
    assert_ok(needles_add(set, "k", key, strlen(key), &err));
    buf_init(&b, sizeof whole);
    assert_int_equal(b64_add(&b, key, strlen(key)), 0);
    for (size_t width = 64; width <= 76; width += 12) {
        struct buf in, out;
        buf_init(&in, 4096);
        buf_init(&out, 4096);
        for (size_t at = 0; at < b.len; at += width) {
            buf_add(&in, b.data + at, b.len - at < width ? b.len - at : width);
            buf_addc(&in, '\n');
        }
        redact(set, &in, 9, &out);
        /* At most the digit that other bytes behind it would change. */
        const char *rest = buf_str(&out);
        for (size_t n; *rest; rest += n + (rest[n] == '\n')) {
            n = strcspn(rest, "\n");
            if (strncmp(rest, "[redacted:k]", 12) != 0 || n > 14)
                fail_msg("left: %.*s", (int)n, rest);
        }
        buf_done(&in);
        buf_done(&out);
    }
    buf_done(&b);
    needles_free(set);
}

static void what_is_no_needle(void **state)
{
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    size_t at;
    (void)state;
    assert_ok(needles_add(set, "app", PEM, strlen(PEM), &err));
    static const char armour[] = "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----";
    assert_null(needles_find(set, armour, strlen(armour), &at)); /* anybody's */
    static const char line[] =
        "\n  VTLw7onLRnrq0/IzW7yWR7QkrmBL7jTKEn5u+qKhbwKfBstIs+bMY2Zkp18gnTxK";
    assert_string_equal(needles_find(set, line, strlen(line), &at), "app");
    assert_int_equal(at, 3);
    size_t n = needles_count(set);
    assert_ok(needles_add(set, "app", PEM, strlen(PEM), &err)); /* the same again */
    assert_int_equal(needles_count(set), n);
    assert_ok(needles_add(set, "pin", "12345678901", 11, &err)); /* too short */
    assert_int_equal(needles_count(set), n);
    assert_int_equal(needle_forms("12345678901", 11, &err), 0);
    assert_true(needle_forms("123456789012", 12, &err) & (1u << NEEDLE_RAW));
    assert_int_equal(needle_forms(KEY, strlen(KEY), &err), (1u << NEEDLE_FORM_COUNT) - 1);
    assert_says(needles_add(set, "a]b", KEY, strlen(KEY), &err), "letters, digits");
    assert_says(needles_add(set, "", KEY, strlen(KEY), &err), "letters, digits");
    needles_free(set);
}

static void the_set_is_full(void **state)
{
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    char key[64], *lines = malloc(NEEDLE_VALUE_MAX + 1);
    size_t at;
    (void)state;
    assert_ok(needles_add(set, "first", KEY, strlen(KEY), &err));
    assert_ok(needles_add(set, "second", PEM, strlen(PEM), &err));
    for (int i = 0; i < NEEDLES_MAX; i++) {
        snprintf(key, sizeof key, "a-key-of-some-length-%08d", i);
        assert_ok(needles_add(set, "many", key, strlen(key), &err));
        if (i % 64 == 0) /* in use */
            assert_ok(needles_add(set, "first", KEY, strlen(KEY), &err));
    }
    assert_in_range(needles_count(set), NEEDLES_MAX - 32, NEEDLES_MAX);
    assert_non_null(needles_find(set, key, strlen(key), &at));
    assert_string_equal(needles_find(set, KEY, strlen(KEY), &at), "first");
    assert_null(needles_find(set, PEM, strlen(PEM), &at));
    assert_null(needles_find(set, "a-key-of-some-length-00000000", 29, &at));
    /* Each line is a needle in three forms, and there are too many. */
    memset(lines, 0, NEEDLE_VALUE_MAX + 1);
    for (int i = 0; i < (int)NEEDLE_VALUE_MAX / 13; i++)
        snprintf(lines + 13 * i, 14, "/\"<%08d&\n", i);
    assert_says(needles_add(set, "lines", lines, strlen(lines), &err), "lines and pieces");
    assert_string_equal(needles_find(set, KEY, strlen(KEY), &at),
                        "first"); /* not at others' cost */
    assert_non_null(needles_find(set, key, strlen(key), &at));
    free(lines);
    needles_free(set);
}

static void to_another_process(void **state)
{
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err), *copy = NULL;
    struct buf b;
    size_t at;
    (void)state;
    assert_ok(needles_add(set, "openai", KEY, strlen(KEY), &err));
    buf_init(&b, 1 << 20);
    assert_ok(needles_encode(set, &b, &err));
    assert_null(strstr(buf_str(&b), "sk-proj"));
    assert_ok(needles_decode(b.data, b.len, &copy, &err));
    assert_int_equal(needles_count(copy), needles_count(set));
    assert_string_equal(needles_find(copy, "x" KEY, strlen(KEY) + 1, &at), "openai");
    needles_free(copy);

    static const struct {
        const char *doc, *says;
    } bad[] = {
        {"{}", "key"},
        {"{\"key\":\"00\",\"needles\":[]}", "key"},
#define DOC(n)                                                                                   \
    "{\"key\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"needles\":" \
    "[" n "]}"
#define ROW(window, len, name)                \
    "{\"window\":\"" window "\",\"len\":" len \
    ",\"whole\":\"00000000000000000000000000000000\",\"name\":\"" name "\",\"added\":\"1\"}"
        {DOC(ROW("4294967296", "12", "a")), "needles[0]"},
        {DOC(ROW("1", "11", "a")), "needles[0]"},
        {DOC(ROW("1", "129", "a")), "needles[0]"},
        {DOC(ROW("1", "-5", "a")), "needles[0]"},
        {DOC(ROW("1", "12", "a]")), "needles[0]"},
        {DOC(ROW("1", "12", "a") "," ROW("1", "12", "")), "needles[1]"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_says(needles_decode(bad[i].doc, strlen(bad[i].doc), &copy, &err), bad[i].says);
    buf_done(&b);
    needles_free(set);
}

static void the_set_changes_on_the_way(void **state)
{
    struct err err = ERR_INIT;
    struct needles *one = needles_new(&err), *two = needles_new(&err);
    struct redactor *r = redactor_new(NULL);
    struct buf out;
    (void)state;
    assert_ok(needles_add(one, "k", KEY, strlen(KEY), &err));
    assert_ok(needles_add(two, "j", KEY, strlen(KEY), &err));
    buf_init(&out, 4096);
    assert_int_equal(redactor_feed(r, "a " KEY, 2 + strlen(KEY), &out), 0);
    assert_string_equal(buf_str(&out), "a " KEY); /* nothing known, nothing kept back */
    buf_clear(&out);
    redactor_set(r, one);
    assert_int_equal(redactor_feed(r, KEY, 20, &out), 0);
    assert_int_equal(redactor_held(r), 20);
    redactor_set(r, two);
    needles_free(one);
    assert_int_equal(redactor_feed(r, KEY + 20, strlen(KEY) - 20, &out), 0);
    assert_int_equal(redactor_end(r, &out), 0);
    assert_string_equal(buf_str(&out), "[redacted:j]");
    buf_done(&out);
    redactor_free(r);
    needles_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_reference),          cmocka_unit_test(cut_in_two_anywhere),
        cmocka_unit_test(forms_that_programs_write), cmocka_unit_test(base64_in_lines),
        cmocka_unit_test(what_is_no_needle),         cmocka_unit_test(the_set_is_full),
        cmocka_unit_test(to_another_process),        cmocka_unit_test(the_set_changes_on_the_way),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
