/* The operator's repository in all its forms, and that nothing in it changes or runs. */
#include "controller/source.h"

#include <sys/stat.h>

#include "common/sha256.h"
#include "tests/unit/git_fixture.h"

/* libgit2 1.5 leaks a match for each revision that it parses. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    /* libgit2 keeps a commit whose tree it could not pack; its frames have no names here. */
    return "leak:libpcre2\nleak:libgit2.so\n";
}

static struct err err;
static struct source src;
static struct source_pack pack;

static int setup(void **state)
{
    struct tool *t = calloc(1, sizeof(*t));
    tool_init(t);
    git_fixture_env();
    sh(t, "git init -q -b main r; cd r; mkdir -p d/e; echo 1 >a; echo 2 >d/e/f; git add -A; git "
          "commit -q -m 'one line'\n"
          "echo 2 >a; git commit -q -am 'two lines'; git tag v1 HEAD~1; git tag -a -m t annotated "
          "HEAD~1");
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    tool_done(*state);
    free(*state);
    return 0;
}

static void opens(struct tool *t, const char *dir, const char *rev)
{
    assert_ok(source_open(tool_path(t, dir), rev, &src, &err));
}

/* Makes the snapshot in q.git and checks it with git: one commit, that tree, nothing else. */
static void snapshots(struct tool *t, const char *repo)
{
    char script[1024], hex[65];
    sh(t, "rm -rf q.git");
    assert_ok(source_snapshot(&src, tool_path(t, "q.git"), &pack, &err));
    snprintf(script, sizeof(script),
             "test $(git -C q.git rev-parse %s^{tree}) = $(git -C %s rev-parse %s^{tree})\n"
             "test $(git -C q.git rev-list --parents --all %s) = %s\n"
             "test $(git -C q.git count-objects | cut -d' ' -f1) = 0; ! test -e "
             "q.git/objects/info/alternates\n"
             "git -C q.git show-index <$(ls q.git/objects/pack/*.idx) | wc -l",
             pack.root, repo, src.base, pack.root, pack.root);
    assert_int_equal(strtoull(sh(t, script), NULL, 10), pack.objects);
    snprintf(script, sizeof(script), "sha256sum <q.git/objects/pack/%s | cut -d' ' -f1", pack.name);
    sha256_hex(pack.sha256, hex);
    assert_string_equal(sh(t, script), hex);
    snprintf(script, sizeof(script), "stat -c %%s q.git/objects/pack/%s", pack.name);
    assert_int_equal(strtoull(sh(t, script), NULL, 10), pack.bytes);
}

static void finds_and_names(void **state)
{
    struct tool *t = *state;
    opens(t, "r", NULL);
    assert_string_equal(src.repo, tool_path(t, "r"));
    assert_string_equal(src.base, sh(t, "git -C r rev-parse HEAD"));
    assert_string_equal(src.base_name, "main");
    assert_string_equal(src.base_subject, "two lines");
    assert_false(src.dirty);
    opens(t, "r/d/e", "v1");
    assert_string_equal(src.repo, tool_path(t, "r"));
    assert_string_equal(src.base, sh(t, "git -C r rev-parse HEAD~1"));
    assert_string_equal(src.base_name, "v1");
    opens(t, "r", "annotated");
    assert_string_equal(src.base_subject, "one line");
    opens(t, "r", "HEAD~1");
    snapshots(t, "r");
    sh(t, "git -C r checkout -q --detach");
    opens(t, "r", NULL);
    assert_int_equal(strncmp(src.base_name, src.base, 12), 0);
}

static void says_what_is_wrong(void **state)
{
    struct tool *t = *state;
    sh(t, "mkdir none; git init -q empty; git init -q --object-format=sha256 big; cd big; echo x "
          ">x; git add x; git commit -q -m x");
    assert_says(source_open(tool_path(t, "none"), NULL, &src, &err), "no git repository");
    assert_int_equal(err.code, ERR_USAGE);
    assert_says(source_open(tool_path(t, "nowhere"), NULL, &src, &err), "nowhere");
    assert_says(source_open(tool_path(t, "empty"), NULL, &src, &err), "no commit yet");
    assert_says(source_open(tool_path(t, "big"), NULL, &src, &err), "SHA-256");
    assert_says(source_open(tool_path(t, "r"), "nope", &src, &err), "no such revision: \"nope\"");
    assert_says(source_open(tool_path(t, "r"), "HEAD:a", &src, &err), "not a commit");
    assert_says(source_open(tool_path(t, "r"), "--all", &src, &err), "no such revision");
    assert_int_equal(err.code, ERR_USAGE);
}

static void dirty_is_said(void **state)
{
    struct tool *t = *state;
    sh(t, "touch r/a; echo 'ign' >r/.git/info/exclude; echo x >r/ign");
    opens(t, "r", NULL);
    assert_false(src.dirty);
    sh(t, "echo 3 >r/a");
    opens(t, "r", NULL);
    assert_true(src.dirty);
    sh(t, "cd r; git checkout -q a; echo n >new");
    opens(t, "r", NULL);
    assert_true(src.dirty);
    sh(t, "cd r; rm new; git rm -q --cached a");
    opens(t, "r", NULL);
    assert_true(src.dirty);
}

