/* .gitignore matching, judged by git itself: every pattern against every path. */
#include "runner/ignore.h"

#include "tests/unit/git_fixture.h"

static const char *const patterns[] = {
    "a",      "a/",     "/a",   "b",      "*.o",  "/*.o",    "a/b",  "a/*", "a/**",  "**/b",
    "**/a/b", "a/**/c", "?",    "[ab]",   "[!a]", "[a-c].o", "*",    "*/",  "\\!x",  "\\#x",
    "x\\ ",   "x ",     "#x",   "!a",     "a*c",  "**",      "**/",  "/",   "//",    "a//b",
    "[",      "[]",     "[]x]", "a**b",   "**b",  "*/b",     "[^a]", "a\\", "\\a",   "[a-]",
    "d.d",    "*.*",    "a/b/", "/a/b/c", "b/c",  ".*",      "*~",   "[[]", "[\\]]", "x?y",
};

static const char *const paths[] = {
    "a",  "b",  "a/b",   "a/b/c", "a/x/y/c", "b/a", "x.o",     "a/x.o", "b.o",
    "!x", "#x", "x ",    "x",     "abc",     "d.d", ".hidden", "b/c",   "axb",
    "[",  "]",  "a/b.o", "q/a/b", "~",       "x~",  "xzy",     "x/y",
};

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

/* Ignored, or in an ignored directory: the collector asks about a path only when none above it is.
 */
static bool ours(const struct ignore *ig, const char *path)
{
    char part[64];
    for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(s - path), path);
        if (ignore_match(ig, part, true))
            return true;
    }
    return ignore_match(ig, path, false);
}

static void as_git_says(void **state)
{
    struct tool t;
    tool_need("git");
    tool_init(&t);
    git_fixture_env();
    sh(&t, "git init -q r");
    char list[1024] = "";
    for (size_t i = 0; i < COUNT(paths); i++) {
        list_add(list, sizeof(list), paths[i]);
    }
    tool_put(&t, "paths", list, strlen(list));
    for (size_t p = 0; p < COUNT(patterns); p++) {
        struct ignore ig;
        char text[64], wrapped[512];
        int n = snprintf(text, sizeof(text), "%s\n", patterns[p]);
        tool_put(&t, "r/.gitignore", text, (size_t)n);
        snprintf(wrapped, sizeof(wrapped),
                 "cd r; git -c core.quotePath=false check-ignore --no-index --stdin <../paths || "
                 "test $? = 1");
        const char *out = sh(&t, wrapped);
        assert_int_equal(ignore_init(&ig, NULL, 0, text, (size_t)n), 0);
        for (size_t i = 0; i < COUNT(paths); i++) {
            char line[80], all[20000];
            snprintf(line, sizeof(line), "\n%s\n", paths[i]);
            snprintf(all, sizeof(all), "\n%s\n", out);
            bool git = strstr(all, line) != NULL;
            if (git != ours(&ig, paths[i]))
                fail_msg("pattern \"%s\", path \"%s\": git says %d", patterns[p], paths[i], git);
        }
        ignore_done(&ig);
    }
    tool_done(&t);
}

static void nearer_rules_win(void **state)
{
    struct ignore top, sub;
    assert_int_equal(ignore_init(&top, NULL, 0, "*.o\n!keep.o\n", 12), 0);
    assert_int_equal(ignore_init(&sub, &top, 4, "keep.o\n!x.o\n/only\n", 18), 0);
    assert_true(ignore_match(&top, "a.o", false));
    assert_false(ignore_match(&top, "keep.o", false));
    assert_true(ignore_match(&sub, "sub/keep.o", false));
    assert_false(ignore_match(&sub, "sub/x.o", false));
    assert_true(ignore_match(&sub, "sub/y.o", false));
    assert_true(ignore_match(&sub, "sub/only", false));
    assert_false(ignore_match(&sub, "sub/d/only", false));
    ignore_done(&sub);
    ignore_done(&top);
}

static void carriage_returns_marks_and_missing_newlines(void **state)
{
    struct ignore ig;
    static const char text[] = "\xef\xbb\xbf"
                               "a\r\n\r\n# c\n   \nlast";
    assert_int_equal(ignore_init(&ig, NULL, 0, text, sizeof(text) - 1), 0);
    assert_int_equal(ig.n, 2);
    assert_true(ignore_match(&ig, "a", false));
    assert_true(ignore_match(&ig, "last", false));
    ignore_done(&ig);
}

/* Would take longer than the age of the universe without the bound on steps. */
static void hostile_patterns_end(void **state)
{
    char pattern[200], text[200];
    for (size_t i = 0; i < 198; i += 2) {
        memcpy(pattern + i, "*a", 2);
        memcpy(text + i, "aa", 2);
    }
    memcpy(pattern + 198, "b", 2);
    text[198] = '\0';
    assert_false(ignore_glob(pattern, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_git_says),
        cmocka_unit_test(nearer_rules_win),
        cmocka_unit_test(carriage_returns_marks_and_missing_newlines),
        cmocka_unit_test(hostile_patterns_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
