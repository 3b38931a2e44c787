/* DNS questions as resolvers and as attackers send them, and the answers, read back by a reader of
 * their own. */
#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "runner/dns_msg.h"

#define HEAD  "\x12\x34\x01\x00\0\1\0\0\0\0\0\0"
#define HEADX "\x12\x34\x01\x20\0\1\0\0\0\0\0\1" /* with one additional record */
#define NAME  "\7Example\3oRg\0"
#define A_IN  "\0\1\0\1"
#define OPT   "\0\0\x29\x10\0\0\0\0\0\0\0"

#define BYTES(text) text, sizeof(text) - 1

static int parse(const void *bytes, size_t n, struct dns_question *q)
{
    void *exact = malloc(n > 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    int rc = dns_question_parse(exact, n, q);
    free(exact);
    return rc;
}

static void questions(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *name, *shown;
        unsigned type;
    } rows[] = {
        {BYTES(HEAD NAME A_IN), "example.org", "Example.oRg", 1},
        {BYTES(HEAD NAME "\0\x1c\0\1"), "example.org", "Example.oRg", 28},
        {BYTES(HEADX NAME A_IN OPT), "example.org", "Example.oRg", 1},
        {BYTES(HEADX NAME A_IN "\0\0\x29\x10\0\0\0\0\0\0\4\0\x0a\0\0"), "example.org",
         "Example.oRg", 1},
        {BYTES(HEAD "\4_ldp\4_tcp\7example\3org\0\0\x21\0\1"), "_ldp._tcp.example.org",
         "_ldp._tcp.example.org", 33},
        {BYTES(HEAD "\0" A_IN), "", "", 1},
        {BYTES(HEAD "\11localhost\0" A_IN), "", "localhost", 1},
        {BYTES(HEAD "\x0b"
                    "example.org\0" A_IN),
         "", "example?org", 1}, /* a dot within a label */
        {BYTES(HEAD "\7exam\0le\3org\0" A_IN), "", "exam?le.org", 1},
        {BYTES(HEAD "\7exam\x1bl\n\3org\0" A_IN), "", "exam?l?.org", 1},
        {BYTES(HEAD "\x03\xc3\xbc"
                    "e\3org\0" A_IN),
         "", "??e.org", 1},
        {BYTES(HEAD "\1*\7example\3org\0" A_IN), "", "?.example.org", 1},
        {BYTES(HEAD "\x03"
                    "127\1"
                    "0\1"
                    "0\1"
                    "1\0" A_IN),
         "", "127.0.0.1", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dns_question q;
        if (parse(rows[i].bytes, rows[i].n, &q) != 1)
            fail_msg("row %zu is not taken", i);
        assert_string_equal(q.name, rows[i].name);
        assert_string_equal(q.shown, rows[i].shown);
        assert_int_equal(q.type, rows[i].type);
        assert_int_equal(q.class, 1);
        assert_int_equal(q.id, 0x1234);
        for (size_t cut = 12; cut < rows[i].n; cut++)
            if (parse(rows[i].bytes, cut, &q) != -1)
                fail_msg("row %zu cut to %zu bytes is taken", i, cut);
        for (size_t cut = 0; cut < 12; cut++)
            assert_int_equal(parse(rows[i].bytes, cut, &q), 0);
    }
}

static void malformed(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        int rc;
    } rows[] = {
        {BYTES("\x12\x34\x81\x80\0\1\0\0\0\0\0\0" NAME A_IN), 0}, /* a response */
        {BYTES("\x12\x34\x01\0\0\0\0\0\0\0\0\0"), -1},
        {BYTES("\x12\x34\x01\0\0\2\0\0\0\0\0\0" NAME A_IN NAME A_IN), -1},
        {BYTES("\x12\x34\x01\0\0\1\0\1\0\0\0\0" NAME A_IN), -1},
        {BYTES("\x12\x34\x01\0\0\1\0\0\0\1\0\0" NAME A_IN), -1},
        {BYTES("\x12\x34\x01\0\0\1\0\0\0\0\0\2" NAME A_IN OPT OPT), -1},
        {BYTES("\x12\x34\x01\0\1\1\0\0\0\0\0\0" NAME A_IN), -1}, /* 257 questions */
        {BYTES(HEAD "\xc0\x0c" A_IN), -1},                       /* compressed, to itself */
        {BYTES(HEAD "\7example\xc0\x0c" A_IN), -1},
        {BYTES(HEAD
               "\x41"
               "0123456789012345678901234567890123456789012345678901234567890123456789\0" A_IN),
         -1},
        {BYTES(HEAD NAME A_IN "x"), -1},
        {BYTES(HEAD NAME A_IN OPT), -1}, /* not counted */
        {BYTES(HEADX NAME A_IN), -1},    /* not there */
        {BYTES(HEADX NAME A_IN OPT "x"), -1},
        {BYTES(HEADX NAME A_IN "\1x\x29\x10\0\0\0\0\0\0\0\0"), -1},
        {BYTES(HEADX NAME A_IN "\0\0\xfa\x10\0\0\0\0\0\0\0"), -1}, /* TSIG */
        {BYTES(HEADX NAME A_IN "\0\0\x29\x10\0\0\0\0\0\xff\xff"), -1},
        {BYTES(HEAD "\7example\3org"), -1},
        {BYTES(HEAD "\x3f"), -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct dns_question q;
        uint8_t out[DNS_MSG_BYTES];
        int rc = parse(rows[i].bytes, rows[i].n, &q);
        if (rc != rows[i].rc)
            fail_msg("row %zu gives %d", i, rc);
        if (rc == 0)
            continue;
        /* The answer says so and repeats nothing that could not be read. */
        assert_int_equal(dns_answer_make(rows[i].bytes, &q, DNS_FORMERR, 0, out), 12);
        assert_memory_equal(out, "\x12\x34\x85\x81\0\0\0\0\0\0\0\0", 12);
    }
}

static void long_names(void **state)
{
    uint8_t m[DNS_MSG_BYTES + 8] = HEAD;
    struct dns_question q;
    size_t at = 12;
    for (int i = 0; i < 3; i++) { /* 63.63.63.61: 253 bytes of text, 255 on the wire */
        m[at++] = 63;
        memset(m + at, 'a', 63);
        at += 63;
    }
    size_t last = at;
    for (unsigned n = 60; n <= 63; n++) {
        at = last;
        m[at++] = (uint8_t)n;
        memset(m + at, 'b', n);
        at += n;
        memcpy(m + at, "\0" A_IN, 5);
        assert_int_equal(parse(m, at + 5, &q), n <= 61 ? 1 : -1);
        if (n == 61)
            assert_int_equal(strlen(q.name), DNS_NAME_MAX);
    }
    at = 12; /* a label of 64 */
    m[at++] = 64;
    memset(m + at, 'a', 64);
    at += 64;
    memcpy(m + at, "\3org\0" A_IN, 9);
    assert_int_equal(parse(m, at + 9, &q), -1);
    m[12] = 63; /* and of 63, with what follows read as one of 97 */
    assert_int_equal(parse(m, at + 9, &q), -1);
    /* A question and padding up to the longest message, and one byte more. */
    memcpy(m, HEADX NAME A_IN OPT, 40);
    m[39] = 0;
    size_t base = 12 + 13 + 4 + 11;
    for (size_t n = DNS_MSG_BYTES; n <= DNS_MSG_BYTES + 1; n++) {
        memset(m + base, 0, sizeof m - base);
        m[base - 2] = (uint8_t)((n - base) >> 8);
        m[base - 1] = (uint8_t)(n - base);
        assert_int_equal(parse(m, n, &q), n <= DNS_MSG_BYTES ? 1 : -1);
    }
}

static void answers(void **state)
{
    static const char query[] = HEADX NAME A_IN OPT;
    struct dns_question q;
    uint8_t out[DNS_MSG_BYTES];
    uint32_t address = inet_addr("127.64.0.9");
    assert_int_equal(parse(query, sizeof query - 1, &q), 1);
    size_t n = dns_answer_make(query, &q, DNS_OK, address, out);
    assert_int_equal(n, 12 + 13 + 4 + 16);
    assert_memory_equal(out, "\x12\x34\x85\x80\0\1\0\1\0\0\0\0" NAME A_IN, 29);
    assert_memory_equal(out + 29, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\x40\0\x09", 16);

    n = dns_answer_make(query, &q, DNS_NXDOMAIN, 0, out);
    assert_int_equal(n, 29);
    assert_memory_equal(out, "\x12\x34\x85\x83\0\1\0\0\0\0\0\0" NAME A_IN, 29);
    assert_int_equal(dns_answer_make(query, &q, DNS_NXDOMAIN, address, out), 29);
    assert_int_equal(dns_answer_make(query, &q, DNS_OK, 0, out), 29);
    assert_memory_equal(out + 2, "\x85\x80\0\1\0\0", 6);

    q.type = 28; /* AAAA: the name is there, without such an address */
    assert_int_equal(dns_answer_make(query, &q, DNS_OK, address, out), 29);
    q.type = 1;
    q.class = 3;
    assert_int_equal(dns_answer_make(query, &q, DNS_OK, address, out), 29);
}

static void other_opcodes(void **state)
{
    static const char notify[] = "\x12\x34\x21\0\0\1\0\0\0\0\0\0" NAME A_IN;
    struct dns_question q;
    uint8_t out[DNS_MSG_BYTES];
    assert_int_equal(parse(notify, sizeof notify - 1, &q), 1);
    assert_int_equal(dns_opcode(&q), 4);
    assert_int_equal(dns_answer_make(notify, &q, DNS_NOTIMP, 0, out), 29);
    assert_memory_equal(out, "\x12\x34\xa5\x84", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions), cmocka_unit_test(malformed),     cmocka_unit_test(long_names),
        cmocka_unit_test(answers),   cmocka_unit_test(other_opcodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
