/* Approval: one branch, whole or not at all, and nothing else in the operator's repository moves.
 */
#include "controller/approve.h"

#include "tests/unit/git_fixture.h"

static struct err err;

struct bed {
    struct tool t;
    struct task_row row;
    bool was_there;
};

/* r: the operator's repository; agent: a clone that holds the commit; clean.pack: that commit's own
 * objects. */
static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof(*b));
    tool_init(&b->t);
    git_fixture_env();
    sh_oid(&b->t,
           "git init -q -b main r; cd r; mkdir d; echo 1 >a; echo 2 >d/b; git add -A; git commit "
           "-q -m base; git rev-parse HEAD",
           b->row.base);
    sh_oid(&b->t,
           "git clone -q r agent; cd agent; echo more >>a; echo n >n; git add -A; git commit -q -m "
           "work; git rev-parse HEAD",
           b->row.commit);
    sh(&b->t, "cd agent; printf '%s\\n^%s\\n' HEAD HEAD~1 | git pack-objects -q --revs --window=0 "
              "--stdout >../clean.pack");
    snprintf(b->row.repo, sizeof(b->row.repo), "%s/r", b->t.dir);
    snprintf(b->row.branch, sizeof(b->row.branch), "creel/01jd0000000000000000000001");
    snprintf(b->row.id, sizeof(b->row.id), "01jd0000000000000000000001");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    tool_done(&b->t);
    free(b);
    return 0;
}

