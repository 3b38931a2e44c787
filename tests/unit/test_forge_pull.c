/* controller/broker/forge_pull.c: what opens a pull request at each kind, and which answers are ours. */
#include "controller/broker/forge_pull.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/cm.h"

#define BRANCH "creel/01hzzzzzzzzzzzzzzzzzzzzzzz"

static struct forge forge_of(enum forge_kind kind)
{
    struct forge f = {.name = "f", .kind = (int)kind, .web = "https://f.example", .token = "t"};
    forge_defaults(&f);
    return f;
}

static void test_bodies(void **state)
{
    static const char *const want[FORGE_KIND_COUNT][2] = {
        {"{\"title\":\"A \\\"b\\\"\",\"head\":\"" BRANCH "\",\"base\":\"main\",\"draft\":false,"
         "\"body\":\"x\\ny\"}",
         "\"draft\":true"},
        {"{\"title\":\"A \\\"b\\\"\",\"source_branch\":\"" BRANCH "\",\"target_branch\":\"main\","
         "\"description\":\"x\\ny\"}",
         "\"Draft: A"},
        {"{\"title\":\"A \\\"b\\\"\",\"head\":\"" BRANCH "\",\"base\":\"main\",\"body\":\"x\\ny\"}",
         "\"WIP: A"},
    };
    struct err err = ERR_INIT;
    struct pull_ask ask = {.branch = BRANCH, .base = "main", .title = "A \"b\"", .body = "x\ny"};
    struct buf b;
    buf_init(&b, 1 << 16);
    for (int k = 0; k < FORGE_KIND_COUNT; k++) {
        buf_clear(&b);
        ask.draft = false;
        assert_ok(forge_pull_body((enum forge_kind)k, &ask, &b, &err));
        assert_string_equal(buf_str(&b), want[k][0]);
        buf_clear(&b);
        ask.draft = true;
        assert_ok(forge_pull_body((enum forge_kind)k, &ask, &b, &err));
        assert_non_null(strstr(buf_str(&b), want[k][1]));
        assert_ok(json_check(b.data, b.len, &err));
    }
    buf_done(&b);
}

/* One pull request as each kind tells it; marks: state, branch, whose. */
static const char *told(enum forge_kind kind, const char *state, const char *branch, bool ours,
                        int number)
{
    static char texts[4][1024];
    static unsigned n;
    char *to = texts[n++ % 4];
    const char *owner = ours ? "O" : "evil";
    int from = ours ? 1 : 2;
    if (kind == FORGE_GITHUB)
        snprintf(to, 1024,
                 "{\"html_url\":\"https://f.example/o/r/pull/%d\",\"number\":%d,\"state\":\"%s\","
                 "\"head\":{\"ref\":\"%s\",\"label\":\"%s:%s\",\"repo\":null},"
                 "\"base\":{\"ref\":\"main\",\"label\":\"o:main\"},\"milestone\":null,\"x\":1.5}",
                 number, number, state, branch, owner, branch);
    else if (kind == FORGE_GITLAB)
        snprintf(to, 1024,
                 "{\"web_url\":\"https://f.example/o/r/-/merge_requests/%d\",\"iid\":%d,\"id\":99,"
                 "\"state\":\"%s\",\"source_branch\":\"%s\",\"target_branch\":\"main\","
                 "\"source_project_id\":%d,\"target_project_id\":1}",
                 number, number, state, branch, from);
    else
        snprintf(to, 1024,
                 "{\"html_url\":\"https://f.example/o/r/pulls/%d\",\"number\":%d,\"state\":\"%s\","
                 "\"head\":{\"ref\":\"%s\",\"label\":\"%s\",\"repo_id\":%d},"
                 "\"base\":{\"ref\":\"main\",\"repo_id\":1}}",
                 number, number, state, branch, branch, from);
    return to;
}

static int find(const struct forge *f, const char *list, struct pull *out, struct err *err)
{
    struct forge_repo repo;
    forge_repo_parse((enum forge_kind)f->kind, "o/r", &repo, NULL);
    return forge_pull_find(f, &repo, BRANCH, list, strlen(list), out, err);
}

