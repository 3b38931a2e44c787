/* JSON: the scanner's refusals one by one, every kind of member both ways, and the bounds. */
#include "tests/unit/cm.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/json_all.h"

static const char whole[] =
    "{\"text\":\"t\xc3\xbc\",\"prose\":\"a\\n\\t\\\"\\\\\",\"u64\":\"18446744073709551615\","
    "\"i64\":\"-9223372036854775808\",\"int\":-2147483648,\"bool\":true,\"hex\":\"00ff10ab\","
    "\"b64\":\"AAECAwQ=\",\"enum\":\"two\",\"bits\":[\"zero\",\"two\"],"
    "\"obj\":{\"name\":\"in\",\"n\":\"3\"},\"list\":[{\"name\":\"\"},{\"name\":\"b\",\"n\":\"1\"}],"
    "\"strs\":[\"\",\"x\\ny\"],\"const\":\"https://x/1\",\"group\":{\"grouped\":\"g\"},"
    "\"tuple\":[\"1st\",\"2nd\"]}";

static void every_kind_round_trips(void **state)
{
    struct err err = ERR_INIT;
    struct all a;
    struct buf b;

    buf_init(&b, 4096);
    assert_ok(json_decode(&all_shape, whole, sizeof(whole) - 1, &a, &err));
    assert_string_equal(a.text, "t\xc3\xbc");
    assert_string_equal(a.prose, "a\n\t\"\\");
    assert_true(a.u64 == UINT64_MAX && a.i64 == INT64_MIN && a.number == INT_MIN && a.truth);
    assert_memory_equal(a.hex, "\x00\xff\x10\xab", 4);
    assert_memory_equal(a.b64, "\0\1\2\3\4", 5);
    assert_int_equal(a.word, 2);
    assert_int_equal(a.bits, 5);
    assert_string_equal(a.obj.name, "in");
    assert_int_equal(a.obj.n, 3);
    assert_int_equal(a.list.n, 2);
    assert_string_equal(((struct inner *)a.list.items)[1].name, "b");
    assert_int_equal(a.strs.n, 2);
    assert_string_equal(a.strs.v[1], "x\ny");
    assert_null(a.strs.v[2]);
    assert_string_equal(a.grouped, "g");
    assert_string_equal(a.second, "2nd");
    assert_ok(json_encode(&all_shape, &a, &b, &err));
    assert_string_equal(buf_str(&b), whole);
    json_release(&all_shape, &a);
    assert_null(a.list.items);
    json_release(&all_shape, &a); /* a released struct may be released again */
    buf_done(&b);
}

static void zero_optionals_are_absent(void **state)
{
    struct err err = ERR_INIT;
    struct all a = {0};
    struct buf b;

    buf_init(&b, 4096);
    assert_ok(json_encode(&any_shape, &a, &b, &err));
    assert_string_equal(buf_str(&b), "{}");
    assert_ok(json_decode(&any_shape, "{}", 2, &a, &err));
    a.grouped[0] = 'x';
    buf_clear(&b);
    assert_ok(json_encode(&any_shape, &a, &b, &err));
    assert_string_equal(buf_str(&b), "{\"group\":{\"grouped\":\"x\"}}");
    buf_done(&b);
}

