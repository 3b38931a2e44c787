/* What forges answer, and addresses of repositories, from any bytes: the first byte says what it is and whose. A
 * token that is taken is for that repository alone; a pull request that is taken is of that branch, below the
 * forge's address. */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/secret.h"
#include "controller/broker/forge_minted.h"
#include "controller/broker/forge_pull.h"
#include "tests/fuzz/fuzz.h"

#define NOW    1795430000ull
#define BRANCH "creel/x"

static void fuzz_mint(const struct forge *f, const struct forge_repo *repo, const char *text,
                      size_t len)
{
    struct err err = ERR_INIT;
    struct forge_token t;
    int rc = forge_mint_read((enum forge_kind)f->kind, repo, text, len, NOW, &t, &err);
    MUST((rc == 0) == (err.code == ERR_NONE));
    MUST(rc == -ERR_FAIL ? !t.value : t.value && t.len == strlen(t.value) && t.len > 0);
    if (rc == 0) {
        struct strv headers = {0};
        MUST(t.len <= REPO_TOKEN_MAX && t.expires > NOW && t.expires < NOW + 5 * 86400);
        MUST(f->kind == FORGE_GITHUB ? memmem(text, len, "rite", 4) != NULL
                                     : f->kind == FORGE_GITLAB);
        MUST(forge_headers((enum forge_kind)f->kind, t.value, t.len, &headers, &err) == 0);
        forge_headers_wipe(&headers);
    }
    secret_free(t.value);
}

static void fuzz_pull(const struct forge *f, const struct forge_repo *repo, const char *text,
                      size_t len)
{
    struct err err = ERR_INIT;
    struct pull p;
    struct buf words;
    if (forge_pull_find(f, repo, BRANCH, text, len, &p, &err) == 1 ||
        forge_pull_read(f, repo, BRANCH, text, len, &p, &err) == 0) {
        MUST(strncasecmp(p.url, "https://f.example/", 18) == 0 && p.number > 0);
        MUST(strcmp(p.branch, BRANCH) == 0);
    }
    buf_init(&words, 4096);
    forge_words(text, len, "secret", 6, &words);
    MUST(!memmem(words.data, words.len, "secret", 6));
    buf_done(&words);
}

static void fuzz_address(const struct forge *f, const char *text)
{
    const struct forges one = {.list = {.n = 1, .items = (void *)(uintptr_t)f}};
    const struct forge *found = NULL;
    struct forge_repo r;
    if (forge_find_remote(&one, NULL, text, &found, &r, NULL) < 0)
        return;
    MUST(found == f && r.name[0] && r.owner[0]);
    MUST(!strstr(r.path, "..") || strstr(r.path, "...") || !strstr(r.path, "/../"));
    MUST(strlen(r.owner) + 1 + strlen(r.name) == strlen(r.path));
    MUST(f->kind == FORGE_GITLAB || !strchr(r.owner, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct forge f = {.name = "f", .web = "https://f.example", .token = "t"};
    struct forge_repo repo;
    struct strv ids = {0};
    char base[TASK_BRANCH_SIZE];
    if (sodium_init() < 0 || len < 1)
        return 0;
    f.kind = bytes[0] % FORGE_KIND_COUNT;
    unsigned what = bytes[0] / FORGE_KIND_COUNT % 4;
    char *text = malloc(len); /* its own size: what reads over the end is seen */
    MUST(text);
    memcpy(text, bytes + 1, len - 1);
    text[len - 1] = 0;
    forge_defaults(&f);
    MUST(forge_repo_parse((enum forge_kind)f.kind, "o/r", &repo, NULL) == 0);
    if (what == 0) {
        fuzz_mint(&f, &repo, text, len - 1);
    } else if (what == 1) {
        fuzz_pull(&f, &repo, text, len - 1);
    } else if (what == 2) {
        fuzz_address(&f, text);
    } else {
        (void)forge_minted_find(text, len - 1, "l", &ids, NULL);
        strv_done(&ids);
        if (forge_repo_read(text, len - 1, base, NULL) == 0)
            MUST(forge_branch_valid(base));
    }
    free(text);
    return 0;
}