static void test_find(void **state)
{
    struct err err = ERR_INIT;
    struct pull p;
    char list[4096];
    for (int k = 0; k < FORGE_KIND_COUNT; k++) {
        enum forge_kind kind = (enum forge_kind)k;
        struct forge f = forge_of(kind);
        const char *open = kind == FORGE_GITLAB ? "opened" : "open";
        assert_int_equal(find(&f, "[]", &p, &err), 0);
        /* A closed one of this branch is found too; an open one goes before it. */
        snprintf(list, sizeof list, "[%s,%s]", told(kind, "closed", BRANCH, true, 3),
                 told(kind, open, BRANCH, true, 4));
        assert_int_equal(find(&f, list, &p, &err), 1);
        assert_int_equal(p.number, 4);
        assert_string_equal(p.state, "open");
        assert_string_equal(p.base, "main");
        assert_true(p.was_there);
        snprintf(list, sizeof list, "[%s]", told(kind, "closed", BRANCH, true, 3));
        assert_int_equal(find(&f, list, &p, &err), 1);
        assert_string_equal(p.state, "closed");
        /* Another branch, and the same name in somebody's copy, are not ours. */
        snprintf(list, sizeof list, "[%s,%s]", told(kind, open, BRANCH "x", true, 5),
                 told(kind, open, BRANCH, false, 6));
        assert_int_equal(find(&f, list, &p, &err), 0);
        static const char *const bad[] = {"", "{}", "[{}]", "[1]", "[", "null"};
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
            assert_true(find(&f, bad[i], &p, &err) < 0);
    }
}

static void test_read(void **state)
{
    struct err err = ERR_INIT;
    struct pull p;
    struct forge_repo repo;
    for (int k = 0; k < FORGE_KIND_COUNT; k++) {
        enum forge_kind kind = (enum forge_kind)k;
        struct forge f = forge_of(kind);
        assert_ok(forge_repo_parse(kind, "o/r", &repo, &err));
        const char *text = told(kind, "open", BRANCH, true, 7);
        assert_ok(forge_pull_read(&f, &repo, BRANCH, text, strlen(text), &p, &err));
        assert_int_equal(p.number, 7);
        assert_false(p.was_there);
        text = told(kind, "open", "main", true, 7);
        assert_says(forge_pull_read(&f, &repo, BRANCH, text, strlen(text), &p, &err),
                    "about branch main");
        text = told(kind, "open", BRANCH, true, 7);
        snprintf(f.web, sizeof f.web, "https://other.example");
        assert_says(forge_pull_read(&f, &repo, BRANCH, text, strlen(text), &p, &err),
                    "leads elsewhere");
    }
}

static void test_default_branch(void **state)
{
    struct err err = ERR_INIT;
    char base[TASK_BRANCH_SIZE];
    assert_ok(forge_repo_read("{\"default_branch\":\"trunk\",\"id\":1.5}", 35, base, &err));
    assert_string_equal(base, "trunk");
    static const char *const bad[] = {"--force", "a..b", "", "a b", "a~", "x/", "a@{1}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"default_branch\":\"%s\"}", bad[i]);
        assert_says(forge_repo_read(text, strlen(text), base, &err), "no branch's name");
    }
}

static const char *words(const char *text, struct buf *b)
{
    buf_clear(b);
    forge_words(text, strlen(text), "hunter2", 7, b);
    return buf_str(b);
}

static void test_words(void **state)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_string_equal(words("{\"message\":\"Validation Failed\",\"errors\":[{\"message\":\"No "
                              "commits\",\"code\":\"custom\"}],\"status\":\"422\"}",
                              &b),
                        ": Validation Failed (No commits)");
    assert_string_equal(words("{\"message\":\"Not Found\"}", &b), ": Not Found");
    assert_string_equal(words("{\"message\":[\"Another open merge request\"]}", &b),
                        ": Another open merge request");
    assert_string_equal(words("{\"error\":\"invalid_token\"}", &b), ": invalid_token");
    assert_string_equal(words("{\"message\":\"you said hunter2\"}", &b), "");
    assert_string_equal(words("<html>", &b), "");
    assert_string_equal(words("", &b), "");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies), cmocka_unit_test(test_find),
        cmocka_unit_test(test_read),   cmocka_unit_test(test_default_branch),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