/* What the grammar and creel's narrower rules refuse, whatever the table. */
static void scanner_refuses(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "a value is expected"},
        {" ", "a value is expected"},
        {"nul", "a value is expected"},
        {"True", "a value is expected"},
        {"NaN", "a value is expected"},
        {"Infinity", "a value is expected"},
        {"-Infinity", "lacks digits"},
        {"'a'", "a value is expected"},
        {"\xef\xbb\xbf{}", "a value is expected"}, /* byte order mark */
        {"{} {}", "something follows"},
        {"{}x", "something follows"},
        {"{},", "something follows"},
        {"[1,]", "a value is expected"},
        {"[,1]", "a value is expected"},
        {"[1 2]", "a comma or ']'"},
        {"[1", "a comma or ']'"},
        {"[", "a value is expected"},
        {"{", "a key is expected"},
        {"{\"a\"}", "a colon is expected"},
        {"{\"a\" 1}", "a colon is expected"},
        {"{\"a\":}", "a value is expected"},
        {"{\"a\":1", "a comma or '}'"},
        {"{\"a\":1,}", "a key is expected"},
        {"{a:1}", "a key is expected"},
        {"{1:1}", "a key is expected"},
        {"{\"a\":1]", "a comma or '}'"},
        {"[1}", "a comma or ']'"},
        {"/*c*/{}", "a value is expected"},
        {"{}//c", "something follows"},
        {"\v{}", "a value is expected"},
        {"\xc2\xa0{}", "a value is expected"},
        {"01", "leading zero"},
        {"-01", "leading zero"},
        {"+1", "a value is expected"},
        {".5", "a value is expected"},
        {"1.", "lacks digits"},
        {"1.e3", "lacks digits"},
        {"1e", "lacks digits"},
        {"1e+", "lacks digits"},
        {"-", "lacks digits"},
        {"0x1", "something follows"},
        {"1_0", "something follows"},
        {"\"", "does not end"},
        {"\"abc", "does not end"},
        {"\"a\nb\"", "raw control character"},
        {"\"a\tb\"", "raw control character"},
        {"\"\x01\"", "raw control character"},
        {"\"\\x41\"", "unknown escape"},
        {"\"\\'\"", "unknown escape"},
        {"\"\\", "unknown escape"},
        {"\"\\U0041\"", "unknown escape"},
        {"\"\\u004\"", "four hex digits"},
        {"\"\\u00g0\"", "four hex digits"},
        {"\"\\u", "four hex digits"},
        {"\"\\u0000\"", "\\u0000 is refused"},
        {"{\"a\\u0000b\":1}", "\\u0000 is refused"},
        {"\"\\ud800\"", "lone surrogate"},
        {"\"\\udc00\"", "lone surrogate"},
        {"\"\\ud800\\ud800\"", "lone surrogate"},
        {"\"\\ud800x\"", "lone surrogate"},
        {"\"\\ud800\\n00000\"", "lone surrogate"},
        {"\"\\udbff\\ue000\"", "lone surrogate"},
        {"\"\x80\"", "invalid UTF-8"},
        {"\"\xc0\x80\"", "invalid UTF-8"},
        {"\"\xc0\xaf\"", "invalid UTF-8"},
        {"\"\xe0\x80\xaf\"", "invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8"},
        {"\"\xf4\x90\x80\x80\"", "invalid UTF-8"},
        {"\"\xff\"", "invalid UTF-8"},
        {"\"\xc3\"", "invalid UTF-8"},
        {"{\"\xff\":1}", "invalid UTF-8"},
        {"{\"a\":1,\"a\":1}", "duplicate key 'a'"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "duplicate key 'a'"},
        {"{\"a\":1,\"\\u0061\":2}", "duplicate key 'a'"},
        {"{\"\\/\":1,\"/\":2}", "duplicate key '/'"},
        {"{\"\":1,\"\":2}", "duplicate key ''"},
        {"{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}", "duplicate key"},
        {"{\"x\":{\"a\":[{\"k\":1,\"k\":1}]}}", "duplicate key 'k'"},
        {"{\"a\":{\"a\":1},\"a\":1}", "duplicate key 'a'"},
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *exact = malloc(strlen(cases[i].text) + 1); /* so that a read past the end is seen */
        size_t n = strlen(cases[i].text);
        memcpy(exact, cases[i].text, n);
        exact = realloc(exact, n > 0 ? n : 1);
        assert_says(json_check(exact, n, &err), cases[i].says);
        assert_int_equal(err.code, ERR_FAIL);
        free(exact);
    }
    assert_says(json_check("{}\0", 3, &err), "something follows");
    assert_says(json_check("\0", 1, &err), "a value is expected");
    assert_says(json_check("\"a\0b\"", 5, &err), "raw control character");
}

