/* ClientHellos made by hand, cut into records of every size: the one name in them is
 * found, and what hides, doubles or bends it is refused with words. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/buf.h"
#include "runner/client_hello.h"

static void add(struct buf *b, unsigned value, size_t bytes)
{
    while (bytes-- > 0)
        buf_addc(b, (char)(value >> (8 * bytes)));
}

/* A server_name extension with one entry. */
static void add_sni(struct buf *b, unsigned type, const char *name, size_t n)
{
    add(b, 0, 2);
    add(b, (unsigned)n + 5, 2);
    add(b, (unsigned)n + 3, 2);
    add(b, type, 1);
    add(b, (unsigned)n, 2);
    buf_add(b, name, n);
}

static void add_ext(struct buf *b, unsigned type, const char *bytes, size_t n)
{
    add(b, type, 2);
    add(b, (unsigned)n, 2);
    buf_add(b, bytes, n);
}

/* The handshake message around extensions. */
static void hello(struct buf *to, const struct buf *exts)
{
    struct buf body;
    buf_init(&body, 1 << 17);
    add(&body, 0x0303, 2);
    for (int i = 0; i < 32; i++)
        add(&body, 0xa0u + (unsigned)i, 1);
    add(&body, 32, 1);
    for (int i = 0; i < 32; i++)
        add(&body, (unsigned)i, 1);
    add(&body, 4, 2);
    add(&body, 0x1a1a1301, 4); /* GREASE, and a suite */
    add(&body, 0x0100, 2);
    add(&body, (unsigned)exts->len, 2);
    buf_add(&body, exts->data, exts->len);
    add(to, 1, 1);
    add(to, (unsigned)body.len, 3);
    buf_add(to, body.data, body.len);
    assert_false(to->failed);
    buf_done(&body);
}

/* The message in records of `size` bytes. */
static void records(struct buf *to, const struct buf *message, size_t size)
{
    for (size_t at = 0; at < message->len; at += size) {
        size_t n = message->len - at < size ? message->len - at : size;
        add(to, 0x160301, 3);
        add(to, (unsigned)n, 2);
        buf_add(to, message->data + at, n);
    }
}

struct result {
    int rc;
    char name[DNS_NAME_SIZE];
    const char *why;
};

