/* controller/broker/forge_file.c and forge_table.c: which forge a repository is at, the addresses and
 * headers of each kind's calls, and a file that says nonsense. */
#include "controller/broker/forge.h"

#include <string.h>

#include "tests/unit/cm.h"
#include "tests/unit/fixture.h"

static struct forge github(void)
{
    struct forge f = {.name = "hub",
                      .kind = FORGE_GITHUB,
                      .app_id = "Iv23li.x",
                      .installation = "678",
                      .key = "app-key",
                      .token = "mine"};
    forge_defaults(&f);
    return f;
}

static struct forges list(struct forge *f, size_t n)
{
    return (struct forges){.list = {.n = n, .items = f}};
}

static void test_defaults(void **state)
{
    struct err err = ERR_INIT;
    struct forge f = github();
    assert_string_equal(f.web, "https://github.com");
    assert_string_equal(f.api, "https://api.github.com");
    assert_ok(forge_check(&f, &err));
    f = (struct forge){.name = "own", .web = "https://git.example", .token = "t"};
    forge_defaults(&f);
    assert_string_equal(f.api, "https://git.example/api/v3");
    f = (struct forge){.name = "lab", .kind = FORGE_GITLAB, .token = "t"};
    forge_defaults(&f);
    assert_string_equal(f.api, "https://gitlab.com/api/v4");
    f = (struct forge){
        .name = "f", .kind = FORGE_FORGEJO, .web = "https://c.example/git", .token = "t"};
    forge_defaults(&f);
    assert_string_equal(f.api, "https://c.example/git/api/v1");
    assert_ok(forge_check(&f, &err));
    f = (struct forge){.name = "f", .kind = FORGE_FORGEJO, .token = "t"};
    forge_defaults(&f);
    assert_says(forge_check(&f, &err), "web: '' is not https://");
}

/* One member of a good forge spoiled. */
static void test_check(void **state)
{
    static const struct {
        size_t offset;
        const char *value, *words;
    } bad[] = {
        {offsetof(struct forge, name), "Hub", "not a name"},
        {offsetof(struct forge, name), "", "not a name"},
        {offsetof(struct forge, web), "http://github.com", "http towards this machine alone"},
        {offsetof(struct forge, web), "http://127.0.0.1.evil.example", "web:"},
        {offsetof(struct forge, web), "http://localhost.evil.example", "web:"},
        {offsetof(struct forge, web), "https://github.com/", "web:"},
        {offsetof(struct forge, web), "https://u@github.com", "web:"},
        {offsetof(struct forge, web), "https://github.com?x", "web:"},
        {offsetof(struct forge, api), "https://", "api:"},
        {offsetof(struct forge, api), "file:///etc", "api:"},
        {offsetof(struct forge, app_id), "", "all three"},
        {offsetof(struct forge, app_id), "1\"", "App's id"},
        {offsetof(struct forge, installation), "6/7", "installation's number"},
        {offsetof(struct forge, key), "", "all three"},
        {offsetof(struct forge, key), "../x", "not a secret's name"},
        {offsetof(struct forge, token), "a b", "not a secret's name"},
        {offsetof(struct forge, ca_file), "ca.pem", "not an absolute path"},
    };
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct forge f = github();
        memcpy((char *)&f + bad[i].offset, bad[i].value, strlen(bad[i].value) + 1);
        assert_says(forge_check(&f, &err), bad[i].words);
    }
    struct forge f = github();
    f.kind = FORGE_GITLAB;
    assert_says(forge_check(&f, &err), "GitHub's alone");
    f = (struct forge){.name = "x", .web = "https://x", .api = "https://x"};
    assert_says(forge_check(&f, &err), "no secret");
    f = (struct forge){
        .name = "x", .web = "http://[::1]:8", .api = "http://localhost:9/p", .token = "t"};
    assert_ok(forge_check(&f, &err));
}