static void scanner_accepts(void **state)
{
    static const char *const good[] = {
        "0",
        "-0",
        "-1",
        "1.5e+10",
        "1E9",
        "1e999",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        " \t\r\n[ ] \n",
        "{ \"a\" : [ 1 , { } ] }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\uDBFF\\uDFFF\"",
        "\"\x7f\"",
        "\"\xef\xbf\xbf\"",
        "{\"a\":1,\"A\":2,\"aa\":3,\"\":4}",
        "{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
        "[{\"a\":1},{\"a\":1}]",
        "123456789012345678901234567890",
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_ok(json_check(good[i], strlen(good[i]), &err));
}

static void depth_is_bounded(void **state)
{
    struct err err = ERR_INIT;
    char text[2 * 1024 + 1];

    for (int n = 1; n <= 1024; n *= 2) {
        for (int extra = 0; extra < 2; extra++) {
            int depth = n + extra > 1024 ? 1024 : n + extra;
            memset(text, '[', (size_t)depth);
            memset(text + depth, ']', (size_t)depth);
            if (depth <= JSON_DEPTH_MAX)
                assert_ok(json_check(text, 2 * (size_t)depth, &err));
            else
                assert_says(json_check(text, 2 * (size_t)depth, &err), "nested too deep");
        }
    }
}

static void elements_and_bytes_are_bounded(void **state)
{
    struct err err = ERR_INIT;
    struct buf b;

    buf_init(&b, 2u << 20);
    for (int kind = 0; kind < 4; kind++) {
        int n = JSON_ITEMS_MAX + kind % 2;
        buf_clear(&b);
        buf_addc(&b, kind < 2 ? '[' : '{');
        for (int i = 0; i < n; i++)
            buf_addf(&b, kind < 2 ? "%s%d" : "%s\"%d\":0", i ? "," : "", i);
        buf_addc(&b, kind < 2 ? ']' : '}');
        if (kind % 2 == 0)
            assert_ok(json_check(b.data, b.len, &err));
        else
            assert_says(json_check(b.data, b.len, &err), "too many elements");
    }
    buf_clear(&b);
    buf_addf(&b, "\"%*s\"", (int)JSON_BYTES_MAX - 2, "");
    assert_ok(json_check(b.data, b.len, &err));
    buf_addc(&b, ' ');
    assert_says(json_check(b.data, b.len, &err), "over the limit");
    buf_done(&b);
}

/* A caller's bounds replace the usual ones, both ways: larger documents pass, smaller limits hold. */
static void bounds_are_the_callers(void **state)
{
    const struct json_bounds wide = {.bytes = 2u << 20, .items = 2 * JSON_ITEMS_MAX},
                             narrow = {.bytes = 64, .items = 2};
    struct err err = ERR_INIT;
    struct inner in;
    struct buf b;

    buf_init(&b, 4u << 20);
    buf_addc(&b, '[');
    for (int i = 0; i < 2 * JSON_ITEMS_MAX; i++)
        buf_adds(&b, i ? ",0.5" : "0.5");
    buf_addf(&b, "%*s]", (int)JSON_BYTES_MAX, "");
    assert_says(json_check(b.data, b.len, &err), "over the limit of 1048576");
    assert_ok(json_check_within(b.data, b.len, &wide, &err));
    b.data[b.len - 1] = ',';
    buf_adds(&b, "0]");
    assert_says(json_check_within(b.data, b.len, &wide, &err), "too many elements");
    assert_says(json_check_within("[0,0,0]", 7, &narrow, &err), "too many elements");
    buf_clear(&b);
    buf_addf(&b, "{\"name\":\"n\",\"n\":\"1\"%*s}", (int)JSON_BYTES_MAX, "");
    assert_ok(json_decode_within(&inner_shape, b.data, b.len, &wide, &in, &err));
    assert_int_equal(in.n, 1);
    assert_says(json_decode_within(&inner_shape, b.data, b.len, &narrow, &in, &err),
                "over the limit");
    buf_done(&b);
}

/* 1 MiB of objects with as many long, almost equal keys as fit: the shape that is quadratic for a
 * reader that compares every key with every other. CPU time, generous: a quadratic one takes
 * minutes. */
static void duplicate_search_is_not_quadratic(void **state)
{
    struct err err = ERR_INIT;
    struct buf b;
    clock_t start;

    buf_init(&b, JSON_BYTES_MAX);
    buf_addc(&b, '{');
    for (int i = 0; i < JSON_ITEMS_MAX; i++)
        buf_addf(&b, "%s\"%0240d\":0", i ? "," : "", i);
    buf_addc(&b, '}');
    assert_false(b.failed);
    start = clock();
    for (int i = 0; i < 10; i++)
        assert_ok(json_check(b.data, b.len, &err));
    assert_true((clock() - start) / CLOCKS_PER_SEC < 20);
    b.data[b.len - 5] = '4'; /* the last key becomes its neighbour, 4094 */
    assert_says(json_check(b.data, b.len, &err), "duplicate key");
    buf_done(&b);
}

/* One member each, over a table in which all is optional. */
static void members_are_strict(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[]", "not an object"},
        {"null", "not an object"},
        {"{\"x\":1}", "x: unknown key"},
        {"{\"Text\":\"a\"}", "Text: unknown key"},
        {"{\"text\":null}", "text: not a string"},
        {"{\"text\":1}", "text: not a string"},
        {"{\"text\":\"123456789\"}", "text: 9 bytes, at most 8"},
        {"{\"text\":\"a\\nb\"}", "text: holds a control character"},
        {"{\"text\":\"a\\u001bb\"}", "text: holds a control character"},
        {"{\"text\":\"\x7f\"}", "text: holds a control character"},
        {"{\"prose\":\"a\\rb\"}", "prose: holds a control character"},
        {"{\"u64\":1}", "u64: not a decimal string"},
        {"{\"u64\":\"\"}", "u64: not a decimal string"},
        {"{\"u64\":\"-1\"}", "u64: not a decimal string"},
        {"{\"u64\":\"+1\"}", "u64: not a decimal string"},
        {"{\"u64\":\"01\"}", "u64: not a decimal string"},
        {"{\"u64\":\"1 \"}", "u64: not a decimal string"},
        {"{\"u64\":\"1.0\"}", "u64: not a decimal string"},
        {"{\"u64\":\"18446744073709551616\"}", "u64: not a decimal string"},
        {"{\"u64\":\"99999999999999999999999\"}", "u64: not a decimal string"},
        {"{\"i64\":\"-0\"}", "i64: not a decimal string"},
        {"{\"i64\":\"-\"}", "i64: not a decimal string"},
        {"{\"i64\":\"--1\"}", "i64: not a decimal string"},
        {"{\"i64\":\"9223372036854775808\"}", "i64: not a decimal string"},
        {"{\"i64\":\"-9223372036854775809\"}", "i64: not a decimal string"},
        {"{\"int\":\"1\"}", "int: not a whole number in range"},
        {"{\"int\":2147483648}", "int: not a whole number in range"},
        {"{\"int\":-2147483649}", "int: not a whole number in range"},
        {"{\"int\":1.0}", "a fraction or an exponent"},
        {"{\"int\":1e2}", "a fraction or an exponent"},
        {"{\"int\":-0}", "minus zero"},
        {"{\"int\":true}", "int: not a whole number"},
        {"{\"bool\":1}", "bool: neither true nor false"},
        {"{\"bool\":\"true\"}", "bool: neither true nor false"},
        {"{\"hex\":\"00ff10aB\"}", "hex: not 8 lower-case hex digits"},
        {"{\"hex\":\"00ff10a\"}", "hex: not 8"},
        {"{\"hex\":\"00ff10abc\"}", "hex: not 8"},
        {"{\"hex\":\"00ff10ab00\"}", "hex: not 8"},
        {"{\"hex\":\"00:f10ab\"}", "hex: not 8"},
        {"{\"hex\":0}", "hex: not 8"},
        {"{\"b64\":\"AAECAwQ\"}", "b64: not base64 of 5 bytes"},
        {"{\"b64\":\"AAECAwR=\"}", "b64: not base64"}, /* spare bits set */
        {"{\"b64\":\"AAECAw==\"}", "b64: not base64"},
        {"{\"b64\":\"AAECAwQF\"}", "b64: not base64"},
        {"{\"b64\":\"AAEC\\nAwQ=\"}", "b64: not base64"},
        {"{\"b64\":\"AAEC_wQ=\"}", "b64: not base64"},
        {"{\"b64\":\"AAECAwQ=AAAA\"}", "b64: not base64"},
        {"{\"b64\":7}", "b64: not base64"},
        {"{\"enum\":\"three\"}", "enum: 'three' is not a known word"},
        {"{\"enum\":\"\"}", "enum: '' is not a known word"},
        {"{\"enum\":1}", "enum: not a string"},
        {"{\"bits\":\"zero\"}", "bits: not an array"},
        {"{\"bits\":[\"two\",\"zero\"]}", "bits: 'zero' is repeated or out of order"},
        {"{\"bits\":[\"two\",\"two\"]}", "bits: 'two' is repeated or out of order"},
        {"{\"bits\":[1]}", "bits: '?' is not a known word"},
        {"{\"obj\":[]}", "obj: not an object"},
        {"{\"obj\":{}}", "obj.name: missing"},
        {"{\"obj\":{\"name\":\"a\",\"m\":1}}", "obj.m: unknown key"},
        {"{\"obj\":{\"name\":\"a\",\"n\":\"x\"}}", "obj.n: not a decimal string"},
        {"{\"list\":{}}", "list: not an array"},
        {"{\"list\":[{\"name\":\"a\"},1]}", "list[1]: not an object"},
        {"{\"list\":[{\"name\":\"a\"},{}]}", "list[1].name: missing"},
        {"{\"list\":[{\"name\":\"\"},{\"name\":\"\"},{\"name\":\"\"},{\"name\":\"\"}]}",
         "list: 4 elements, at most 3"},
        {"{\"strs\":\"a\"}", "strs: not an array"},
        {"{\"strs\":[\"a\",1]}", "strs[1]: not a string"},
        {"{\"strs\":[\"1234567\"]}", "strs[0]: 7 bytes, at most 6"},
        {"{\"strs\":[\"a\",\"\\b\"]}", "strs[1]: holds a control character"},
        {"{\"const\":\"https://x/2\"}", "const: is not 'https://x/1'"},
        {"{\"const\":1}", "const: is not 'https://x/1'"},
        {"{\"group\":{\"x\":1}}", "group.x: unknown key"},
        {"{\"tuple\":[\"a\"]}", "tuple: second is missing"},
        {"{\"tuple\":[\"a\",\"b\",\"c\"]}", "tuple: too many elements"},
        {"{\"tuple\":[\"a\",2]}", "tuple.second: not a string"},
        {"{\"tuple\":{}}", "tuple: not an array"},
    };
    struct err err = ERR_INIT;
    static const struct all zero;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct all a;
        memset(&a, 0xee, sizeof(a));
        assert_says(json_decode(&any_shape, cases[i].text, strlen(cases[i].text), &a, &err),
                    cases[i].says);
        assert_int_equal(err.code, ERR_FAIL);
        assert_memory_equal(&a, &zero, sizeof(a)); /* nothing of it remains, nothing leaks */
    }
}

