/* The importer as the engine starts it: a confined child over packs that are good, damaged, or made
 * by somebody who hates us. The test program is its own "creel importer". */
#include "controller/importer.h"

#include <stdbool.h>

#include <sodium.h>

#include "controller/redact.h"
#include "controller/source.h"
#include "tests/unit/git_fixture.h"

static struct err err;

struct bed {
    struct tool t;
    char task[96], base[41], root[41], tree[41], blob[41];
    int calls;
    bool failed;
    struct err why;
    struct needles *needles; /* what the engine has */
    struct import_result r;
    struct review_record record;
};

#define OBJECTS "w/.git/objects"

/* A source repository r, its snapshot in task/quarantine.git, and a work copy w on the root commit
 * where results are made. */
static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    struct source src;
    struct source_pack pack;
    tool_init(&b->t);
    git_fixture_env();
    snprintf(b->task, sizeof(b->task), "%s/task", b->t.dir);
    sh_oid(&b->t,
           "git init -q r; cd r; mkdir -p d/e .github; echo 1 >a; echo 2 >d/e/f; ln -s a l; echo z "
           ">.github/z\n"
           "git add -A; git update-index --add --cacheinfo "
           "160000,1111111111111111111111111111111111111111,m\n"
           "git commit -q -m base; git rev-parse HEAD",
           b->base);
    sh(&b->t, "mkdir task");
    assert_ok(source_open(tool_path(&b->t, "r"), NULL, &src, &err));
    assert_ok(source_snapshot(&src, tool_path(&b->t, "task/quarantine.git"), &pack, &err));
    memcpy(b->root, pack.root, 41);
    char script[512];
    snprintf(script, sizeof(script),
             "git init -q w; cp task/quarantine.git/objects/pack/* w/.git/objects/pack/; cd w; git "
             "reset -q --hard %s\n"
             "git rev-parse HEAD^{tree}",
             b->root);
    sh_oid(&b->t, script, b->tree);
    sh_oid(&b->t, "git -C w rev-parse HEAD:a", b->blob);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    json_release(&review_record_shape, &b->record);
    tool_done(&b->t);
    free(b);
    return 0;
}

static void on_done(void *arg, const struct import_result *r, const struct err *e)
{
    struct bed *b = arg;
    b->calls++;
    b->failed = e != NULL;
    b->why = e != NULL ? *e : ERR_INIT;
    b->r = r != NULL ? *r : (struct import_result){0};
}

static void import(struct bed *b, const char *commit)
{
    uv_loop_t loop;
    struct buf text;
    b->calls = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_ok(import_start(&loop, "/proc/self/exe", b->task, b->base, b->root, commit,
                           "creel/01jd0000000000000000000001", "Do it\nsecond", b->needles, on_done,
                           b, &err));
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(b->calls, 1);
    sh(&b->t, "! ls -d task/import-*");
    json_release(&review_record_shape, &b->record);
    if (b->failed)
        return;
    buf_init(&text, JSON_BYTES_MAX);
    tool_get(&b->t, "task/review.json", &text);
    assert_ok(json_decode(&review_record_shape, text.data, text.len, &b->record, &err));
    assert_int_equal(b->record.summary.refused, b->r.refused);
    assert_string_equal(b->record.summary.commit, b->r.commit);
    buf_done(&text);
}

/* Packs what `revs` (a rev-list input) reaches beyond the root. */
static void pack(struct bed *b, const char *commit)
{
    char script[512];
    snprintf(script, sizeof(script),
             "cd w; printf '%%s\\n^%%s\\n' %s %s | git pack-objects -q --revs --window=0 --stdout "
             ">../task/patch.pack",
             commit, b->root);
    sh(&b->t, script);
}