static void test_find(void **state)
{
    struct err err = ERR_INIT;
    struct forge f[3] = {github(),
                         {.name = "lab", .kind = FORGE_GITLAB, .web = "https://l.example:8443"},
                         {.name = "deep", .kind = FORGE_GITLAB, .web = "https://l.example:8443/d"}};
    struct forges fs = list(f, 3);
    const struct forge *found = NULL;
    struct forge_repo r;
    assert_ok(forge_find(&fs, "https://github.com/o/greet.git", &found, &r, &err));
    assert_ptr_equal(found, &f[0]);
    assert_string_equal(r.owner, "o");
    assert_string_equal(r.name, "greet");
    assert_string_equal(r.path, "o/greet");
    assert_ok(forge_find(&fs, "https://l.example:8443/a/b/c", &found, &r, &err));
    assert_ptr_equal(found, &f[1]);
    assert_string_equal(r.owner, "a/b");
    assert_ok(forge_find(&fs, "https://l.example:8443/d/b/c", &found, &r, &err));
    assert_ptr_equal(found, &f[2]); /* the longer address */
    static const char *const nowhere[] = {
        "https://github.com.evil.example/o/r",
        "https://github.comm/o/r",
        "http://github.com/o/r",
        "https://l.example/a/b",
        "https://github.com",
        "",
    };
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++)
        assert_says(forge_find(&fs, nowhere[i], &found, &r, &err), "no forge");
    static const char *const not_there[] = {
        "https://github.com/o",      "https://github.com/o/r/x", "https://github.com/",
        "https://github.com/o/../r", "https://github.com/o//r",  "https://github.com/o/r?x=1",
        "https://github.com/o/%2e",
    };
    for (size_t i = 0; i < sizeof not_there / sizeof not_there[0]; i++)
        assert_says(forge_find(&fs, not_there[i], &found, &r, &err), "not a repository");
}

static void test_remote(void **state)
{
    struct err err = ERR_INIT;
    struct forge f[2] = {github(),
                         {.name = "lab", .kind = FORGE_GITLAB, .web = "https://l.example:8443"}};
    struct forges fs = list(f, 2);
    const struct forge *found = NULL;
    struct forge_repo r;
    static const char *const same[] = {
        "git@github.com:o/r.git",       "ssh://git@github.com/o/r", "ssh://github.com:22/o/r.git",
        "https://me:pw@github.com/o/r", "https://GitHub.com/o/r",   "github.com:/o/r.git",
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        assert_ok(forge_find_remote(&fs, NULL, same[i], &found, &r, &err));
        assert_ptr_equal(found, &f[0]);
        assert_string_equal(r.path, "o/r");
    }
    assert_ok(forge_find_remote(&fs, "lab", "git@l.example:a/b/c", &found, &r, &err));
    assert_ptr_equal(found, &f[1]);
    assert_says(forge_find_remote(&fs, "lab", same[0], &found, &r, &err), "no forge");
    assert_says(forge_find_remote(&fs, "lab", same[3], &found, &r, &err), "at forge hub, not lab");
    assert_says(forge_find_remote(&fs, "no", same[0], &found, &r, &err), "no forge is called no");
    assert_says(forge_find_remote(&fs, NULL, "/srv/git/o/r", &found, &r, &err), "no forge");
    assert_says(forge_find_remote(&fs, NULL, "git@github.com.evil:o/r", &found, &r, &err),
                "no forge");
    /* What may be a password is not told. */
    assert_int_not_equal(
        forge_find_remote(&fs, NULL, "https://me:hunter2@x.example/o/r", &found, &r, &err), 0);
    assert_null(strstr(err.msg, "hunter2"));
}

static void url_is(enum forge_call call, const struct forge_marks *m, const char *want)
{
    struct err err = ERR_INIT;
    struct buf b;
    buf_init(&b, 4096);
    assert_ok(forge_call_url(call, m, &b, &err));
    assert_string_equal(buf_str(&b), want);
    buf_done(&b);
}

static void test_urls(void **state)
{
    struct err err = ERR_INIT;
    struct forge hub = github(), lab = {.name = "lab", .kind = FORGE_GITLAB, .token = "t"},
                 jo = {
                     .name = "jo", .kind = FORGE_FORGEJO, .web = "https://f.example", .token = "t"};
    struct forge_repo r;
    forge_defaults(&lab);
    forge_defaults(&jo);
    assert_ok(forge_repo_parse(FORGE_GITLAB, "g/sub/name", &r, &err));
    struct forge_marks m = {.forge = &lab, .repo = &r, .id = "42", .branch = "creel/x y&z"};
    url_is(FORGE_MINT, &m, "https://gitlab.com/api/v4/projects/g%2Fsub%2Fname/access_tokens");
    url_is(FORGE_REVOKE, &m, "https://gitlab.com/api/v4/projects/g%2Fsub%2Fname/access_tokens/42");
    url_is(FORGE_PULL_FIND, &m,
           "https://gitlab.com/api/v4/projects/g%2Fsub%2Fname/merge_requests"
           "?source_branch=creel%2Fx%20y%26z&state=all&per_page=30");
    assert_ok(forge_repo_parse(FORGE_GITHUB, "o/n", &r, &err));
    m = (struct forge_marks){.forge = &hub, .repo = &r, .label = "o:creel/1"};
    url_is(FORGE_MINT, &m, "https://api.github.com/app/installations/678/access_tokens");
    url_is(FORGE_REVOKE, &m, "https://api.github.com/installation/token");
    url_is(FORGE_PULL_FIND, &m,
           "https://api.github.com/repos/o/n/pulls?head=o%3Acreel%2F1&state=all&per_page=30");
    m.forge = &jo;
    url_is(FORGE_PULL_OPEN, &m, "https://f.example/api/v1/repos/o/n/pulls");
    struct buf b;
    buf_init(&b, 4096);
    assert_says(forge_call_url(FORGE_MINT, &m, &b, &err), "no token for a single repository");
    buf_done(&b);
    /* Every call that a kind has ends on statuses, and is below its API. */
    for (int k = 0; k < FORGE_KIND_COUNT; k++)
        for (int c = 0; c < FORGE_CALL_COUNT; c++) {
            const struct forge_call_row *row =
                forge_call_row((enum forge_kind)k, (enum forge_call)c);
            assert_true(!row->method || (row->path[0] == '/' && row->done[0] >= 200));
        }
}

