/* Checkout and collect, judged by git: round trips, hostile trees, and a hostile work tree in which
 * nothing may run. */
#include "runner/tree.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/git_fixture.h"

static struct err err;

struct bed {
    struct tool t;
    char base[96], task[96], out[96], root[41];
    struct tree_dirs dirs;
    struct tree_patch patch;
};

static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    tool_init(&b->t);
    git_fixture_env();
    assert_ok(tree_start(&err));
    snprintf(b->base, sizeof(b->base), "%s/base.git", b->t.dir);
    snprintf(b->task, sizeof(b->task), "%s/task", b->t.dir);
    snprintf(b->out, sizeof(b->out), "%s/made", b->t.dir);
    b->dirs = (struct tree_dirs){.base = b->base, .task = b->task, .out = b->out};
    sh(&b->t, "mkdir base.git task made; git init -q src");
    *state = b;
    return 0;
}

/* On a tmpfs, as an attempt's disk often is. Without one the test still holds, and proves less. */
static int setup_on_tmpfs(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char before[256];
    snprintf(before, sizeof(before), "%s", tmp ? tmp : "");
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    int rc = setup(state);
    if (tmp)
        setenv("TMPDIR", before, 1);
    else
        unsetenv("TMPDIR");
    return rc;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    buf_done(&b->patch.notes);
    tool_done(&b->t);
    free(b);
    return 0;
}

/* Packs the commit that `script` leaves in b->root (or src's HEAD tree as a root commit). */
static void pack_root(struct bed *b)
{
    char script[512];
    snprintf(script, sizeof(script),
             "cd src; echo %s | git pack-objects -q --revs --stdout >../source.pack", b->root);
    sh(&b->t, script);
}

static void make_source(struct bed *b, const char *script)
{
    char all[4096];
    snprintf(all, sizeof(all),
             "cd src\n%s\ngit add -A >/dev/null 2>&1\ngit commit -q --allow-empty -m x\n"
             "git commit-tree -m snapshot HEAD^{tree}",
             script);
    sh_oid(&b->t, all, b->root);
    pack_root(b);
}