static struct result parse(const void *bytes, size_t n)
{
    struct result r = {.why = ""};
    void *exact = malloc(n > 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    r.rc = client_hello_name(exact, n, r.name, &r.why);
    free(exact);
    return r;
}

/* What a hello with these extensions, in records of 512 bytes, gives. */
static struct result judge(const struct buf *exts)
{
    struct buf message, wire;
    buf_init(&message, 1 << 17);
    buf_init(&wire, 1 << 18);
    hello(&message, exts);
    records(&wire, &message, 512);
    struct result r = parse(wire.data, wire.len);
    buf_done(&message);
    buf_done(&wire);
    return r;
}

static void refused(const struct buf *exts, const char *words)
{
    struct result r = judge(exts);
    if (r.rc != -1)
        fail_msg("not refused for \"%s\": %d %s", words, r.rc, r.name);
    if (!strstr(r.why, words))
        fail_msg("says \"%s\", not \"%s\"", r.why, words);
    assert_string_equal(r.name, "");
}

static void cut_anyhow(void **state)
{
    struct buf exts, message, wire;
    buf_init(&exts, 4096);
    buf_init(&message, 4096);
    add_ext(&exts, 0x0a0a, "", 0); /* GREASE */
    add_ext(&exts, 10, "\0\2\0\x1d", 4);
    add_sni(&exts, 0, "Example.ORG.", 12);
    add_ext(&exts, 0xfafa, "\0", 1);
    hello(&message, &exts);
    for (size_t size = 1; size <= message.len; size++) {
        buf_init(&wire, 1 << 16);
        records(&wire, &message, size);
        for (size_t n = 0; n<wire.len; n += size> 8 ? 1 : 17)
            if (parse(wire.data, n).rc != 0)
                fail_msg("records of %zu, %zu of %zu bytes: not 0", size, n, wire.len);
        struct result r = parse(wire.data, wire.len);
        assert_int_equal(r.rc, 1);
        assert_string_equal(r.name, "example.org");
        buf_add(&wire, "\x17\x03\x03\0\x01x", 6); /* early data */
        assert_int_equal(parse(wire.data, wire.len).rc, 1);
        buf_done(&wire);
    }
    buf_done(&exts);
    buf_done(&message);
}

static void names(void **state)
{
    static const struct {
        const char *name;
        size_t n;
        const char *canonical; /* NULL: refused */
    } rows[] = {
        {"a.example", 9, "a.example"},
        {"A.EXAMPLE.", 10, "a.example"},
        {"xn--bcher-kva.example", 21, "xn--bcher-kva.example"},
        {"", 0, NULL},
        {".", 1, NULL},
        {"localhost", 9, NULL},
        {"127.0.0.1", 9, NULL},
        {"::1", 3, NULL},
        {"a.example\0.b.example", 20, NULL},
        {"a.example:443", 13, NULL},
        {"a..example", 10, NULL},
        {"b\xc3\xbc"
         "cher.example",
         14, NULL},
        {"*.example.org", 13, NULL},
        {" a.example", 10, NULL},
        {"a.example\n", 10, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf exts;
        buf_init(&exts, 4096);
        add_sni(&exts, 0, rows[i].name, rows[i].n);
        if (rows[i].canonical) {
            struct result r = judge(&exts);
            assert_int_equal(r.rc, 1);
            assert_string_equal(r.name, rows[i].canonical);
        } else {
            refused(&exts, "not a host name");
        }
        buf_done(&exts);
    }
}

static void extensions_that_hide(void **state)
{
    struct buf e;
    buf_init(&e, 1 << 16);
    refused(&e, "no server name");
    add_ext(&e, 10, "\0\2\0\x1d", 4);
    refused(&e, "no server name");
    add_sni(&e, 0, "a.example", 9);
    assert_int_equal(judge(&e).rc, 1);
    add_sni(&e, 0, "b.example", 9);
    refused(&e, "several");
    static const unsigned hidden[] = {0xfe0d, 0xfe0c, 0xfe08, 0xffce};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        for (int outer_first = 0; outer_first < 2; outer_first++) {
            buf_clear(&e);
            if (outer_first)
                add_ext(&e, hidden[i], "\0", 1); /* outer; inner is "\1" */
            add_sni(&e, 0, "a.example", 9);
            if (!outer_first)
                add_ext(&e, hidden[i], "\1", 1);
            refused(&e, "encrypted");
        }
    }
    buf_clear(&e);
    add_sni(&e, 1, "a.example", 9);
    refused(&e, "unknown type");
    buf_clear(&e);
    add_ext(&e, 0,
            "\0\x18\0\0\x09"
            "a.example\0\0\x09"
            "b.example",
            26);
    refused(&e, "several");
    buf_clear(&e);
    for (unsigned i = 0; i < 2000; i++)
        add_ext(&e, 0x1000 + i, "", 0);
    add_sni(&e, 0, "a.example", 9);
    assert_int_equal(judge(&e).rc, 1);
    buf_done(&e);
}

static void lengths_that_lie(void **state)
{
    static const struct {
        const char *ext; /* the body of server_name */
        size_t n;
    } rows[] = {
        {"", 0},
        {"\0", 1},
        {"\0\0", 2}, /* an empty list */
        {"\0\x0c\0\0\x0a"
         "a.example",
         14}, /* the name is longer than its list */
        {"\0\x0d\0\0\x09"
         "a.example",
         14}, /* the list is longer than the extension */
        {"\0\x0b\0\0\x09"
         "a.example",
         14}, /* and shorter */
        {"\0\x0c\0\0\x09"
         "a.example\0",
         15}, /* a byte behind the list */
        {"\0\x03\0\0\x09", 5},
        {"\0\x01\0", 3},
    };
    struct buf e;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_init(&e, 4096);
        add_ext(&e, 0, rows[i].ext, rows[i].n);
        refused(&e, "malformed");
        buf_done(&e);
    }
    buf_init(&e, 4096);
    add_sni(&e, 0, "a.example", 9);
    add(&e, 0x0a0a00, 3); /* half an extension */
    refused(&e, "malformed");
    buf_clear(&e);
    add_sni(&e, 0, "a.example", 9);
    add(&e, 0x0a0a0001, 4); /* one byte that is not there */
    refused(&e, "malformed");
    buf_done(&e);
}

/* One byte of a good hello changed to each value: found the same name, refused, or asks for more, and
 * never another name than the bytes of the name say. */
static void every_byte_changed(void **state)
{
    struct buf exts, message, wire;
    size_t taken = 0;
    buf_init(&exts, 4096);
    buf_init(&message, 4096);
    buf_init(&wire, 4096);
    add_sni(&exts, 0, "a.example", 9);
    hello(&message, &exts);
    records(&wire, &message, 4096);
    for (size_t at = 0; at < wire.len; at++) {
        uint8_t was = wire.data[at];
        for (unsigned v = 0; v < 256; v++) {
            wire.data[at] = (uint8_t)v;
            struct result r = parse(wire.data, wire.len);
            if (r.rc == 1 && at < wire.len - 9)
                assert_string_equal(r.name, "a.example");
            taken += r.rc == 1;
        }
        wire.data[at] = was;
    }
    assert_true(taken > 64 * 256); /* random and session: any value */
    buf_done(&exts);
    buf_done(&message);
    buf_done(&wire);
}