/* Commits w's work tree on the root, as a collector would have. */
static void commit_all(struct bed *b, const char *script, char commit[static 41])
{
    char all[4096];
    snprintf(all, sizeof(all),
             "cd w\n%s\ngit add -A; GIT_AUTHOR_NAME=evil git commit -q --allow-empty -m agent; git "
             "rev-parse HEAD",
             script);
    sh_oid(&b->t, all, commit);
    pack(b, commit);
}

static const struct import_flag *flag(struct bed *b, const char *kind, const char *path)
{
    const struct import_flag *f = b->record.flags.items;
    for (size_t i = 0; i < b->record.flags.n; i++)
        if (strcmp(f[i].kind, kind) == 0 && strcmp(f[i].path, path) == 0)
            return &f[i];
    return NULL;
}

static const struct import_file *file(struct bed *b, const char *path)
{
    const struct import_file *f = b->record.changes.items;
    for (size_t i = 0; i < b->record.changes.n; i++)
        if (strcmp(f[i].path, path) == 0)
            return &f[i];
    return NULL;
}

static void refused(struct bed *b, const char *commit, const char *words)
{
    import(b, commit);
    if (b->failed)
        fail_msg("failed, should be refused for \"%s\": %s", words, b->why.msg);
    assert_true(b->r.refused);
    assert_string_equal(b->r.commit, "");
    if (!strstr(b->r.reason, words))
        fail_msg("says \"%s\", not \"%s\"", b->r.reason, words);
    sh(&b->t, "! test -e task/clean.pack; test -e task/patch.pack");
}

static void a_good_patch_is_reparented(void **state)
{
    struct bed *b = *state;
    char commit[41], script[1024];
    commit_all(b, "echo more >>a; rm d/e/f; echo n >new; printf '\\000\\001' >bin; chmod +x new",
               commit);
    import(b, commit);
    if (b->failed || b->r.refused)
        fail_msg("%s%s", b->why.msg, b->r.reason);
    assert_int_equal(b->r.files, 4);
    assert_int_equal(b->r.added, 2);
    assert_int_equal(b->r.removed, 1);
    assert_string_equal(file(b, "d/e/f")->change, "D");
    assert_string_equal(file(b, "a")->change, "M");
    assert_true(file(b, "bin")->binary);
    assert_non_null(flag(b, "binary", "bin"));
    assert_non_null(flag(b, "executable", "new"));
    /* Judged by git, in the operator's own repository. */
    snprintf(script, sizeof(script),
             "git -C r unpack-objects -q --strict <task/clean.pack; git -C r fsck --strict "
             "--no-dangling\n"
             "test $(git -C r rev-parse %s^) = %s; test $(git -C r rev-parse %s^{tree}) = $(git -C "
             "w rev-parse %s^{tree})\n"
             "git -C r log -1 --format='%%an|%%ae|%%cn|%%s|%%b' %s",
             b->r.commit, b->base, b->r.commit, commit, b->r.commit);
    assert_string_equal(
        sh(&b->t, script),
        "creel agent|agent@creel.invalid|creel agent|Do it|Task: 01jd0000000000000000000001\n");
    snprintf(script, sizeof(script),
             "git -C r diff --no-renames %s %s >want; cmp want task/patch.diff; wc -c <want",
             b->base, b->r.commit);
    assert_int_equal(strtoull(sh(&b->t, script), NULL, 10), b->r.diff_bytes);
    /* Again gives the same. */
    char first[41];
    memcpy(first, b->r.commit, 41);
    import(b, commit);
    assert_string_equal(b->r.commit, first);
}

