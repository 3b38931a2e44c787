/* Names and modes that a tree may hold, and the many ways to write ".git". */
#include "common/tree_entry.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/cm.h"

static struct err err;

static void every_way_to_write_dotgit(void **state)
{
    static const char *const bad[] = {
        ".git",
        ".GIT",
        ".Git",
        ".giT",
        "git~1",
        "GIT~1",
        ".git.",
        ".git ",
        ".git. .",
        "git~1.",
        ".git:stream",
        ".git::$INDEX_ALLOCATION",
        "git~1 ",
        ".g\xe2\x80\x8cit",
        "\xe2\x80\x8d.git",
        ".git\xe2\x80\x8f",
        ".gi\xe2\x80\xaat",
        ".git\xe2\x80\xae",
        ".g\xe2\x81\xaait",
        ".git\xe2\x81\xaf",
        "\xef\xbb\xbf.git",
        "a\\.git",
        ".git\\config",
        "a\\GIT~1\\b",
        ".git ..:x",
    };
    static const char *const good[] = {
        "git",   ".gitignore", ".gitmodules", ".gitx",   "git~2", "git~10",          ".git-x",
        "a.git", "..git",      ".gi",         "dotgit",  ".git_", "\xe2\x80\x8bgit", "foo:bar",
        "a\\b",  "x ",         "x.",          ".github",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        if (!tree_name_is_dotgit(bad[i], strlen(bad[i])) ||
            tree_name_fault(bad[i], strlen(bad[i])) == NULL)
            fail_msg("passed: %s", bad[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        if (tree_name_fault(good[i], strlen(good[i])) != NULL)
            fail_msg("refused: %s", good[i]);
    }
}

static void names_that_lead_elsewhere(void **state)
{
    char longest[257];
    memset(longest, 'n', sizeof(longest));
    assert_non_null(tree_name_fault("", 0));
    assert_non_null(tree_name_fault(".", 1));
    assert_non_null(tree_name_fault("..", 2));
    assert_non_null(tree_name_fault("a/b", 3));
    assert_non_null(tree_name_fault("/", 1));
    assert_non_null(tree_name_fault("a\0b", 3));
    assert_non_null(tree_name_fault(longest, 256));
    assert_null(tree_name_fault(longest, 255));
    assert_null(tree_name_fault("...", 3));
}

struct tree {
    size_t n;
    uint8_t bytes[2048];
};

static void add(struct tree *t, const char *mode, const char *name)
{
    t->n += (size_t)snprintf((char *)t->bytes + t->n, 64, "%s %s", mode, name) + 1;
    memset(t->bytes + t->n, 7, 20);
    t->n += 20;
}

/* Reads all; the number of entries or the error's code. */
static int read_all(const void *bytes, size_t n)
{
    struct tree_reader r;
    struct tree_entry e;
    int count = 0, rc;
    err = ERR_INIT;
    tree_reader_init(&r, bytes, n);
    while ((rc = tree_read(&r, &e, &err)) > 0)
        count++;
    return rc < 0 ? rc : count;
}

static void a_good_tree_is_read_whole(void **state)
{
    struct tree t = {0};
    add(&t, "100644", "a");
    add(&t, "100755", "a.b");
    add(&t, "40000", "b");
    add(&t, "120000", "c");
    add(&t, "160000", "d");
    add(&t, "100664", "e");
    add(&t, "040000", "f");
    assert_int_equal(read_all(t.bytes, t.n), 7);
    assert_int_equal(read_all(t.bytes, 0), 0);
}

static void every_cut_is_noticed(void **state)
{
    struct tree t = {0};
    add(&t, "100644", "a");
    size_t one = t.n;
    add(&t, "40000", "b");
    for (size_t n = 1; n < t.n; n++) {
        if (n != one && read_all(t.bytes, n) >= 0)
            fail_msg("a tree cut after %zu bytes passed", n);
    }
}

static void refused_trees(void **state)
{
    static const struct {
        const char *mode[3], *name[3], *words;
    } cases[] = {
        {{"100600"}, {"a"}, "mode 100600"},
        {{"0"}, {"a"}, "mode 000000"},
        {{"100644 "}, {"a"}, NULL}, /* a blank in the name is fine */
        {{"99"}, {"a"}, "malformed"},
        {{"00000000"}, {"a"}, "malformed"},
        {{"100644"}, {".git"}, ".git"},
        {{"40000"}, {"GIT~1"}, "GIT~1"},
        {{"100644"}, {".."}, "leads out"},
        {{"100644"}, {"a/b"}, "slash"},
        {{"100644"}, {""}, "empty"},
        {{"100644", "100644"}, {"b", "a"}, "out of order"},
        {{"100644", "100644"}, {"a", "a"}, "twice"},
        {{"100644", "40000"}, {"a", "a"}, "twice"},
        {{"100644", "100644", "40000"}, {"a", "a.b", "a"}, "twice"},
        {{"40000", "100644"}, {"a", "a.b"}, "out of order"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct tree t = {0};
        for (int k = 0; k < 3 && cases[i].mode[k]; k++)
            add(&t, cases[i].mode[k], cases[i].name[k]);
        int rc = read_all(t.bytes, t.n);
        if (cases[i].words == NULL) {
            assert_true(rc > 0);
            continue;
        }
        assert_int_equal(rc, -ERR_REFUSED);
        if (!strstr(err.msg, cases[i].words))
            fail_msg("case %zu says \"%s\"", i, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_write_dotgit),
        cmocka_unit_test(names_that_lead_elsewhere),
        cmocka_unit_test(a_good_tree_is_read_whole),
        cmocka_unit_test(every_cut_is_noticed),
        cmocka_unit_test(refused_trees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
