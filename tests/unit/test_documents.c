/* Signed documents: believed only from the right key, of the right kind, about the right task. */
#include "tests/unit/tool.h"

#include <sodium.h>

#include "controller/documents.h"
#include "tests/unit/cm.h"
#include "tests/unit/doc_samples.h"

static struct err err;

struct fixture {
    struct tool t;
    struct paths p;
    int dirfd;
    uint8_t pub[2][KEY_PUB_BYTES], sec[2][KEY_SEC_BYTES]; /* [0] signs, [1] is another */
};

static int setup(void **state)
{
    struct fixture *f;

    if (sodium_init() < 0)
        return -1;
    f = calloc(1, sizeof(*f));
    tool_init(&f->t);
    assert_ok(paths_open(tool_path(&f->t, "s"), true, &f->p, &err));
    f->dirfd = paths_task_dir(&f->p, SAMPLE_ID, true, &err);
    for (int i = 0; i < 2; i++)
        crypto_sign_keypair(f->pub[i], f->sec[i]);
    *state = f;
    return f->dirfd < 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fd_close(&f->dirfd);
    paths_close(&f->p);
    tool_done(&f->t);
    free(f);
    return 0;
}

/* A document of the kind that names key `named` as its signer and is signed by key `by`. */
static void make(struct fixture *f, enum document_kind kind, int named, int by, struct buf *to)
{
    static const char *const types[] = {DSSE_TYPE_TASK, DSSE_TYPE_RESULT, DSSE_TYPE_RECEIPT};
    struct result result;
    struct receipt receipt;
    struct task task;
    struct buf body;

    buf_init(&body, DSSE_BYTES_MAX);
    if (kind == DOCUMENT_ENVELOPE) {
        sample_task(&task);
        key_fingerprint(f->pub[named], task.iss);
        assert_ok(task_encode(&task, &body, &err));
        task_done(&task);
    } else if (kind == DOCUMENT_RESULT) {
        sample_result(&result);
        key_fingerprint(f->pub[named], result.runner);
        assert_ok(result_encode(&result, &body, &err));
        result_done(&result);
    } else {
        sample_receipt(&receipt);
        key_fingerprint(f->pub[named], receipt.runner);
        assert_ok(receipt_encode(&receipt, &body, &err));
        receipt_done(&receipt);
    }
    assert_ok(dsse_sign(f->sec[by], types[kind], body.data, body.len, to, &err));
    buf_done(&body);
}

static void store(struct fixture *f, enum document_kind kind, const struct buf *text)
{
    assert_ok(file_replace(f->dirfd, document_file(kind), text->data, text->len, 0600, &err));
}

static void every_kind_is_read_back(void **state)
{
    struct fixture *f = *state;
    struct document d;
    struct buf text, read;

    for (int kind = 0; kind < DOCUMENT_KIND_COUNT; kind++) {
        buf_init(&text, DSSE_BYTES_MAX);
        buf_init(&read, DSSE_BYTES_MAX);
        make(f, (enum document_kind)kind, 0, 0, &text);
        store(f, (enum document_kind)kind, &text);
        assert_ok(document_read(&f->p, SAMPLE_ID, (enum document_kind)kind, &read, &err));
        assert_int_equal(read.len, text.len);
        assert_memory_equal(read.data, text.data, text.len);
        assert_ok(document_load(&f->p, SAMPLE_ID, (enum document_kind)kind, f->pub[0], &d, &err));
        assert_int_equal(d.kind, kind);
        assert_string_equal(document_task(&d), SAMPLE_ID);
        document_done(&d);
        buf_done(&text);
        buf_done(&read);
    }
}

static void absent_ones_say_so(void **state)
{
    struct fixture *f = *state;
    struct document d;

    assert_int_equal(document_load(&f->p, SAMPLE_ID, DOCUMENT_RESULT, f->pub[0], &d, &err),
                     -ERR_USAGE);
    assert_non_null(strstr(err.msg, "has no result"));
    document_done(&d);
}