static void flags(void **state)
{
    struct bed *b = *state;
    char commit[41];
    commit_all(b,
               "mkdir -p .github/workflows .husky s hooks; echo x >.github/workflows/ci.yml; echo "
               "x >.gitattributes\n"
               "echo x >.gitmodules; echo x >.husky/pre; echo {} >package-lock.json; ln -s "
               "/etc/passwd s/abs; ln -s ../../x s/out\n"
               "ln -s ../a s/in; ln -s b/../.. s/hop; ln -s .git/config s/own; echo x >hooks/h; "
               "git rm -q --cached m\n"
               "echo 'k = \"AKIAABCDEFGHIJKLMNOP\"' >key; printf -- '-----BEGIN OPENSSH PRIVATE "
               "KEY-----\\n' >id\n"
               "echo x >\"$(printf 'esc\\033[31m')\"; echo x >\"$(printf "
               "'rtl\\342\\200\\256gpj.exe')\"; echo x >\"$(printf 'raw\\377')\"\n"
               "echo x >'back\\slash'; head -c 6000000 /dev/zero | tr '\\0' x >large",
               commit);
    import(b, commit);
    if (b->failed || b->r.refused)
        fail_msg("%s%s", b->why.msg, b->r.reason);
    static const char *const want[][2] = {
        {"ci", ".github/workflows/ci.yml"},
        {"gitattributes", ".gitattributes"},
        {"submodule", ".gitmodules"},
        {"submodule", "m"},
        {"hook", ".husky/pre"},
        {"hook", "hooks/h"},
        {"lockfile", "package-lock.json"},
        {"symlink", "s/abs"},
        {"symlink", "s/in"},
        {"secret", "key"},
        {"secret", "id"},
        {"path", "esc\\x1b[31m"},
        {"path", "rtl\\u{202e}gpj.exe"},
        {"path", "raw\\xff"},
        {"path", "back\\slash"},
        {"large", "large"},
    };
    for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
        if (!flag(b, want[i][0], want[i][1]))
            fail_msg("not flagged: %s %s", want[i][0], want[i][1]);
    assert_non_null(strstr(flag(b, "symlink", "s/abs")->why, "absolute path: /etc/passwd"));
    assert_non_null(strstr(flag(b, "symlink", "s/out")->why, "out of the tree"));
    assert_non_null(strstr(flag(b, "symlink", "s/hop")->why, "out of the tree"));
    assert_non_null(strstr(flag(b, "symlink", "s/own")->why, "repository's own"));
    assert_non_null(strstr(flag(b, "symlink", "s/in")->why, "points to: ../a"));
}

static void damaged_packs(void **state)
{
    struct bed *b = *state;
    char commit[41], wrong[41];
    commit_all(b, "head -c 3000 /dev/urandom >new; echo x >y", commit);
    sh(&b->t, "cp task/patch.pack good");
    static const char *const damage[] = {
        ": >task/patch.pack",
        "head -c 11 good >task/patch.pack",
        "head -c 1000 good >task/patch.pack",
        "head -c -1 good >task/patch.pack",
        "echo junk >task/patch.pack",
        "cp good task/patch.pack; printf X | dd of=task/patch.pack bs=1 seek=700 conv=notrunc "
        "2>/dev/null",
        "cp good task/patch.pack; printf '\\377\\377\\377\\377' | dd of=task/patch.pack bs=1 "
        "seek=8 conv=notrunc 2>/dev/null",
        "cp good task/patch.pack; printf '\\0\\0\\0\\0' | dd of=task/patch.pack bs=1 seek=8 "
        "conv=notrunc 2>/dev/null",
        "head -c 100000 /dev/urandom >task/patch.pack",
        "(cat good; echo more) >task/patch.pack",
    };
    for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++) {
        sh(&b->t, damage[i]);
        refused(b, commit, "pack");
    }
    sh(&b->t, "cp good task/patch.pack");
    memset(wrong, 'a', 40);
    wrong[40] = '\0';
    refused(b, wrong, "does not hold commit");
    refused(b, b->root, "does not hold commit");
    sh_oid(&b->t, "git -C w rev-parse HEAD:y", wrong);
    refused(b, wrong, "does not hold commit");
}

