/* Host names and egress rules: the grammar, read as an attacker reads it, and what a rule allows. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <string.h>

#include "proto/egress.h"

static struct err err;

static void names(void **state)
{
    static const struct {
        const char *text, *canonical; /* NULL: none */
    } rows[] = {
        {"example.org", "example.org"},
        {"EXAMPLE.Org.", "example.org"},
        {"a.b", "a.b"},
        {"1.a", "1.a"},
        {"3com.example", "3com.example"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"a--b.example", "a--b.example"},
        {"_dns._tcp.example.org", "_dns._tcp.example.org"},
        {"a_b.example.org", "a_b.example.org"},
        {"127.0.0.1.example", "127.0.0.1.example"},
        {"0x7f.example", "0x7f.example"},
        {"1.2.3.a4", "1.2.3.a4"},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {"org", NULL},
        {"org.", NULL},
        {"localhost", NULL},
        {"example.org..", NULL},
        {".example.org", NULL},
        {"example..org", NULL},
        {"-a.example", NULL},
        {"a-.example", NULL},
        {"a.-", NULL},
        {"_a.example", NULL}, /* '_' in the last two labels */
        {"a._example", NULL},
        {"a_b.example", NULL},
        {"127.0.0.1", NULL},
        {"127.0.0.1.", NULL},
        {"127.1", NULL},
        {"2130706433", NULL},
        {"1.0x7f", NULL},
        {"0x7f.0x1", NULL},
        {"0X7F.0X1", NULL},
        {"a.0x", NULL},
        {"a.0xg", NULL},
        {"0177.0.0.01", NULL},
        {"a.4", NULL},
        {"a.1234567890123", NULL},
        {"[::1]", NULL},
        {"::1", NULL},
        {"a:b.example", NULL},
        {"*.example.org", NULL},
        {"a b.example", NULL},
        {" a.example", NULL},
        {"a.example ", NULL},
        {"a.example\n", NULL},
        {"a.example\r", NULL},
        {"a\t.example", NULL},
        {"a@b.example", NULL},
        {"a/b.example", NULL},
        {"a\\b.example", NULL},
        {"a%2e.example", NULL},
        {"a%00.example", NULL},
        {"a?b.example", NULL},
        {"a#b.example", NULL},
        {"a,b.example", NULL},
        {"a;b.example", NULL},
        {"a'b.example", NULL},
        {"\xc3\xbc.example", NULL},
        {"a\xe3\x80\x82"
         "example",
         NULL},                         /* ideographic full stop */
        {"\xef\xbd\x81.example", NULL}, /* full-width a */
        {"\xe2\x91\xa0.example", NULL},
        {"a\x80.example", NULL},
        {"a\xff.example", NULL},
        {"a.example\xe2\x80\x8b", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[DNS_NAME_SIZE], again[DNS_NAME_SIZE];
        bool taken = dns_name_canon(rows[i].text, strlen(rows[i].text), out);
        if (taken != (rows[i].canonical != NULL))
            fail_msg("'%s' is %staken", rows[i].text, taken ? "" : "not ");
        if (!taken)
            continue;
        assert_string_equal(out, rows[i].canonical);
        assert_true(dns_name_canon(out, strlen(out), again)); /* a fixed point */
        assert_string_equal(again, out);
    }
}

static void every_byte(void **state)
{
    for (unsigned c = 0; c < 256; c++) {
        char text[] = "aXa.example", out[DNS_NAME_SIZE];
        text[1] = (char)c;
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '.';
        if (dns_name_canon(text, sizeof text - 1, out) != good)
            fail_msg("byte %02x", c);
    }
}

static void lengths(void **state)
{
    char text[300], out[DNS_NAME_SIZE];
    memset(text, 'a', sizeof text);
    text[63] = '.';
    assert_true(dns_name_canon(text, 64 + 63, out));
    assert_false(dns_name_canon(text, 64 + 64, out));
    text[63] = 'a';
    text[64] = '.';
    assert_false(dns_name_canon(text, 66, out));
    memset(text, 'a', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2)
        text[i] = '.';
    assert_true(dns_name_canon(text, 253, out));
    assert_int_equal(strlen(out), 253);
    assert_true(dns_name_canon(text, 254, out)); /* a dot at the end */
    assert_int_equal(strlen(out), 253);
    text[253] = 'a';
    assert_false(dns_name_canon(text, 254, out));
    assert_false(dns_name_canon(text, 255, out));
    assert_false(dns_name_canon(text, sizeof text, out));
}