static void wrong_keys_are_not_believed(void **state)
{
    struct fixture *f = *state;
    struct document d;
    struct buf text;

    buf_init(&text, DSSE_BYTES_MAX);
    make(f, DOCUMENT_RESULT, 0, 1, &text);
    store(f, DOCUMENT_RESULT, &text);
    assert_int_equal(document_load(&f->p, SAMPLE_ID, DOCUMENT_RESULT, f->pub[0], &d, &err),
                     -ERR_TRUST);
    document_done(&d);
    /* Both keys are pinned, but one signs in the other's name. */
    assert_int_equal(
        document_open(text.data, text.len, (const uint8_t(*)[KEY_PUB_BYTES])f->pub, 2, &d, &err),
        -ERR_TRUST);
    assert_non_null(strstr(err.msg, "names"));
    document_done(&d);
    assert_int_equal(document_open(text.data, text.len, NULL, 0, &d, &err), -ERR_TRUST);
    document_done(&d);
    buf_done(&text);
}

static void another_kind_or_task_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *other = "01jdq7z4m2r8k5t3w9x1y6b0ca";
    struct document d;
    struct buf text;
    int fd;

    buf_init(&text, DSSE_BYTES_MAX);
    make(f, DOCUMENT_RECEIPT, 0, 0, &text);
    store(f, DOCUMENT_RESULT, &text);
    assert_int_equal(document_load(&f->p, SAMPLE_ID, DOCUMENT_RESULT, f->pub[0], &d, &err),
                     -ERR_TRUST);
    document_done(&d);
    fd = paths_task_dir(&f->p, other, true, &err);
    assert_ok(file_replace(fd, document_file(DOCUMENT_RECEIPT), text.data, text.len, 0600, &err));
    fd_close(&fd);
    assert_int_equal(document_load(&f->p, other, DOCUMENT_RECEIPT, f->pub[0], &d, &err),
                     -ERR_TRUST);
    document_done(&d);
    buf_done(&text);
}

static void signed_nonsense_is_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *type, *body;
    } cases[] = {
        {"application/json", "{}"},
        {DSSE_TYPE_TASK, "{}"},
        {DSSE_TYPE_RESULT, "null"},
        {DSSE_TYPE_RECEIPT, "{\"a\":1,\"a\":2}"},
    };
    struct document d;
    struct buf text;

    buf_init(&text, DSSE_BYTES_MAX);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&text);
        assert_ok(
            dsse_sign(f->sec[0], cases[i].type, cases[i].body, strlen(cases[i].body), &text, &err));
        assert_int_equal(document_open(text.data, text.len, (const uint8_t(*)[KEY_PUB_BYTES])f->pub,
                                       2, &d, &err),
                         -ERR_FAIL);
        document_done(&d);
    }
    buf_done(&text);
}

/* Whatever single byte is changed, nothing is believed. */
static void tampering_is_seen(void **state)
{
    struct fixture *f = *state;
    struct document d;
    struct buf text;

    buf_init(&text, DSSE_BYTES_MAX);
    make(f, DOCUMENT_ENVELOPE, 0, 0, &text);
    for (size_t i = 0; i < text.len; i += 7) {
        text.data[i] ^= 1;
        if (document_open(text.data, text.len, (const uint8_t(*)[KEY_PUB_BYTES])f->pub, 2, &d,
                          &err) == 0) {
            /* The key id is a hint and covered by nothing. */
            const char *keyid = strstr(buf_str(&text), "keyid");

            assert_non_null(keyid);
            assert_true(i > (size_t)(keyid - buf_str(&text)));
            assert_true(i < (size_t)(keyid - buf_str(&text)) + 8 + KEY_FPR_SIZE);
        }
        document_done(&d);
        text.data[i] ^= 1;
    }
    buf_done(&text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_kind_is_read_back),     CASE(absent_ones_say_so),
        CASE(wrong_keys_are_not_believed), CASE(another_kind_or_task_is_refused),
        CASE(signed_nonsense_is_refused),  CASE(tampering_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