/* Each required key in turn is taken away. */
static void a_missing_key_is_named(void **state)
{
    for (const struct json_field *f = all_fields; f->name; f++) {
        struct json_field fewer[sizeof(all_fields) / sizeof(all_fields[0])];
        struct json_shape shape = {sizeof(struct all), fewer};
        struct err err = ERR_INIT;
        char says[64];
        struct all a, again;
        struct buf b;
        size_t n = 0;

        for (const struct json_field *g = all_fields; g->name; g++) {
            if (g != f)
                fewer[n++] = *g;
        }
        fewer[n] = (struct json_field)JSON_END;
        buf_init(&b, 4096);
        assert_ok(json_decode(&all_shape, whole, sizeof(whole) - 1, &a, &err));
        assert_ok(json_encode(&shape, &a, &b, &err));
        snprintf(says, sizeof(says), "%s: missing", f->name);
        assert_says(json_decode(&all_shape, b.data, b.len, &again, &err), says);
        json_release(&all_shape, &a);
        buf_done(&b);
    }
}

static void every_truncation_is_refused(void **state)
{
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        struct err err = ERR_INIT;
        struct all a;
        if (json_decode(&all_shape, whole, n, &a, &err) == 0)
            fail_msg("the first %zu bytes pass", n);
    }
}