static void the_wrong_commits(void **state)
{
    struct bed *b = *state;
    char tree[41], one[41], two[41];
    struct raw_tree t = {0};
    raw_add(&t, "100644", "a", 1, b->blob);
    raw_put(&b->t, OBJECTS, GIT_OBJECT_TREE, t.bytes, t.n, tree);
    raw_commit(&b->t, OBJECTS, tree, NULL, one);
    pack(b, one);
    refused(b, one, "not one commit on what was sent");
    raw_commit(&b->t, OBJECTS, tree, one, two);
    pack(b, two);
    refused(b, two, "not one commit on what was sent");
    raw_commit(&b->t, OBJECTS, tree, b->root, one);
    raw_commit(&b->t, OBJECTS, tree, one, two);
    pack(b, two);
    refused(b, two, "not one commit on what was sent");
    pack(b, one);
    import(b, one);
    assert_false(b->r.refused); /* the control: this one is right */
}

static void deltas_are_refused(void **state)
{
    struct bed *b = *state;
    char commit[41];
    commit_all(b, "seq 1 20000 >n1; (seq 1 20000; echo end) >n2", commit);
    char script[512];
    snprintf(script, sizeof(script),
             "cd w; printf '%%s\\n^%%s\\n' %s %s | git pack-objects -q --revs --stdout "
             ">../task/patch.pack\n"
             "cp ../task/patch.pack ../i.pack; git index-pack ../i.pack >/dev/null; git "
             "verify-pack -v ../i.idx | grep -q chain",
             commit, b->root);
    sh(&b->t, script);
    refused(b, commit, "deltas");
}

/* A pack of exactly these objects, one id a line. */
static void pack_list(struct bed *b, const char *ids)
{
    tool_put(&b->t, "list", ids, strlen(ids));
    sh(&b->t, "cd w; git pack-objects -q --window=0 --stdout <../list >../task/patch.pack");
}

static void hostile_trees(void **state)
{
    static const struct {
        const char *mode, *name, *words;
    } cases[] = {
        {"100644", ".git", ".git"},   {"40000", ".GIT", ".GIT"},
        {"100644", "git~1", "git~1"}, {"100644", "..", "leads out"},
        {"100644", "a/b", "slash"},   {"100644", "", "empty"},
        {"100600", "x", "mode"},      {"160000", "sub", "submodule"},
        {"40000", "x", "not a tree"}, {"120000", ".gi\xe2\x80\x8ct", ".git"},
    };
    struct bed *b = *state;
    char blob[41], sub[41], top[41], commit[41], ids[256];
    raw_put(&b->t, OBJECTS, GIT_OBJECT_BLOB, "evil\n", 5, blob);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct raw_tree inner = {0}, outer = {0};
        raw_add(&inner, cases[i].mode, cases[i].name, strlen(cases[i].name), blob);
        raw_put(&b->t, OBJECTS, GIT_OBJECT_TREE, inner.bytes, inner.n, sub);
        raw_add(&outer, "40000", "dir", 3, sub);
        raw_put(&b->t, OBJECTS, GIT_OBJECT_TREE, outer.bytes, outer.n, top);
        raw_commit(&b->t, OBJECTS, top, b->root, commit);
        snprintf(ids, sizeof(ids), "%s\n%s\n%s\n%s\n", commit, top, sub, blob);
        pack_list(b, ids);
        refused(b, commit, cases[i].words);
        assert_non_null(strstr(b->r.reason, "dir"));
    }
}