static int checkout(struct bed *b)
{
    int fd = open(tool_path(&b->t, "source.pack"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    int rc = tree_checkout(&b->dirs, fd, b->root, "creel/x", &err);
    close(fd);
    return rc;
}

static void collect(struct bed *b)
{
    buf_done(&b->patch.notes);
    sh(&b->t, "rm -rf made; mkdir made");
    assert_ok(tree_collect(&b->dirs, b->root, "creel/x", &b->patch, &err));
    if (b->patch.commit[0] != '\0')
        sh(&b->t,
           "rm -rf got.git; git init -q --bare got.git; cp -r src/.git/objects/. got.git/objects/\n"
           "git -C got.git index-pack --strict --stdin <made/patch.pack >/dev/null");
}

/* `git diff-tree` of what came back against what was sent, one "STATUS path" a line. */
static const char *changes(struct bed *b)
{
    char script[512];
    snprintf(script, sizeof(script),
             "git -C got.git -c core.quotePath=false diff-tree -r --no-renames --name-status %s %s "
             "| tr '\\t' ' '",
             b->root, b->patch.commit);
    return sh(&b->t, script);
}

static const char all_kinds[] =
    "mkdir -p d/e 'sp ace'; echo hi >a; echo x >d/e/f; printf '#!/bin/sh\\n' >run; chmod +x run\n"
    "ln -s a link; ln -s /nowhere dangling; echo '*.o' >.gitignore; echo t >'sp ace/\303\251'\n"
    ": >empty; printf 'a\\r\\nb\\r\\n' >crlf; printf '* text=auto eol=crlf\\n*.x filter=evil "
    "ident\\n' >.gitattributes\n"
    "echo '$Id$' >id.x; head -c 300000 /dev/zero >zeros; mkdir a.d; echo 1 >a.d/1; echo 1 >a-b";

static void git_finds_a_clean_tree(void **state)
{
    struct bed *b = *state;
    make_source(b, all_kinds);
    assert_ok(checkout(b));
    assert_string_equal(
        sh(&b->t, "git -C task -c core.fileMode=true diff --no-ext-diff HEAD --stat -- . ':!crlf'"),
        "");
    assert_string_equal(sh(&b->t, "git -C task symbolic-ref HEAD"), "refs/heads/creel/x");
    assert_string_equal(sh(&b->t, "git -C task rev-parse HEAD"), b->root);
    sh(&b->t, "git -C task fsck --strict --no-dangling && git -C task ls-files --stage >l1\n"
              "git -C src ls-files --stage >l2; cmp l1 l2");
    assert_string_equal(sh(&b->t, "git -C task config user.email"), "agent@creel.invalid");
    sh(&b->t, "cd task; for f in $(git -C ../src ls-files | grep -v '\"'); do\n"
              "[ -h $f ] || [ $f = crlf ] || cmp $f ../src/$f; done; git -C ../src show HEAD:crlf "
              "| cmp - crlf; grep -q '^.Id.$' id.x");
    assert_string_equal(sh(&b->t, "cd task; echo n >n; git add n 2>/dev/null; git commit -q -m n; "
                                  "git log --oneline | wc -l"),
                        "2");
}

static void an_untouched_tree_is_unchanged(void **state)
{
    struct bed *b = *state;
    make_source(b, all_kinds);
    assert_ok(checkout(b));
    collect(b);
    assert_string_equal(b->patch.commit, "");
    /* Touching is not changing, whatever the stat data says. */
    sh(&b->t, "touch task/a task/run; cp task/crlf x; cat x >task/crlf");
    collect(b);
    assert_string_equal(b->patch.commit, "");
}

static void every_kind_of_change_comes_back(void **state)
{
    struct bed *b = *state;
    make_source(b, all_kinds);
    assert_ok(checkout(b));
    sh(&b->t,
       "cd task; echo more >>a; rm d/e/f; chmod -x run; chmod +x empty; rm link; echo f >link\n"
       "rm crlf; ln -s a crlf; mkdir -p new/deep; echo n >new/deep/f; echo o >x.o; rm a.d/1; echo "
       "2 >a.d/2\n"
       "mkfifo fifo; echo i >id.x; mkdir hollow; rm a-b; mkdir a-b; echo 1 >a-b/1");
    collect(b);
    assert_string_equal(changes(b),
                        "M a\nD a-b\nA a-b/1\nD a.d/1\nA a.d/2\nT crlf\nD d/e/f\nM empty\n"
                        "M id.x\nT link\nA new/deep/f\nM run");
    assert_non_null(strstr(buf_str(&b->patch.notes), "fifo: neither"));
    char script[512];
    snprintf(script, sizeof(script),
             "cd got.git; git cat-file commit %s | sed -n '2p;s/ <.*//;3p;$p'; git fsck --strict "
             "--no-dangling %s",
             b->patch.commit, b->patch.commit);
    assert_non_null(strstr(sh(&b->t, script), b->root));
    /* The pack holds new objects only. */
    assert_string_equal(
        sh(&b->t, "git -C got.git show-index <$(ls got.git/objects/pack/*.idx) | wc -l"), "10");
}

static void same_size_same_second_is_noticed(void **state)
{
    struct bed *b = *state;
    make_source(b, "for i in 1 2 3 4 5 6 7 8; do echo $i >f$i; done");
    assert_ok(checkout(b));
    sh(&b->t, "for i in 1 2 3 4 5 6 7 8; do touch -r task/f$i ref; echo x >task/f$i; touch -r ref "
              "task/f$i; done");
    collect(b);
    assert_non_null(strstr(changes(b), "M f1\nM f2\nM f3\nM f4\nM f5\nM f6\nM f7\nM f8"));
}

static void stat_part(struct bed *b, const char *name, struct stat *st)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", b->task, name);
    assert_int_equal(stat(path, st), 0);
}

/* A write through a shared mapping that was read before leaves both times of a tmpfs's file as they
 * were: nothing that stat shows tells of it. Thousands of files, so that the list is younger than the first of them. */
static void a_write_through_a_mapping_is_noticed(void **state)
{
    struct bed *b = *state;
    struct stat before, after;
    char path[160];
    make_source(b, "mkdir d; i=0; while [ $i -lt 5000 ]; do echo $i >d/f$i; i=$((i+1)); done; "
                   "echo hello >a");
    assert_ok(checkout(b));
    stat_part(b, "a", &before);
    snprintf(path, sizeof(path), "%s/a", b->task);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    volatile char *map = mmap(NULL, 6, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(map[0], 'h');
    map[0] = 'j';
    munmap((void *)(uintptr_t)map, 6);
    close(fd);
    stat_part(b, "a", &after);
    assert_int_equal(before.st_size, after.st_size);
    collect(b);
    assert_string_equal(changes(b), "M a");
}

static void ignored_files_stay_unless_tracked(void **state)
{
    struct bed *b = *state;
    make_source(b, "mkdir build; echo 1 >build/kept; echo 1 >kept.o; git add -f build/kept kept.o\n"
                   "printf 'build/\\n*.o\\n' >.gitignore");
    assert_ok(checkout(b));
    sh(&b->t, "cd task; echo 2 >build/kept; echo 2 >build/new; echo 2 >kept.o; echo 2 >new.o; "
              "mkdir -p s/build\n"
              "echo 2 >s/build/x; echo '!special.o' >s/.gitignore; echo 2 >s/special.o; echo 2 "
              ">s/other.o");
    collect(b);
    assert_string_equal(changes(b), "M build/kept\nM kept.o\nA s/.gitignore\nA s/special.o");
    /* An ignore file that is a link or a pipe is not read. */
    sh(&b->t,
       "cd task; rm s/.gitignore; mkfifo s/.gitignore; rm .gitignore; ln -s /dev/zero .gitignore");
    collect(b);
    assert_non_null(strstr(changes(b), "A new.o"));
}

static void nothing_of_the_agents_runs(void **state)
{
    struct bed *b = *state;
    make_source(b, "echo a >a; echo b >b.x");
    assert_ok(checkout(b));
    sh(&b->t,
       "cd task; P=$PWD/../pwned; for h in pre-commit post-index-change post-checkout; do\n"
       "mkdir -p .git/hooks; printf \"#!/bin/sh\\ntouch $P\\n\" >.git/hooks/$h; chmod +x "
       ".git/hooks/$h; done\n"
       "git config core.fsmonitor \"touch $P; false\"; git config core.hooksPath .git/hooks\n"
       "git config filter.evil.clean \"touch $P; cat\"; git config filter.evil.required true\n"
       "git config diff.external \"touch $P\"; git config core.worktree /; \n"
       "git config core.excludesFile $PWD/ex; echo a >ex; git config core.attributesFile $PWD/at\n"
       "echo '* filter=evil diff=evil' >.gitattributes; echo '* filter=evil' >at\n"
       "echo /root/.git/objects >.git/objects/info/alternates; echo '*' >.git/info/exclude\n"
       "echo more >>b.x; rm a; echo junk >.git/index; printf '[include]\\n\\tpath = "
       "/etc/passwd\\n' >>.git/config");
    collect(b);
    assert_string_equal(changes(b), "A .gitattributes\nD a\nA at\nM b.x\nA ex");
    /* Not as a file, a link, a directory of another name, nor deeper. */
    sh(&b->t,
       "cd task; rm -rf .git; ln -s /etc .git; mkdir .GIT sub sub/.git; echo x >.GIT/config\n"
       "echo x >sub/.git/x; echo x >sub/y; mkdir 'git~1' && echo x >'git~1/x'");
    collect(b);
    assert_string_equal(changes(b), "A .gitattributes\nD a\nA at\nM b.x\nA ex\nA sub/y");
    assert_string_equal(sh(&b->t, "ls"), "base.git\ngot.git\nmade\nout\nsource.pack\nsrc\ntask");
}

static void submodule_links_are_kept_never_made(void **state)
{
    struct bed *b = *state;
    make_source(
        b,
        "git update-index --add --cacheinfo 160000,1111111111111111111111111111111111111111,mod\n"
        "git update-index --add --cacheinfo 160000,2222222222222222222222222222222222222222,gone\n"
        "mkdir mod gone; echo a >a");
    assert_ok(checkout(b));
    sh(&b->t, "cd task; rmdir gone; echo inside >mod/file; git init -q nested; echo n >nested/n\n"
              "git -C nested add n; git -C nested commit -q -m n");
    collect(b);
    assert_string_equal(changes(b), "D gone\nA nested/n");
}

static void holes_and_sizes_are_bounded(void **state)
{
    struct bed *b = *state;
    make_source(b, "echo a >a; echo b >b");
    assert_ok(checkout(b));
    sh(&b->t, "cd task; truncate -s 5M hole; truncate -s 300M huge; truncate -s 1T vast; truncate "
              "-s 257M b");
    collect(b);
    assert_string_equal(changes(b), "A hole");
    assert_non_null(strstr(buf_str(&b->patch.notes), "huge: larger than 256 MiB"));
    assert_non_null(strstr(buf_str(&b->patch.notes), "b: larger than"));
    char script[512];
    snprintf(script, sizeof(script), "git -C got.git log -1 --format=%%b %s", b->patch.commit);
    assert_non_null(strstr(sh(&b->t, script), "vast: larger than 256 MiB"));
}

static void deep_and_odd_names(void **state)
{
    struct bed *b = *state;
    make_source(b, "echo a >a");
    assert_ok(checkout(b));
    sh(&b->t, "cd task; echo n >\"$(printf 'new\\nline')\"; echo e >\"$(printf 'esc\\033[31m')\"\n"
              "echo r >\"$(printf 'raw\\377')\"; mkdir deep; cd deep\n"
              "python3 -c 'import os\nfor i in range(700):\n os.mkdir(\"d\"); os.chdir(\"d\")\n"
              " if i == 300: open(\"in\", \"w\")\nopen(\"below\", \"w\")'");
    collect(b);
    assert_non_null(strstr(changes(b), "/d/in"));
    assert_null(strstr(b->t.out, "below"));
    assert_non_null(strstr(b->t.out, "raw\377"));
    assert_non_null(strstr(buf_str(&b->patch.notes), "more than 512"));
}

static void bad_packs(void **state)
{
    struct bed *b = *state;
    make_source(b, all_kinds);
    char root[41];
    memcpy(root, b->root, 41);
    sh(&b->t, "cp source.pack good; head -c 200 good >source.pack");
    assert_true(checkout(b) < 0);
    sh(&b->t, "rm -rf base.git task; mkdir base.git task; cp good source.pack\n"
              "printf 'X' | dd of=source.pack bs=1 seek=100 conv=notrunc 2>/dev/null");
    assert_true(checkout(b) < 0);
    sh(&b->t, "rm -rf base.git task; mkdir base.git task; echo junk >source.pack");
    assert_true(checkout(b) < 0);
    /* A root that is not in the pack, not a commit, or has parents. */
    memset(b->root, 'a', 40);
    sh(&b->t, "rm -rf base.git task; mkdir base.git task; cp good source.pack");
    assert_true(checkout(b) < 0);
    sh_oid(&b->t, "rm -rf base.git task; mkdir base.git task; git -C src rev-parse HEAD:a",
           b->root);
    assert_true(checkout(b) < 0);
    char script[512];
    snprintf(script, sizeof(script),
             "rm -rf base.git task; mkdir base.git task\n"
             "git -C src commit-tree -m x -p %s HEAD^{tree}",
             root);
    sh_oid(&b->t, script, b->root);
    pack_root(b);
    assert_says(checkout(b), "has parents");
}

/* One bad entry anywhere, and nothing is written. */
static void hostile_source_trees_are_refused(void **state)
{
    static const struct {
        const char *mode, *name, *words;
    } cases[] = {
        {"100644", ".git", ".git"},   {"40000", ".GIT", ".GIT"},
        {"100644", "git~1", "git~1"}, {"100644", ".git\xe2\x80\x8c", ".git"},
        {"120000", ".git ", ".git"},  {"100644", "..", "leads out"},
        {"100644", ".", "leads out"}, {"100644", "", "empty"},
        {"100644", "a/b", "slash"},   {"100600", "x", "mode"},
        {"100666", "x", "mode"},      {"20666", "x", "mode"},
        {"40000", "x", "not a tree"},
    };
    struct bed *b = *state;
    char blob[41], sub[41], top[41];
    raw_put(&b->t, "src/.git/objects", GIT_OBJECT_BLOB, "x\n", 2, blob);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct raw_tree inner = {0}, outer = {0};
        raw_add(&inner, cases[i].mode, cases[i].name, strlen(cases[i].name), blob);
        raw_put(&b->t, "src/.git/objects", GIT_OBJECT_TREE, inner.bytes, inner.n, sub);
        raw_add(&outer, "100644", "aaa", 3, blob);
        raw_add(&outer, "40000", "dir", 3, sub);
        raw_put(&b->t, "src/.git/objects", GIT_OBJECT_TREE, outer.bytes, outer.n, top);
        raw_commit(&b->t, "src/.git/objects", top, NULL, b->root);
        char script[512];
        snprintf(script, sizeof(script),
                 "rm -rf base.git task; mkdir base.git task; cd src\n"
                 "printf '%s\\n%s\\n%s\\n%s\\n' | git pack-objects -q --stdout >../source.pack",
                 b->root, top, sub, blob);
        sh(&b->t, script);
        assert_says(checkout(b), cases[i].words);
        assert_non_null(strstr(err.msg, "dir"));
        assert_string_equal(sh(&b->t, "ls -A task"), "");
    }
}

static void a_tree_of_trees_is_bounded(void **state)
{
    struct bed *b = *state;
    char below[41];
    struct raw_tree t = {0};
    raw_put(&b->t, "src/.git/objects", GIT_OBJECT_BLOB, "x", 1, below);
    char list[1024] = "";
    snprintf(list, sizeof(list), "%s\n", below);
    for (int level = 0; level < 8; level++) { /* 10^8 files in nine objects */
        t.n = 0;
        for (int i = 0; i < 10; i++)
            raw_add(&t, level == 0 ? "100644" : "40000", &"0123456789"[i], 1, below);
        raw_put(&b->t, "src/.git/objects", GIT_OBJECT_TREE, t.bytes, t.n, below);
        list_add(list, sizeof(list), below);
    }
    raw_commit(&b->t, "src/.git/objects", below, NULL, b->root);
    list_add(list, sizeof(list), b->root);
    tool_put(&b->t, "list", list, strlen(list));
    sh(&b->t, "cd src; git pack-objects -q --stdout <../list >../source.pack");
    assert_says(checkout(b), "more than 1000000 entries");
    assert_string_equal(sh(&b->t, "ls -A task"), "");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(git_finds_a_clean_tree),
        T(an_untouched_tree_is_unchanged),
        T(every_kind_of_change_comes_back),
        T(same_size_same_second_is_noticed),
        cmocka_unit_test_setup_teardown(a_write_through_a_mapping_is_noticed, setup_on_tmpfs,
                                        teardown),
        T(ignored_files_stay_unless_tracked),
        T(nothing_of_the_agents_runs),
        T(submodule_links_are_kept_never_made),
        T(holes_and_sizes_are_bounded),
        T(deep_and_odd_names),
        T(bad_packs),
        T(hostile_source_trees_are_refused),
        T(a_tree_of_trees_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