static void open_shapes_tolerate_keys(void **state)
{
    static const char text[] = "{\"x\":[1.5,{\"y\":null}],\"text\":\"a\",\"z\":1e9}";
    struct err err = ERR_INIT;
    struct all a;

    assert_ok(json_decode(&open_shape, text, sizeof(text) - 1, &a, &err));
    assert_string_equal(a.text, "a");
    json_release(&open_shape, &a);
    assert_says(json_decode(&open_shape, "{\"x\":1,\"x\":1}", 13, &a, &err), "duplicate key");
    assert_says(json_decode(&open_shape, "{\"int\":1.5}", 11, &a, &err), "int: not a whole number");
    assert_says(json_decode(&any_shape, text, sizeof(text) - 1, &a, &err), "a fraction");
}

static void hostile_keys_stay_one_short_line(void **state)
{
    struct err err = ERR_INIT;
    struct all a;
    struct buf b;

    buf_init(&b, 8192);
    buf_addf(&b, "{\"\\u001b[31m\\n%04000d\":1}", 0);
    assert_says(json_decode(&any_shape, b.data, b.len, &a, &err), "?[31m?0000");
    assert_true(strlen(err.msg) < 120);
    buf_done(&b);
}

static void encoder_refuses_what_it_could_not_read_back(void **state)
{
    static const struct all zero;
    struct err err = ERR_INIT;
    struct all a = {0};
    struct buf b;

    buf_init(&b, 4096);
    buf_adds(&b, "kept");
    a.text[0] = '\n';
    assert_says(json_encode(&any_shape, &a, &b, &err), "text: holds a control character");
    a.text[0] = (char)0xff;
    assert_says(json_encode(&any_shape, &a, &b, &err), "text: is not valid UTF-8");
    memset(a.text, 'x', sizeof(a.text));
    assert_says(json_encode(&any_shape, &a, &b, &err), "text: does not end");
    a = zero;
    a.word = 3;
    assert_says(json_encode(&any_shape, &a, &b, &err), "enum: has no name for 3");
    a.word = -1;
    assert_says(json_encode(&any_shape, &a, &b, &err), "enum: has no name for -1");
    a = zero;
    a.bits = 8;
    assert_says(json_encode(&any_shape, &a, &b, &err), "bits: has no name for bits 0x8");
    a = zero;
    strv_add(&a.strs, "1234567");
    assert_says(json_encode(&any_shape, &a, &b, &err), "strs[0]: 7 bytes, at most 6");
    strv_done(&a.strs);
    for (int i = 0; i < 4; i++)
        assert_non_null(json_list_push(&a.list, &inner_shape));
    assert_says(json_encode(&any_shape, &a, &b, &err), "list: has 4 elements, at most 3");
    json_release(&any_shape, &a);
    assert_string_equal(buf_str(&b), "kept");
    buf_done(&b);
}

