/* controller/broker/forge_minted.c: what a forge is asked for, and answers that give something else. */
#include "controller/broker/forge_minted.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "common/secret.h"
#include "tests/unit/cm.h"

#define NOW 1795430000ull /* 2026-11-23T10:33:20Z */

static struct forge_repo repo;

static int setup(void **state)
{
    assert_true(sodium_init() >= 0);
    return forge_repo_parse(FORGE_GITHUB, "octo/greet", &repo, NULL);
}

static void test_bodies(void **state)
{
    struct err err = ERR_INIT;
    struct buf b;
    buf_init(&b, 4096);
    assert_ok(forge_mint_body(FORGE_GITHUB, &repo, "l", NOW, &b, &err));
    assert_string_equal(buf_str(&b),
                        "{\"repositories\":[\"greet\"],\"permissions\":{\"contents\":\"write\"}}");
    buf_clear(&b);
    /* GitLab ends a token when its day begins: the first day that begins at `until` or later. */
    assert_ok(forge_mint_body(FORGE_GITLAB, &repo, "l", NOW, &b, &err));
    assert_string_equal(buf_str(&b), "{\"name\":\"l\",\"scopes\":[\"write_repository\"],"
                                     "\"access_level\":30,\"expires_at\":\"2026-11-24\"}");
    buf_clear(&b);
    assert_ok(forge_mint_body(FORGE_GITLAB, &repo, "l", 1795478400, &b, &err)); /* midnight */
    assert_non_null(strstr(buf_str(&b), "2026-11-24"));
    assert_says(forge_mint_body(FORGE_FORGEJO, &repo, "l", NOW, &b, &err), "no token");
    buf_done(&b);
}

#define GOOD                                                                            \
    "{\"token\":\"ghs_1.2.3\",\"expires_at\":\"2026-11-23T11:33:20Z\",\"other\":[1.5]," \
    "\"permissions\":{\"contents\":\"write\",\"metadata\":\"read\"},"                   \
    "\"repository_selection\":\"selected\",\"repositories\":[{\"id\":1296269,"          \
    "\"full_name\":\"Octo/greet\",\"private\":true}]}"

/* GOOD with one text in it exchanged. */
static const char *spoiled(const char *what, const char *by)
{
    static char out[4096];
    const char *at = strstr(GOOD, what);
    assert_non_null(at);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - GOOD), GOOD, by, at + strlen(what));
    return out;
}

static int read_it(enum forge_kind kind, const char *text, struct forge_token *t, struct err *err)
{
    return forge_mint_read(kind, &repo, text, strlen(text), NOW, t, err);
}

static void test_github(void **state)
{
    struct err err = ERR_INIT;
    struct forge_token t;
    static const char *const wrong[][3] = {
        {"Octo/greet", "octo/other", "not for octo/greet alone"},
        {"}]}", "},{\"full_name\":\"octo/more\"}]}", "not for octo/greet alone"},
        {"[{\"id\":1296269,\"full_name\":\"Octo/greet\",\"private\":true}]", "[]", "alone"},
        {"\"contents\":\"write\"", "\"contents\":\"read\"", "other permissions"},
        {"\"metadata\":\"read\"", "\"metadata\":\"write\"", "other permissions"},
        {"\"metadata\"", "\"workflows\"", "unknown key"},
        {"\"metadata\":\"read\"", "\"administration\":\"write\"", "unknown key"},
        {"2026-11-23T11:33:20Z", "2016-07-11T22:14:10Z", "ended already"},
        {"2026-11-23T11:33:20Z", "2027-11-23T11:33:20Z", "lives too long"},
        {"2026-11-23T11:33:20Z", "soon", "ended already"},
        {"ghs_1.2.3", "ghs 1", "one word"},
        {"\"repositories\"", "\"repos\"", "missing"},
    };
    assert_ok(read_it(FORGE_GITHUB, GOOD, &t, &err));
    assert_string_equal(t.value, "ghs_1.2.3");
    assert_int_equal(t.len, 9);
    assert_int_equal(t.expires, NOW + 3600);
    secret_free(t.value);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_says(read_it(FORGE_GITHUB, spoiled(wrong[i][0], wrong[i][1]), &t, &err),
                    wrong[i][2]);
        assert_int_equal(err.code, ERR_REFUSED);
        assert_non_null(t.value); /* so that it can be revoked */
        assert_true(t.expires > NOW);
        secret_free(t.value);
    }
}

static void test_nothing_to_revoke(void **state)
{
    struct err err = ERR_INIT;
    struct forge_token t;
    static const char *const none[] = {"",
                                       "[]",
                                       "{}",
                                       "{\"token\":7}",
                                       "{\"token\":\"\"}",
                                       "{\"token\":\"a\",\"token\":\"b\"}",
                                       "{\"token\":\"a\""};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_true(read_it(FORGE_GITHUB, none[i], &t, &err) < 0);
        assert_int_equal(err.code, ERR_FAIL);
        assert_null(t.value);
    }
}