static void what_is_missing_is_noticed(void **state)
{
    struct bed *b = *state;
    char blob[41], sub[41], top[41], commit[41], ids[256];
    struct raw_tree inner = {0}, outer = {0};
    raw_put(&b->t, OBJECTS, GIT_OBJECT_BLOB, "x\n", 2, blob);
    raw_add(&inner, "100644", "x", 1, blob);
    raw_put(&b->t, OBJECTS, GIT_OBJECT_TREE, inner.bytes, inner.n, sub);
    raw_add(&outer, "40000", "dir", 3, sub);
    raw_put(&b->t, OBJECTS, GIT_OBJECT_TREE, outer.bytes, outer.n, top);
    raw_commit(&b->t, OBJECTS, top, b->root, commit);
    snprintf(ids, sizeof(ids), "%s\n%s\n%s\n", commit, top, sub);
    pack_list(b, ids);
    refused(b, commit, "dir/x: its content is missing");
    snprintf(ids, sizeof(ids), "%s\n%s\n%s\n", commit, top, blob);
    pack_list(b, ids);
    refused(b, commit, "dir: a directory's tree is missing");
    snprintf(ids, sizeof(ids), "%s\n", commit);
    pack_list(b, ids);
    refused(b, commit, "missing");
}

static void bombs_are_bounded(void **state)
{
    struct bed *b = *state;
    char below[41], commit[41], list[1024] = "";
    struct raw_tree t = {0};
    raw_put(&b->t, OBJECTS, GIT_OBJECT_BLOB, "x", 1, below);
    snprintf(list, sizeof(list), "%s\n", below);
    for (int level = 0; level < 8; level++) {
        t.n = 0;
        for (int i = 0; i < 10; i++)
            raw_add(&t, level == 0 ? "100644" : "40000", &"0123456789"[i], 1, below);
        raw_put(&b->t, OBJECTS, GIT_OBJECT_TREE, t.bytes, t.n, below);
        list_add(list, sizeof(list), below);
    }
    raw_commit(&b->t, OBJECTS, below, b->root, commit);
    list_add(list, sizeof(list), commit);
    pack_list(b, list);
    refused(b, commit, "entries");
}