static void a_full_buffer_is_an_error_at_every_size(void **state)
{
    struct err err = ERR_INIT;
    struct all a;

    assert_ok(json_decode(&all_shape, whole, sizeof(whole) - 1, &a, &err));
    for (size_t max = 0; max < sizeof(whole) - 1; max++) {
        struct buf b;
        buf_init(&b, max);
        assert_says(json_encode(&all_shape, &a, &b, &err), "too large");
        assert_int_equal(b.len, 0);
        buf_done(&b);
    }
    json_release(&all_shape, &a);
}

static void quote_is_total(void **state)
{
    static const char bytes[] = "a\"\\\n\t\r\b\x1f\x7f\xc3\xbc\xff\xe1\x80\0z";
    struct err err = ERR_INIT;
    struct buf b;

    buf_init(&b, 256);
    assert_int_equal(json_quote(&b, bytes, sizeof(bytes) - 1), 0);
    assert_string_equal(buf_str(&b), "\"a\\\"\\\\\\n\\t\\r\\u0008\\u001f\\u007f\xc3\xbc\xef\xbf\xbd"
                                     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
    assert_ok(json_check(b.data, b.len, &err));
    buf_clear(&b);
    assert_int_equal(json_quotes(&b, ""), 0);
    assert_string_equal(buf_str(&b), "\"\"");
    buf_done(&b);
}

/* Literals of ours are shown on terminals: nothing in them may act there or hide. */
static void quote_hides_nothing(void **state)
{
    static const struct {
        const char *text, *literal;
    } rows[] = {
        {"\x7e", "\"~\""},
        {"\x7f", "\"\\u007f\""},
        {"\xc2\x80", "\"\\u0080\""},
        {"a\xc2\x9b"
         "31mb",
         "\"a\\u009b31mb\""},
        {"\xc2\x9f\xc2\xa0", "\"\\u009f\xc2\xa0\""},
        {"\xc2\xad", "\"\\u00ad\""},
        {"\xd8\x9c", "\"\\u061c\""},
        {"\xe2\x80\x8a\xe2\x80\x8b", "\"\xe2\x80\x8a\\u200b\""},
        {"\xe2\x80\x8f\xe2\x80\x90", "\"\\u200f\xe2\x80\x90\""},
        {"\xe2\x80\xa8\xe2\x80\xae\xe2\x80\xaf", "\"\\u2028\\u202e\xe2\x80\xaf\""},
        {"\xe2\x81\xa0\xe2\x81\xa9", "\"\\u2060\\u2069\""},
        {"\xef\xbb\xbf", "\"\\ufeff\""},
        {"\xf0\x9f\x8e\xa3", "\"\xf0\x9f\x8e\xa3\""},
    };
    struct err err = ERR_INIT;
    struct buf b;

    buf_init(&b, 256);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_clear(&b);
        assert_int_equal(json_quotes(&b, rows[i].text), 0);
        assert_string_equal(buf_str(&b), rows[i].literal);
        assert_ok(json_check(b.data, b.len, &err));
    }
    buf_done(&b);
}