static void not_tls(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } rows[] = {
        {"GET / HTTP/1.1\r\n", 16, "not TLS"},
        {"S", 1, "not TLS"},
        {"SSH-2.0-OpenSSH\r\n", 17, "not TLS"},
        {"\x80\x2e\x01\x03\x01", 5, "not TLS"}, /* SSLv2 hello */
        {"\x16\x02", 2, "not TLS"},
        {"\x16\xfe\xff", 3, "not TLS"},           /* DTLS */
        {"\x15\x03\x01\0\2\2\x28", 7, "not TLS"}, /* an alert */
        {"\x16\x03\x01\0\0", 5, "no bytes"},
        {"\x16\x03\x01\x40\x01", 5, "too many"},
        {"\x16\x03\x01\0\1\2", 6, "not a ClientHello"},
        {"\x16\x03\x01\0\4\1\0\x40\0", 9, "over 16 KiB"},
        {"\x16\x03\x01\0\1\1\x17\x03\x03\0\1x", 12, "not TLS"}, /* another type in between */
        {"\x16\x03\x01\0\4\1\0\0\0", 9, "malformed"},
        {"\x16\x03\x01\0\5\1\0\0\0\0", 10, "more than"},
        {"\x16\x03\x01\0\5\1\0\0\0", 9, "more than"}, /* said, not yet come */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct result r = parse(rows[i].bytes, rows[i].n);
        if (r.rc != -1 || !strstr(r.why, rows[i].why))
            fail_msg("row %zu: %d, says \"%s\", not \"%s\"", i, r.rc, r.why, rows[i].why);
    }
}

static void too_large(void **state)
{
    static char pad[CLIENT_HELLO_BYTES];
    struct buf e, message, wire;
    buf_init(&e, 1 << 16);
    buf_init(&message, 1 << 17);
    buf_init(&wire, 1 << 18);
    add_ext(&e, 21, pad, CLIENT_HELLO_BYTES - 400);
    add_sni(&e, 0, "a.example", 9);
    assert_int_equal(judge(&e).rc, 1);
    buf_clear(&e);
    add_ext(&e, 21, pad, CLIENT_HELLO_BYTES - 30);
    add_sni(&e, 0, "a.example", 9);
    refused(&e, "over 16 KiB");
    /* Small, but spread over so many records that their heads fill the room. */
    buf_clear(&e);
    add_ext(&e, 21, pad, 4000);
    add_sni(&e, 0, "a.example", 9);
    hello(&message, &e);
    records(&wire, &message, 1);
    assert_int_equal(parse(wire.data, CLIENT_HELLO_BYTES - 1).rc, 0);
    assert_int_equal(parse(wire.data, CLIENT_HELLO_BYTES).rc, -1);
    buf_done(&e);
    buf_done(&message);
    buf_done(&wire);
}

/* Fields before the extensions. */
static void bodies(void **state)
{
    static const struct {
        const char *middle; /* after version and random */
        size_t n;
        const char *why;
    } rows[] = {
        {"\0\0\2\x13\1\1\0", 7, "no server name"}, /* no extensions at all: TLS 1.2 and before */
        {"\0\0\2\x13\1\1\0\0\0", 9, "no server name"},
        {"\0\0\0\1\0", 5, "malformed"},         /* no suites */
        {"\0\0\3\x13\1\1\1\0", 8, "malformed"}, /* half a suite */
        {"\0\0\2\x13\1\0", 6, "malformed"},     /* no compression */
        {"\x21"
         "000000000000000000000000000000000\0\2\x13\1\1\0",
         40, "malformed"},
        {"\0\0\2\x13\1\1\0\0\1", 9, "malformed"},
        {"\0\0\2\x13\1\1\0\0\0x", 10, "malformed"},
        {"\0\0\2\x13\1\1\0x", 8, "malformed"},
        {"\0\xff\xff\x13\1\1\0", 7, "malformed"},
        {"", 0, "malformed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf message, wire;
        buf_init(&message, 4096);
        buf_init(&wire, 4096);
        add(&message, 1, 1);
        add(&message, (unsigned)(34 + rows[i].n), 3);
        add(&message, 0x0301, 2);
        for (int b = 0; b < 32; b++)
            add(&message, 7, 1);
        buf_add(&message, rows[i].middle, rows[i].n);
        records(&wire, &message, 4096);
        struct result r = parse(wire.data, wire.len);
        if (r.rc != -1 || !strstr(r.why, rows[i].why))
            fail_msg("row %zu: %d, says \"%s\", not \"%s\"", i, r.rc, r.why, rows[i].why);
        buf_done(&message);
        buf_done(&wire);
    }
}

static void alert(void **state)
{
    unsigned char bytes[7];
    assert_int_equal(client_hello_alert(bytes), 7);
    assert_memory_equal(bytes, "\x15\x03\x03\x00\x02\x02\x70", 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anyhow),
        cmocka_unit_test(names),
        cmocka_unit_test(extensions_that_hide),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(not_tls),
        cmocka_unit_test(too_large),
        cmocka_unit_test(bodies),
        cmocka_unit_test(alert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