/* What is wrong with us is a failure, not a finding: nothing is recorded as refused. */
static void our_own_failures(void **state)
{
    struct bed *b = *state;
    char commit[41];
    uv_loop_t loop;
    commit_all(b, "echo x >x", commit);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_true(import_start(&loop, "/nonexistent", b->task, b->base, b->root, commit, "creel/x",
                             "t", NULL, on_done, b, &err) < 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(import_start(&loop, "/proc/self/exe", b->task, b->base, b->root, "", "creel/x", "t",
                             NULL, on_done, b, &err) < 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(b->calls, 0);
    sh(&b->t, "mv task/patch.pack keep");
    import(b, commit);
    assert_true(b->failed);
    sh(&b->t, "mv keep task/patch.pack; mv task/quarantine.git hidden; mkdir task/quarantine.git");
    import(b, commit);
    assert_true(b->failed);
}

/* A child of an engine that was killed is still at it when the next engine imports the same patch. */
static void after_a_killed_engine(void **state)
{
    struct bed *b = *state;
    char commit[41];
    uv_loop_t orphans;
    commit_all(b, "echo more >>a", commit);
    pack(b, commit);
    sh(&b->t, "mkdir task/import-old; echo left >task/import-old/clean.pack");
    assert_int_equal(uv_loop_init(&orphans), 0);
    assert_ok(import_start(&orphans, "/proc/self/exe", b->task, b->base, b->root, commit,
                           "creel/01jd0000000000000000000001", "Do it", NULL, on_done, b, &err));
    import(b, commit);
    assert_false(b->failed || b->r.refused);
    sh(&b->t, "cp task/clean.pack imported");
    uv_run(&orphans, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&orphans), 0);
    assert_true(b->failed);
    sh(&b->t, "cmp task/clean.pack imported; ! ls -d task/import-*");
}

/* An engine that stops does not wait for the importer's ten minutes. Here the importer stands still,
 * as one does that reads without end. */
static void stopped_at_once(void **state)
{
    struct bed *b = *state;
    char commit[41];
    uv_loop_t loop;
    commit_all(b, "echo more >>a", commit);
    pack(b, commit);
    b->calls = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    import_stop(&loop); /* none runs */
    sh(&b->t, "printf '#!/bin/sh\\nexec sleep 600\\n' >hanging; chmod +x hanging");
    assert_ok(import_start(&loop, tool_path(&b->t, "hanging"), b->task, b->base, b->root, commit,
                           "creel/01jd0000000000000000000001", "Do it", NULL, on_done, b, &err));
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(b->calls, 0);
    import_stop(&loop);
    import_stop(&loop);
    assert_int_equal(b->calls, 0); /* it comes from the loop */
    alarm(20);
    uv_run(&loop, UV_RUN_DEFAULT);
    alarm(0);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(b->calls, 1);
    assert_true(b->failed);
    assert_string_equal(b->why.msg, "the import was stopped");
    sh(&b->t, "! ls -d task/import-*; ! test -e task/review.json; test -e task/patch.pack");
    import(b, commit); /* and can be had again */
    assert_false(b->failed || b->r.refused);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* ---- the operator's secrets ---- */

#define KEY "sk-proj-0123456789abcdefghij"

static bool secret_flagged(const struct bed *b)
{
    const struct import_flag *f = b->record.flags.items;
    for (size_t i = 0; i < b->record.flags.n; i++)
        if (strcmp(f[i].kind, "secret-value") == 0)
            return true;
    return false;
}

static void a_secret_in_what_came_back(void **state)
{
    struct bed *b = *state;
    static const struct {
        const char *script, *says;
    } cases[] = {
        {"printf 'one\\ntwo\\nkey = \"" KEY "\"\\n' >d/new",
         "d/new: line 3 holds the secret openai"},
        {"printf " KEY " | base64 >a", "a: line 1 holds the secret openai"},
        {"printf " KEY " | od -An -tx1 -v | tr -d ' \\n' >a", "a: line 1 holds the secret openai"},
        {"(head -c 100000 /dev/zero; printf " KEY ") >bin", "bin: line 1 holds the secret openai"},
        {"ln -sf " KEY " l", "l: line 1 holds the secret openai"},
        {"echo x >d/" KEY ".txt", "a path holds the secret openai"},
        {"mkdir -p " KEY "; echo " KEY " >" KEY "/f", "a path holds the secret openai"},
        {"git mv a " KEY, "a path holds the secret openai"},
        {"printf " KEY " >a; chmod +x a", "a: line 1 holds the secret openai"},
    };
    char commit[41], script[1024];
    b->needles = needles_new(&err);
    assert_ok(needles_add(b->needles, "openai", KEY, strlen(KEY), &err));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(script, sizeof(script), "git reset -q --hard %s; git clean -qfdx\n%s", b->root,
                 cases[i].script);
        commit_all(b, script, commit);
        import(b, commit);
        assert_false(b->failed || b->r.refused);
        if (strstr(b->r.secret, cases[i].says) == NULL)
            fail_msg("%s: says '%s'", cases[i].script, b->r.secret);
        assert_null(strstr(b->r.secret, KEY));
        assert_string_equal(b->record.summary.secret, b->r.secret);
        assert_true(secret_flagged(b));
        assert_true(strlen(b->r.commit) ==
                    40); /* whole, not edited: it is the approval that stops */
    }
    snprintf(script, sizeof(script),
             "git reset -q --hard %s; git clean -qfdx; echo sk-proj-0123456789 >a", b->root);
    commit_all(b, script, commit);
    import(b, commit);
    assert_string_equal(b->r.secret, "");
    assert_false(secret_flagged(b));
    needles_free(b->needles);
    b->needles = NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "importer") == 0)
        return importer_main(argc - 1, argv + 1);
    const struct CMUnitTest tests[] = {
        T(a_good_patch_is_reparented),
        T(flags),
        T(damaged_packs),
        T(the_wrong_commits),
        T(deltas_are_refused),
        T(hostile_trees),
        T(what_is_missing_is_noticed),
        T(bombs_are_bounded),
        T(our_own_failures),
        T(after_a_killed_engine),
        T(stopped_at_once),
        T(a_secret_in_what_came_back),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