static int approve(struct bed *b)
{
    int fd = open(tool_path(&b->t, "clean.pack"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    b->was_there = false;
    int rc = approve_branch(&b->row, fd, &b->was_there, &err);
    close(fd);
    return rc;
}

static const char *branch(struct bed *b)
{
    char script[512];
    snprintf(script, sizeof(script), "git -C r rev-parse -q --verify refs/heads/%s || echo none",
             b->row.branch);
    return sh(&b->t, script);
}

#define LIST                                                                               \
    "cd r; find . -path ./.git/objects -prune -o -path ./.git/refs/heads/creel -prune -o " \
    "-path ./.git/logs/refs/heads/creel -prune -o -type f -print | sort | xargs sha256sum"

static void one_branch_and_nothing_else(void **state)
{
    struct bed *b = *state;
    sh(&b->t, "cd r; echo dirty >>a; echo new >new; git add new; cd ..; (" LIST ") >before");
    assert_ok(approve(b));
    assert_false(b->was_there);
    sh(&b->t, "(" LIST ") >after; cmp before after");
    assert_string_equal(branch(b), b->row.commit);
    sh(&b->t, "git -C r fsck --strict --no-dangling; git -C r log -p --all >/dev/null");
    assert_ok(approve(b));
    assert_true(b->was_there);
}

static void what_a_crash_left_is_finished(void **state)
{
    struct bed *b = *state;
    sh(&b->t, "git -C r unpack-objects -q <clean.pack"); /* the objects, not yet the ref */
    assert_string_equal(branch(b), "none");
    assert_ok(approve(b));
    assert_string_equal(branch(b), b->row.commit);
}

static void a_branch_elsewhere_is_left_alone(void **state)
{
    struct bed *b = *state;
    sh(&b->t, "git -C r branch creel/01jd0000000000000000000001");
    assert_says(approve(b), "exists already");
    assert_string_equal(branch(b), b->row.base);
    sh(&b->t, "git -C r branch -D creel/01jd0000000000000000000001; git -C r branch creel");
    assert_says(approve(b), "update-ref");
    sh(&b->t, "git -C r branch -m creel other");
    assert_ok(approve(b));
}

static void nothing_runs(void **state)
{
    struct bed *b = *state;
    sh(&b->t, "cd r; P=$PWD/../pwned; mkdir -p hk .git/hooks\n"
              "for h in reference-transaction post-checkout pre-auto-gc post-index-change "
              "post-commit; do\n"
              "for d in hk .git/hooks; do printf \"#!/bin/sh\\ntouch $P\\n\" >$d/$h; chmod +x "
              "$d/$h; done; done\n"
              "git config core.hooksPath $PWD/hk; git config core.fsmonitor \"touch $P\"; git "
              "config gc.auto 1\n"
              "git config core.alternateRefsCommand \"touch $P\"; rm -f $P");
    setenv("GIT_DIR", "/nonexistent", 1);
    int rc = approve(b);
    unsetenv("GIT_DIR");
    assert_int_equal(rc, 0);
    sh(&b->t, "! test -e pwned");
    assert_string_equal(branch(b), b->row.commit);
}

static void every_kind_of_repository(void **state)
{
    struct bed *b = *state;
    static const char *const repos[] = {"wo rk", "bare.git", "shallow"};
    sh(&b->t, "git -C r worktree add -q --detach '../wo rk'; git clone -q --bare r bare.git; git "
              "clone -q --depth 1 file://$PWD/r shallow");
    for (size_t i = 0; i < 3; i++) {
        char script[512];
        snprintf(b->row.repo, sizeof(b->row.repo), "%s/%s", b->t.dir, repos[i]);
        assert_ok(approve(b));
        snprintf(script, sizeof(script), "git -C '%s' rev-parse %s", repos[i], b->row.branch);
        assert_string_equal(sh(&b->t, script), b->row.commit);
    }
    assert_string_equal(branch(b), b->row.commit); /* the work tree's branches are its owner's */
}

static void many_objects_come_as_a_pack(void **state)
{
    struct bed *b = *state;
    sh_oid(&b->t,
           "cd agent; for i in $(seq 300); do echo $i >f$i; done; git add -A; git commit -q "
           "--amend -m work\n"
           "git rev-parse HEAD",
           b->row.commit);
    sh(&b->t, "cd agent; printf '%s\\n^%s\\n' HEAD HEAD~1 | git pack-objects -q --revs --window=0 "
              "--stdout >../clean.pack");
    assert_ok(approve(b));
    assert_string_equal(branch(b), b->row.commit);
    sh(&b->t, "ls r/.git/objects/pack/*.pack; git -C r fsck --strict --no-dangling");
}

static void what_is_wrong_is_said(void **state)
{
    struct bed *b = *state;
    char base[41], commit[41];
    memcpy(base, b->row.base, 41);
    memcpy(commit, b->row.commit, 41);
    sh(&b->t, "cp clean.pack good; head -c 100 good >clean.pack");
    assert_true(approve(b) < 0);
    sh(&b->t, ": >clean.pack");
    assert_says(approve(b), "clean.pack");
    sh(&b->t, "cp good clean.pack");
    memset(b->row.base, 'a', 40);
    assert_says(approve(b), "base commit");
    memcpy(b->row.base, base, 41);
    memset(b->row.commit, 'b', 40);
    assert_says(approve(b), "did not arrive");
    sh_oid(&b->t, "git -C agent commit-tree -m x HEAD^{tree}", b->row.commit);
    sh(&b->t, "cd agent; printf '%s\\n' $(git commit-tree -m x HEAD^{tree}) | git pack-objects -q "
              "--revs --stdout >../clean.pack");
    assert_says(approve(b), "does not stand on the base");
    assert_string_equal(branch(b), "none");
    memcpy(b->row.commit, commit, 41);
    sh(&b->t, "cp good clean.pack; mv r gone");
    assert_says(approve(b), "r: ");
    sh(&b->t, "mv gone r; rm -rf r/.git");
    assert_says(approve(b), "no git repository here");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_branch_and_nothing_else),
        T(what_a_crash_left_is_finished),
        T(a_branch_elsewhere_is_left_alone),
        T(nothing_runs),
        T(every_kind_of_repository),
        T(many_objects_come_as_a_pack),
        T(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