static void every_kind_of_repository(void **state)
{
    struct tool *t = *state;
    sh(t, "git clone -q --bare r 'ba re.git'; git -C r worktree add -q '../work tree' v1\n"
          "git clone -q --depth 1 file://$PWD/r shallow; git clone -q --shared r shared\n"
          "git clone -q r 'colon:and\"quote'; git -C r gc -q; git clone -q r wc; git -C wc config "
          "extensions.worktreeConfig true\n"
          "git -C wc config core.repositoryFormatVersion 1");
    static const char *const repos[] = {"ba re.git", "work tree",        "shallow",
                                        "shared",    "colon:and\"quote", "wc"};
    for (size_t i = 0; i < sizeof(repos) / sizeof(*repos); i++) {
        char quoted[64];
        opens(t, repos[i], NULL);
        assert_false(src.dirty);
        assert_string_equal(src.repo, tool_path(t, repos[i]));
        snprintf(quoted, sizeof(quoted), "'%s'", repos[i]);
        snapshots(t, quoted);
    }
}

static void submodules_are_left_out(void **state)
{
    struct tool *t = *state;
    sh(t, "cd r; git update-index --add --cacheinfo "
          "160000,1111111111111111111111111111111111111111,m; git commit -q -m m");
    opens(t, "r", NULL);
    snapshots(t, "r");
}

static void same_base_same_root(void **state)
{
    struct tool *t = *state;
    opens(t, "r", NULL);
    snapshots(t, "r");
    char root[41];
    memcpy(root, pack.root, 41);
    snapshots(t, "r");
    assert_string_equal(pack.root, root);
}

/* Hooks, monitors, filters, replaced objects, our own environment: without effect; not a byte
 * changes. */
static void nothing_runs_nothing_changes(void **state)
{
    struct tool *t = *state;
    sh(t, "cd r; P=$PWD/../pwned; git config core.fsmonitor \"touch $P\"; git config "
          "core.hooksPath hooks; mkdir hooks\n"
          "for h in pre-auto-gc post-index-change reference-transaction; do printf "
          "\"#!/bin/sh\\ntouch $P\\n\" >hooks/$h; chmod +x hooks/$h; done\n"
          "git config core.alternateRefsCommand \"touch $P\"; git config "
          "uploadpack.packObjectsHook \"touch $P\"\n"
          "git config pack.packSizeLimit 1m; git config filter.x.clean \"touch $P\"; echo '* "
          "filter=x' >.git/info/attributes\n"
          "git replace $(git rev-parse HEAD:a) $(git rev-parse HEAD:d/e/f); rm -f $P; cd ..\n"
          "find r -type f -o -type l | sort | xargs sha256sum >before; find r -printf '%p %m "
          "%T@\\n' | sort >>before");
    setenv("GIT_DIR", "/nonexistent", 1);
    setenv("GIT_OBJECT_DIRECTORY", "/nonexistent", 1);
    setenv("GIT_CONFIG_COUNT", "1", 1);
    setenv("GIT_CONFIG_KEY_0", "core.hooksPath", 1);
    setenv("GIT_CONFIG_VALUE_0", "/nonexistent", 1);
    opens(t, "r", NULL);
    int rc = source_snapshot(&src, tool_path(t, "q.git"), &pack, &err);
    unsetenv("GIT_DIR");
    unsetenv("GIT_OBJECT_DIRECTORY");
    unsetenv("GIT_CONFIG_COUNT");
    unsetenv("GIT_CONFIG_KEY_0");
    unsetenv("GIT_CONFIG_VALUE_0");
    assert_int_equal(rc, 0);
    sh(t, "find r -type f -o -type l | sort | xargs sha256sum >after; find r -printf '%p %m "
          "%T@\\n' | sort >>after\n"
          "cmp before after; ! test -e pwned");
    char script[512];
    snprintf(script, sizeof(script), "git -C q.git cat-file -p %s:a", pack.root);
    assert_string_equal(sh(t, script), "2");
}

static void a_failed_snapshot_leaves_nothing(void **state)
{
    struct tool *t = *state;
    opens(t, "r", NULL);
    sh(t, "cd r; f=$(git rev-parse HEAD:a | sed 's,^..,&/,'); rm -f .git/objects/$f");
    assert_says(source_snapshot(&src, tool_path(t, "q.git"), &pack, &err), "git pack-objects");
    sh(t, "! test -e q.git");
    assert_says(source_snapshot(&src, "relative", &pack, &err), "absolute");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(finds_and_names),
        T(says_what_is_wrong),
        T(dirty_is_said),
        T(every_kind_of_repository),
        T(submodules_are_left_out),
        T(same_base_same_root),
        T(nothing_runs_nothing_changes),
        T(a_failed_snapshot_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