static void strv_works(void **state)
{
    struct strv a = {0}, b = {0};

    strv_add(&b, "old");
    assert_int_equal(strv_add(&a, "one"), 0);
    assert_int_equal(strv_add(&a, ""), 0);
    assert_true(strv_has(&a, "") && strv_has(&a, "one") && !strv_has(&a, "on"));
    assert_int_equal(strv_copy(&b, &a), 0);
    assert_int_equal(b.n, 2);
    assert_string_equal(b.v[0], "one");
    assert_ptr_not_equal(b.v[0], a.v[0]);
    assert_null(b.v[2]);
    strv_done(&a);
    strv_done(&a);
    assert_int_equal(strv_copy(&b, &a), 0);
    assert_int_equal(b.n, 0);
    strv_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_round_trips),
        cmocka_unit_test(zero_optionals_are_absent),
        cmocka_unit_test(scanner_refuses),
        cmocka_unit_test(scanner_accepts),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(elements_and_bytes_are_bounded),
        cmocka_unit_test(bounds_are_the_callers),
        cmocka_unit_test(duplicate_search_is_not_quadratic),
        cmocka_unit_test(members_are_strict),
        cmocka_unit_test(a_missing_key_is_named),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(open_shapes_tolerate_keys),
        cmocka_unit_test(hostile_keys_stay_one_short_line),
        cmocka_unit_test(encoder_refuses_what_it_could_not_read_back),
        cmocka_unit_test(a_full_buffer_is_an_error_at_every_size),
        cmocka_unit_test(quote_is_total),
        cmocka_unit_test(quote_hides_nothing),
        cmocka_unit_test(strv_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