/* What is longer than tokens used to be, up to the bound of the wire. */
static void test_long_tokens(void **state)
{
    struct err err = ERR_INIT;
    struct forge_token t;
    char token[REPO_TOKEN_MAX + 2], text[REPO_TOKEN_MAX + 1024];
    for (size_t n = 500; n <= REPO_TOKEN_MAX + 1; n += (n < 600 ? 1 : 499)) {
        memset(token, 'a', n);
        token[n] = 0;
        snprintf(text, sizeof text, "%s", spoiled("ghs_1.2.3", "@"));
        char *at = strchr(text, '@');
        memmove(at + n, at + 1, strlen(at));
        memcpy(at, token, n);
        if (n > REPO_TOKEN_MAX) {
            assert_true(read_it(FORGE_GITHUB, text, &t, &err) < 0);
            continue;
        }
        assert_ok(read_it(FORGE_GITHUB, text, &t, &err));
        assert_string_equal(t.value, token);
        secret_free(t.value);
    }
}

static void test_gitlab(void **state)
{
    struct err err = ERR_INIT;
    struct forge_token t;
    static const struct {
        const char *text, *words;
    } wrong[] = {
        {"{\"id\":42,\"token\":\"g\",\"expires_at\":\"2026-11-24\",\"access_level\":40,"
         "\"scopes\":[\"write_repository\"]}",
         "other rights"},
        {"{\"id\":42,\"token\":\"g\",\"expires_at\":\"2026-11-24\",\"access_level\":30,"
         "\"scopes\":[\"write_repository\",\"api\"]}",
         "other rights"},
        {"{\"id\":42,\"token\":\"g\",\"expires_at\":\"2027-11-24\",\"access_level\":30,"
         "\"scopes\":[\"write_repository\"]}",
         "too long"},
        {"{\"id\":42,\"token\":\"g\",\"expires_at\":\"2026-11-31\",\"access_level\":30,"
         "\"scopes\":[\"write_repository\"]}",
         "ended"},
    };
    assert_ok(
        read_it(FORGE_GITLAB,
                "{\"id\":42,\"name\":\"l\",\"token\":\"glpat-x\",\"expires_at\":\"2026-11-24\","
                "\"access_level\":30,\"scopes\":[\"write_repository\"],\"active\":true}",
                &t, &err));
    assert_string_equal(t.handle, "42");
    assert_int_equal(t.expires, 1795478400);
    secret_free(t.value);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_says(read_it(FORGE_GITLAB, wrong[i].text, &t, &err), wrong[i].words);
        assert_string_equal(t.handle, "42");
        secret_free(t.value);
    }
}

static void test_find(void **state)
{
    struct err err = ERR_INIT;
    struct strv ids = {0};
    static const char list[] =
        "[{\"id\":1,\"name\":\"creel-a\",\"x\":null},{\"id\":2,\"name\":\"creel-ab\"},"
        "{\"id\":3,\"name\":\"Creel-a\"}]";
    assert_ok(forge_minted_find(list, sizeof list - 1, "creel-a", &ids, &err));
    assert_int_equal(ids.n, 1);
    assert_string_equal(ids.v[0], "1");
    strv_done(&ids);
    static const char *const bad[] = {
        "", "{}", "[", "[1]", "[]}", "[{\"id\":\"1\",\"name\":\"\"}]", "[],\"x\":1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(forge_minted_find(bad[i], strlen(bad[i]), "creel-a", &ids, &err) < 0);
}

/* Is it in memory that malloc gave or had back? False where its memory is not told apart. */
static bool in_heap(const char *text)
{
    char line[512];
    unsigned long from, to;
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    while (!found && fgets(line, sizeof line, maps))
        if (strstr(line, "[heap]") && sscanf(line, "%lx-%lx", &from, &to) == 2)
            found = memmem((void *)from, to - from, text, strlen(text));
    fclose(maps);
    return found;
}

static void test_no_copy_stays(void **state)
{
    struct err err = ERR_INIT;
    struct forge_token t;
    static char tail[] = "zz-what-the-token-ends-with"; /* its first bytes may be written over */
    char text[4096];
    snprintf(text, sizeof text, "%s",
             spoiled("ghs_1.2.3", "ghs_0123456789abcdef0123456789abcdef"
                                  "zz-what-the-token-ends-with"));
    assert_ok(read_it(FORGE_GITHUB, text, &t, &err));
    assert_non_null(strstr(t.value, tail));
    assert_false(in_heap(tail));
    secret_free(t.value);
}

int main(void)
{
    json_wiping();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_github),
        cmocka_unit_test(test_nothing_to_revoke),
        cmocka_unit_test(test_long_tokens),
        cmocka_unit_test(test_gitlab),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_no_copy_stays),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