static void rules_taken(void **state)
{
    static const struct {
        const char *text;
        enum egress_kind kind;
        const char *name;
        unsigned port;
    } rows[] = {
        {"example.org", EGRESS_EXACT, "example.org", 0},
        {"example.org:1", EGRESS_EXACT, "example.org", 1},
        {"example.org:65535", EGRESS_EXACT, "example.org", 65535},
        {"*.example.org", EGRESS_SUFFIX, "example.org", 0},
        {"*.example.org:8443", EGRESS_SUFFIX, "example.org", 8443},
        {"npm", EGRESS_PRESET, "", 0},
        {"github", EGRESS_PRESET, "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct egress_rule r;
        assert_ok(egress_parse(rows[i].text, &r, &err));
        assert_int_equal(r.kind, rows[i].kind);
        assert_string_equal(r.name, rows[i].name);
        assert_int_equal(r.port, rows[i].port);
    }
    for (int i = 0; i < PRESET_COUNT; i++) {
        struct egress_rule r;
        assert_ok(egress_parse(preset_names[i], &r, &err));
        assert_int_equal(r.kind, EGRESS_PRESET);
        assert_int_equal(r.preset, i);
    }
}

static void rules_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "not a host name"},
        {"Example.org", "lower case"},
        {"example.org.", "not a host name"},
        {"*", "not a host name"},
        {"*.", "not a host name"},
        {"*.org", "not a host name"},
        {"*.*.example.org", "not a host name"},
        {"*example.org", "not a host name"},
        {"a.*.example.org", "not a host name"},
        {"a*.example.org", "not a host name"},
        {"*.example.org.", "not a host name"},
        {"*.127.0.0.1", "not a host name"},
        {"NPM", "not a host name"},
        {"npm:443", "not a host name"},
        {"pypi", "not a host name"},
        {"https://example.org", "port"},
        {"example.org/", "not a host name"},
        {"127.0.0.1", "addresses cannot be named"},
        {"127.0.0.1:443", "addresses cannot be named"},
        {"[::1]:443", "port"},
        {"10.0.0.0/8", "not a host name"},
        {"\xc3\xbc.example", "xn--"},
        {"example.org:", "port"},
        {"example.org:0", "port"},
        {"example.org:007", "port"},
        {"example.org:65536", "port"},
        {"example.org:99999999999999999999", "port"},
        {"example.org:-1", "port"},
        {"example.org:+1", "port"},
        {"example.org: 1", "port"},
        {"example.org:1 ", "port"},
        {"example.org:https", "port"},
        {"example.org:443:443", "port"},
        {":443", "not a host name"},
        {"example.org:53", "gate's own"},
        {"example.org:3128", "gate's own"},
        {"*.example.org:4100", "gate's own"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct egress_rule r;
        if (egress_parse(rows[i].text, &r, &err) != -ERR_USAGE)
            fail_msg("'%s' is taken", rows[i].text);
        if (!strstr(err.msg, rows[i].words))
            fail_msg("'%s': says \"%s\", not \"%s\"", rows[i].text, err.msg, rows[i].words);
    }
}

static int parse_all(const char *const *texts, size_t n, struct egress_rule *rules, size_t *ret_n,
                     struct err *e)
{
    struct strv v = {0};
    for (size_t i = 0; i < n; i++)
        assert_int_equal(strv_add(&v, texts[i]), 0);
    int rc = egress_parse_all(&v, rules, ret_n, e);
    strv_done(&v);
    return rc;
}