static void test_headers(void **state)
{
    struct err err = ERR_INIT;
    struct strv h = {0};
    char longer[900];
    memset(longer, 'x', sizeof longer);
    assert_ok(forge_headers(FORGE_GITHUB, longer, sizeof longer, &h, &err));
    assert_int_equal(strlen(h.v[0]), strlen("authorization: Bearer ") + sizeof longer);
    assert_true(strv_has(&h, "accept: application/vnd.github+json, application/json;q=0.9"));
    forge_headers_wipe(&h);
    assert_ok(forge_headers(FORGE_GITLAB, "glpat-1", 7, &h, &err));
    assert_true(strv_has(&h, "private-token: glpat-1"));
    forge_headers_wipe(&h);
    assert_ok(forge_headers(FORGE_FORGEJO, "f", 1, &h, &err));
    assert_true(strv_has(&h, "authorization: token f"));
    forge_headers_wipe(&h);
    static const char *const bad[] = {"a\r\nx: y", "a b", "", "\xc3\xa9", "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_says(forge_headers(FORGE_GITHUB, bad[i], strlen(bad[i]), &h, &err), "one word");
        assert_int_equal(h.n, 0);
    }
    assert_says(forge_headers(FORGE_GITHUB, "a\0b", 3, &h, &err), "one word");
}

static void test_file(void **state)
{
    struct err err = ERR_INIT;
    char dir[] = "/tmp/creel-forge.XXXXXX";
    assert_non_null(mkdtemp(dir));
    int fd = dir_open(dir, false, true, &err);
    assert_true(fd >= 0);
    struct forges fs, again;
    assert_ok(forges_load(fd, &fs, &err));
    assert_int_equal(fs.list.n, 0);
    struct forge two[2] = {github(),
                           {.name = "lab", .kind = FORGE_GITLAB, .token = "t", .ca_file = "/ca"}};
    forge_defaults(&two[1]);
    fs = list(two, 2);
    assert_ok(forges_save(fd, &fs, &err));
    assert_ok(forges_load(fd, &again, &err));
    assert_int_equal(again.list.n, 2);
    assert_memory_equal(again.list.items, two, sizeof two);
    assert_non_null(forges_find(&again, "lab"));
    assert_null(forges_find(&again, "la"));
    forges_done(&again);
    two[1] = two[0];
    assert_says(forges_save(fd, &fs, &err), "there twice");
    snprintf(two[1].name, sizeof two[1].name, "other");
    assert_says(forges_save(fd, &fs, &err), "one address");
    static const char *const bad[][2] = {
        {"{\"forges\":[{\"name\":\"a\",\"kind\":\"svn\",\"web\":\"\",\"api\":\"\"}]}",
         "known word"},
        {"{\"forges\":[{\"name\":\"a\",\"kind\":\"github\",\"web\":\"https://x\",\"api\":\"https://"
         "x\","
         "\"password\":\"p\"}]}",
         "unknown key"},
        {"{\"forges\":[{\"name\":\"a\",\"kind\":\"github\",\"web\":\"https://x\",\"api\":\"https://"
         "x\"}]}",
         "no secret"},
        {"[]", "forges.json"},
        {"", "forges.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_ok(file_replace(fd, "forges.json", bad[i][0], strlen(bad[i][0]), 0600, &err));
        assert_says(forges_load(fd, &again, &err), bad[i][1]);
    }
    close(fd);
    fixture_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_check),
        cmocka_unit_test(test_find),     cmocka_unit_test(test_remote),
        cmocka_unit_test(test_urls),     cmocka_unit_test(test_headers),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