static void lists(void **state)
{
    static const char *const same[] = {"example.org", "npm", "example.org"};
    static const char *const apart[] = {"example.org", "*.example.org", "example.org:443", "npm",
                                        "apt"};
    static const char *const ports[] = {"a.example:1", "a.example:2", "a.example:4", "a.example:5",
                                        "a.example:6", "a.example:7", "a.example:8"};
    static char text[EGRESS_RULES_MAX + 1][24];
    const char *many[EGRESS_RULES_MAX + 1];
    static struct egress_rule rules[EGRESS_RULES_MAX];
    uint16_t out[EGRESS_PORTS_MAX];
    size_t n = 7;
    assert_says(parse_all(same, 3, rules, &n, &err), "named twice");
    assert_int_equal(n, 0);
    assert_ok(parse_all(apart, 5, rules, &n, &err));
    assert_int_equal(n, 5);
    assert_int_equal(egress_ports(rules, n, out), 2);
    assert_int_equal(out[0], 80);
    assert_int_equal(out[1], 443);
    assert_ok(parse_all(ports, 6, rules, &n, &err));
    assert_int_equal(egress_ports(rules, n, out), 8);
    for (int i = 1; i < 8; i++)
        assert_true(out[i - 1] < out[i]);
    assert_says(parse_all(ports, 7, rules, &n, &err), "different ports");
    for (int i = 0; i <= EGRESS_RULES_MAX; i++) {
        snprintf(text[i], sizeof text[i], "h%d.example", i);
        many[i] = text[i];
    }
    assert_ok(parse_all(many, EGRESS_RULES_MAX, rules, &n, &err));
    assert_int_equal(n, EGRESS_RULES_MAX);
    assert_says(parse_all(many, EGRESS_RULES_MAX + 1, rules, &n, &err), "at most 256");
    assert_ok(parse_all(NULL, 0, rules, &n, &err));
    assert_int_equal(n, 0);
}

static void what_rules_allow(void **state)
{
    static const char *const texts[] = {"github.com", "*.github.com", "example.org:8443", "npm",
                                        "*.deep.example.net:22"};
    static const struct {
        const char *name;
        unsigned port;
        int rule; /* -1: none */
    } rows[] = {
        {"github.com", 443, 0},
        {"github.com", 80, 0},
        {"github.com", 22, -1},
        {"github.com", 8443, -1},
        {"api.github.com", 443, 1},
        {"a.b.github.com", 443, 1},
        {"evilgithub.com", 443, -1},
        {"xgithub.com", 443, -1},
        {"-github.com", 443, -1},
        {"github.com.evil.example", 443, -1},
        {"github.comx", 443, -1},
        {"github.co", 443, -1},
        {"ithub.com", 443, -1},
        {"com", 443, -1},
        {"", 443, -1},
        {".github.com", 443, -1},
        {"example.org", 8443, 2},
        {"example.org", 443, -1},
        {"a.example.org", 8443, -1},
        {"deep.example.net", 22, -1},
        {"a.deep.example.net", 22, 4},
        {"a.deep.example.net", 443, -1},
        {"npm", 443, -1},
    };
    struct egress_rule r[5];
    for (size_t i = 0; i < 5; i++)
        assert_ok(egress_parse(texts[i], &r[i], &err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct egress_rule *m = egress_match(r, 5, rows[i].name, (uint16_t)rows[i].port);
        if ((m ? (int)(m - r) : -1) != rows[i].rule)
            fail_msg("%s:%u matches %d", rows[i].name, rows[i].port, m ? (int)(m - r) : -1);
    }
    assert_true(egress_knows(r, 5, "example.org"));
    assert_true(egress_knows(r, 5, "api.github.com"));
    assert_false(egress_knows(r, 5, "a.example.org"));
    assert_false(egress_knows(r, 5, "evilgithub.com"));
    assert_false(egress_knows(r, 5, "npm"));
    assert_null(egress_match(r, 0, "github.com", 443));
}

/* What a denial tells a person to type is a rule, and that rule allows what was denied. */
static void the_flag_that_would_allow(void **state)
{
    static const struct {
        unsigned port;
        const char *flag;
    } rows[] = {
        {443, "--egress a.example"},
        {80, "--egress a.example"},
        {22, "--egress a.example:22"},
        {65535, "--egress a.example:65535"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct egress_rule r;
        struct buf b;
        buf_init(&b, 512);
        assert_int_equal(egress_flag("a.example", (uint16_t)rows[i].port, &b), 0);
        assert_string_equal(buf_str(&b), rows[i].flag);
        assert_ok(egress_parse(buf_str(&b) + strlen("--egress "), &r, &err));
        assert_non_null(egress_match(&r, 1, "a.example", (uint16_t)rows[i].port));
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(every_byte),
        cmocka_unit_test(lengths),
        cmocka_unit_test(rules_taken),
        cmocka_unit_test(rules_refused),
        cmocka_unit_test(lists),
        cmocka_unit_test(what_rules_allow),
        cmocka_unit_test(the_flag_that_would_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
