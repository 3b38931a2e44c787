/* The store: rows come back as they went in, each step is refused where it is not legal, and several
 * processes may write at once without losing anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cm.h"

#include <sqlite3.h>

#include "common/clock.h"
#include "common/file.h"
#include "controller/agent_profile.h"
#include "controller/store.h"
#include "tests/unit/doc_samples.h"

struct fixture {
    char dir[64], path[96];
    struct store *s;
};

static struct err err;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/creel-store-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/creel.db", f->dir);
    *state = f;
    return store_open(f->path, true, &f->s, &err);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int fd = dir_open("/tmp", false, false, &err);

    store_close(f->s);
    tree_remove(fd, f->dir + 5, &err);
    fd_close(&fd);
    free(f);
    return 0;
}

static void sample_host(struct host_row *h, const char *name)
{
    *h = (struct host_row){.port = 2222,
                           .runner_key_known = true,
                           .slots = 3,
                           .rooted = true,
                           .unenforceable = LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_CPU),
                           .disk_images = true,
                           .landlock_abi = 4,
                           .presets = 1u << PRESET_GO,
                           .added = 1700000000,
                           .last_seen = 1700000001};
    snprintf(h->name, sizeof(h->name), "%s", name);
    SET(h->user, "runner");
    SET(h->addr, "2001:db8::7");
    SET(h->host_key, "ssh-ed25519 AAAA");
    SET(h->host_key_fpr, SAMPLE_FPR_A);
    SET(h->program, "creel-runner 0.1.0");
    SET(h->kernel, "Linux 6.1");
    SET(h->unenforceable_why, "no cgroup v2");
    SET(h->disk_images_why, "x");
    SET(h->images, "debian-12 node ");
    SET(h->reach, "10.0.0.0/8 ");
    SET(h->tools, "claude codex ");
    sample_bytes(h->runner_key, sizeof(h->runner_key), 9);
}

static void row_make(struct task_row *t, const char *id)
{
    *t = (struct task_row){.pack_bytes = 5000000000ull, .created_ms = 1700000000123ull};
    snprintf(t->id, sizeof(t->id), "%s", id);
    SET(t->title, "a title \xc3\xa9");
    SET(t->repo, "/home/o p/repo");
    SET(t->base, SAMPLE_BASE);
    SET(t->root, SAMPLE_ROOT);
    snprintf(t->branch, sizeof(t->branch), "creel/%s", id);
    SET(t->pack, "pack-0123.pack");
    sample_bytes(t->pack_sha256, sizeof(t->pack_sha256), 3);
    strv_add(&t->setup, "make deps");
    strv_add(&t->command, "sh");
    strv_add(&t->command, "-c");
    strv_add(&t->command, "echo 'it''s \"x\"'\n\texit 1");
    strv_add(&t->tests, "make check");
    SET(t->agent, "codex");
    t->events = AGENT_CODEX_JSON;
    strv_add(&t->env, "A=b c");
    struct task_file *file = json_list_push(&t->files, &task_file_shape);
    SET(file->path, ".codex/config.toml");
    strv_add(&file->lines, "[\"a\"]");
    strv_add(&file->lines, "");
    sample_policy(&t->policy);
    SET(t->cache, "npm");
}

static void add(struct fixture *f, const char *id)
{
    struct task_row t;

    row_make(&t, id);
    assert_ok(store_task_add(f->s, &t, &err));
    task_row_done(&t);
}

static void lease(struct fixture *f, const char *id, unsigned *n, uint64_t *fence)
{
    assert_ok(store_task_lease(f->s, id, "box", n, fence, &err));
}

static void host_there(struct fixture *f)
{
    struct host_row h;

    sample_host(&h, "box");
    assert_ok(store_host_put(f->s, &h, &err));
}

static void hosts_come_back(void **state)
{
    struct fixture *f = *state;
    struct host_row in, out, *rows;
    size_t n;

    sample_host(&in, "box");
    assert_ok(store_host_put(f->s, &in, &err));
    assert_ok(store_host_get(f->s, "box", &out, &err));
    assert_memory_equal(&in, &out, sizeof(in));
    assert_says(store_host_put(f->s, &in, &err), "exists");
    assert_int_equal(store_host_put(f->s, &in, &err), -ERR_USAGE);
    sample_host(&in, "alpha");
    assert_ok(store_host_put(f->s, &in, &err));
    assert_ok(store_host_list(f->s, &rows, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(rows[0].name, "alpha");
    free(rows);
    assert_ok(store_host_remove(f->s, "alpha", &err));
    assert_int_equal(store_host_get(f->s, "alpha", &out, &err), -ERR_USAGE);
    assert_int_equal(store_host_remove(f->s, "alpha", &err), -ERR_USAGE);
}

static void host_names_are_checked(void **state)
{
    static const char *const bad[] = {"", "A", "a b", "-a", ".", "../x", "a/b", "a\n"};
    struct fixture *f = *state;
    struct host_row h;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sample_host(&h, bad[i]);
        assert_int_equal(store_host_put(f->s, &h, &err), -ERR_USAGE);
    }
}

static void another_runner_key_is_not_believed(void **state)
{
    struct fixture *f = *state;
    struct msg_welcome w = {.slots = 7, .memory_cleared = true};
    struct host_row h;

    host_there(f);
    SET(w.program, "creel-runner 9");
    sample_bytes(w.runner_key, sizeof(w.runner_key), 10);
    assert_int_equal(store_host_seen(f->s, "box", &w, false, &err), -ERR_TRUST);
    assert_ok(store_host_get(f->s, "box", &h, &err));
    assert_string_equal(h.program, "creel-runner 0.1.0");
    assert_ok(store_host_seen(f->s, "box", &w, true, &err));
    assert_ok(store_host_seen(f->s, "box", &w, false, &err));
    assert_ok(store_host_get(f->s, "box", &h, &err));
    assert_string_equal(h.program, "creel-runner 9");
    assert_memory_equal(h.runner_key, w.runner_key, sizeof(h.runner_key));
    assert_int_equal(h.slots, 7);
    assert_int_equal(h.landlock_abi, 0);
    assert_string_equal(h.images, "");
    assert_true(h.memory_cleared);
    assert_true(h.last_seen > 1700000001);
    assert_ok(store_host_key(f->s, "box", "ssh-rsa BBBB", &err));
    assert_ok(store_host_get(f->s, "box", &h, &err));
    assert_string_equal(h.host_key, "ssh-rsa BBBB");
}

static void what_hosts_tell_is_kept(void **state)
{
    struct fixture *f = *state;
    struct msg_welcome w = {.slots = 1, .landlock_abi = 6, .presets = 1u << PRESET_NPM};
    char name[65];
    struct host_row h;

    host_there(f);
    SET(w.disk_images_why, "no loop devices");
    memset(name, 'x', 64);
    name[64] = 0;
    for (int i = 0; i < WELCOME_NAMES_MAX - 1; i++) {
        assert_int_equal(strv_add(&w.images, name), 0);
        assert_int_equal(strv_add(&w.reach, "fd00::/8"), 0);
    }
    assert_int_equal(strv_add(&w.images, "last"), 0);
    assert_int_equal(strv_add(&w.reach, "not one word"), 0);
    assert_int_equal(strv_add(&w.tools, "claude"), 0);
    assert_int_equal(strv_add(&w.tools, "codex"), 0);
    assert_ok(store_host_seen(f->s, "box", &w, true, &err));
    assert_ok(store_host_get(f->s, "box", &h, &err));
    assert_true(store_host_tool(&h, "codex") && store_host_tool(&h, "claude"));
    assert_false(store_host_tool(&h, "code"));
    assert_false(h.disk_images);
    assert_string_equal(h.disk_images_why, "no loop devices");
    assert_int_equal(h.landlock_abi, 6);
    assert_int_equal(h.presets, 1u << PRESET_NPM);
    assert_true(store_host_image(&h, "last") && store_host_image(&h, name));
    assert_false(store_host_image(&h, "las") || store_host_image(&h, "lastx"));
    assert_false(store_host_image(&h, "") || store_host_image(&h, " "));
    assert_int_equal(strlen(h.reach), (WELCOME_NAMES_MAX - 1) * 9);
    strv_done(&w.images);
    strv_done(&w.reach);
    strv_done(&w.tools);
}

#define DIGEST_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void caches_belong_to_a_host(void **state)
{
    struct fixture *f = *state;
    struct cache_row *rows;
    struct host_row h;
    char digest[65];
    size_t n;

    host_there(f);
    sample_host(&h, "other");
    SET(h.host_key_fpr, SAMPLE_FPR_B);
    assert_ok(store_host_put(f->s, &h, &err));
    assert_ok(store_cache_get(f->s, "box", "npm", digest, &err));
    assert_string_equal(digest, "");
    assert_ok(store_cache_keep(f->s, "box", "npm", DIGEST_A, SAMPLE_ID, &err));
    assert_ok(store_cache_keep(f->s, "box", "npm", DIGEST_B, SAMPLE_ID, &err));
    assert_ok(store_cache_keep(f->s, "other", "npm", DIGEST_A, SAMPLE_ID, &err));
    assert_ok(store_cache_keep(f->s, "gone", "npm", DIGEST_A, SAMPLE_ID, &err));
    assert_ok(store_cache_get(f->s, "box", "npm", digest, &err));
    assert_string_equal(digest, DIGEST_B);
    assert_ok(store_cache_get(f->s, "other", "npm", digest, &err));
    assert_string_equal(digest, DIGEST_A);
    assert_ok(store_cache_list(f->s, &rows, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(rows[0].host, "box");
    assert_string_equal(rows[0].task, SAMPLE_ID);
    assert_true(rows[0].kept > 1700000000);
    free(rows);
    /* the machine, not its name, has the cache */
    assert_ok(store_host_remove(f->s, "box", &err));
    assert_ok(store_cache_list(f->s, &rows, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(rows[0].host, "");
    free(rows);
    host_there(f);
    assert_ok(store_cache_get(f->s, "box", "npm", digest, &err));
    assert_string_equal(digest, DIGEST_B);
    assert_ok(store_cache_remove(f->s, "box", "npm", &err));
    assert_says(store_cache_remove(f->s, "box", "npm", &err), "no cache 'npm' on host box");
    assert_ok(store_cache_get(f->s, "box", "npm", digest, &err));
    assert_string_equal(digest, "");
    assert_ok(store_cache_remove(f->s, NULL, "npm", &err));
    assert_says(store_cache_remove(f->s, NULL, "npm", &err), "no cache 'npm'");
}

static void cache_names_are_checked(void **state)
{
    static const char *const bad[] = {"", "A", "a b", "-a", ".", "../x", "a/b", "a\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(store_cache_name_valid(bad[i]));
    assert_true(store_cache_name_valid("npm") && store_cache_name_valid("pip_3.11"));
}

#define ID_A "01jdq7z4m2r8k5t3w9x1y6b0ca"
#define ID_B "01jdq7z4m2r8k5t3w9x1y6b0cb"
#define ID_C "01jdq7z4m3r8k5t3w9x1y6b0wb"

static void same_list(const struct strv *a, const struct strv *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        assert_string_equal(a->v[i], b->v[i]);
}

static void tasks_come_back(void **state)
{
    struct fixture *f = *state;
    struct task_row in, out;

    row_make(&in, ID_A);
    assert_ok(store_task_add(f->s, &in, &err));
    assert_ok(store_task_get(f->s, ID_A, &out, &err));
    assert_string_equal(out.title, in.title);
    assert_string_equal(out.repo, in.repo);
    assert_string_equal(out.pack, in.pack);
    assert_true(out.pack_bytes == in.pack_bytes);
    assert_memory_equal(out.pack_sha256, in.pack_sha256, 32);
    same_list(&out.setup, &in.setup);
    same_list(&out.command, &in.command);
    same_list(&out.tests, &in.tests);
    same_list(&out.env, &in.env);
    assert_string_equal(out.agent, "codex");
    assert_int_equal(out.events, AGENT_CODEX_JSON);
    const struct task_file *fa = out.files.items, *fb = in.files.items;
    assert_int_equal(out.files.n, 1);
    assert_string_equal(fa->path, fb->path);
    same_list(&fa->lines, &fb->lines);
    assert_true(policy_same(&out.policy, &in.policy));
    assert_string_equal(out.cache, "npm");
    assert_int_equal(out.state, TASK_QUEUED);
    assert_int_equal(out.outcome, -1);
    assert_int_equal(out.attempt_n, 0);
    assert_true(out.created_ms == in.created_ms);
    assert_int_equal(store_task_add(f->s, &in, &err), -ERR_FAIL); /* once */
    SET(in.id, "../../../../etc/passwd");
    assert_int_equal(store_task_add(f->s, &in, &err), -ERR_USAGE);
    task_row_done(&in);
    task_row_done(&out);
}

static void found_by_part(void **state)
{
    static const struct {
        const char *given, *id, *says;
    } cases[] = {
        {ID_B, ID_B, NULL},           {"last", ID_C, NULL},       {"b0ca", ID_A, NULL},
        {"B0CA", ID_A, NULL},         {"01jdq7z4m3", ID_C, NULL}, {"01jd", NULL, "several"},
        {"0wb", NULL, "4 or more"},   {"b0cx", NULL, "no task"},  {"%%%%", NULL, "not a task id"},
        {"____", NULL, "not a task"}, {"' OR 1", NULL, "not a"},  {"", NULL, "4 or more"},
    };
    struct fixture *f = *state;
    struct task_row t;

    assert_says(store_task_get(f->s, "last", &t, &err), "no task");
    add(f, ID_A);
    add(f, ID_B);
    add(f, ID_C);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!cases[i].id) {
            assert_says(store_task_get(f->s, cases[i].given, &t, &err), cases[i].says);
            assert_int_equal(err.code, ERR_USAGE);
            continue;
        }
        assert_ok(store_task_get(f->s, cases[i].given, &t, &err));
        assert_string_equal(t.id, cases[i].id);
        task_row_done(&t);
    }
}

static void states_follow_their_table(void **state)
{
    struct fixture *f = *state;
    struct task_row t;

    add(f, ID_A);
    assert_int_equal(store_task_state(f->s, ID_A, TASK_SUCCEEDED, "", &err), -ERR_FAIL);
    assert_int_equal(store_task_state(f->s, ID_B, TASK_QUEUED, "", &err), -ERR_USAGE);
    assert_ok(store_task_reason(f->s, ID_A, "waits for box", &err));
    assert_ok(store_task_state(f->s, ID_A, TASK_QUEUED, NULL, &err));
    assert_ok(store_task_get(f->s, ID_A, &t, &err));
    assert_string_equal(t.reason, "waits for box");
    task_row_done(&t);
    assert_int_equal(store_task_end(f->s, ID_A, TASK_RUNNING, 0, "", &err), -ERR_FAIL);
    assert_ok(store_task_end(f->s, ID_A, TASK_REFUSED, ERR_TRUST, "wrong key", &err));
    assert_ok(store_task_get(f->s, ID_A, &t, &err));
    assert_int_equal(t.state, TASK_REFUSED);
    assert_int_equal(t.code, ERR_TRUST);
    assert_string_equal(t.reason, "wrong key");
    task_row_done(&t);
    assert_int_equal(store_task_state(f->s, ID_A, TASK_QUEUED, "", &err), -ERR_FAIL);
    assert_int_equal(store_task_lease(f->s, ID_A, "box", &(unsigned){0}, &(uint64_t){0}, &err),
                     -ERR_USAGE); /* no such host */
}

static void long_reasons_are_cut_between_characters(void **state)
{
    struct fixture *f = *state;
    char reason[400] = "x";
    struct task_row t;

    for (int i = 0; i < 190; i++)
        memcpy(reason + 1 + 2 * i, "\xc3\xa9", 3);
    add(f, ID_A);
    assert_ok(store_task_reason(f->s, ID_A, reason, &err));
    assert_ok(store_task_get(f->s, ID_A, &t, &err));
    assert_int_equal(strlen(t.reason), 299);
    task_row_done(&t);
}

static void over_is(struct fixture *f, uint64_t since, const char *want)
{
    struct strv over = {0};
    struct buf got;

    buf_init(&got, 4096);
    assert_ok(store_attempts_over(f->s, since, &over, &err));
    for (size_t i = 0; i < over.n; i++)
        buf_addf(&got, "%s%s", i ? " " : "", over.v[i]);
    assert_string_equal(buf_str(&got), want);
    buf_done(&got);
    strv_done(&over);
}

static void which_attempts_are_over(void **state)
{
    struct fixture *f = *state;
    uint64_t fence;
    unsigned n = 0;

    host_there(f);
    add(f, ID_A);
    lease(f, ID_A, &n, &fence);
    over_is(f, 0, ""); /* its envelope may be on its way from the broker */
    assert_ok(store_task_state(f->s, ID_A, TASK_QUEUED, "given back", &err));
    over_is(f, 0, ID_A ".1");
    lease(f, ID_A, &n, &fence);
    over_is(f, 0, ID_A ".1");
    assert_ok(store_task_state(f->s, ID_A, TASK_SENDING, "", &err));
    assert_ok(store_task_state(f->s, ID_A, TASK_RUNNING, "", &err));
    over_is(f, 0, ID_A ".1");
    assert_ok(store_task_end(f->s, ID_A, TASK_LOST, ERR_HOST, "gone", &err));
    over_is(f, 0, ID_A ".1 " ID_A ".2");
    over_is(f, clock_wall_ms() + 60000, "");
}

static void fences_only_rise(void **state)
{
    struct fixture *f = *state;
    uint64_t first = 0, second = 0, third = 0;
    struct host_row h;
    struct task_row t;
    unsigned n = 0;

    host_there(f);
    add(f, ID_A);
    add(f, ID_B);
    lease(f, ID_A, &n, &first);
    assert_int_equal(n, 1);
    assert_true(first > 1700000000000ull);
    assert_int_equal(store_task_lease(f->s, ID_A, "box", &n, &second, &err), -ERR_FAIL);
    assert_ok(store_task_state(f->s, ID_A, TASK_QUEUED, "given back", &err));
    lease(f, ID_A, &n, &second);
    assert_int_equal(n, 2);
    assert_true(second > first);
    assert_ok(store_host_remove(f->s, "box", &err));
    sample_host(&h, "renamed");
    assert_ok(store_host_put(f->s, &h, &err));
    assert_ok(store_task_lease(f->s, ID_B, "renamed", &n, &third, &err));
    assert_true(third > second);
    assert_ok(store_host_get(f->s, "renamed", &h, &err));
    assert_true(h.fence == third);
    assert_ok(store_task_get(f->s, ID_A, &t, &err));
    assert_true(t.fence == second);
    assert_string_equal(t.attempt_host, "box");
    task_row_done(&t);
}

/* What a host signed stays verifiable after the host is gone. */
static void keys_of_forgotten_hosts_are_kept(void **state)
{
    struct fixture *f = *state;
    uint8_t want[KEY_PUB_BYTES], got[KEY_PUB_BYTES];
    struct runner_key_row *rows;
    uint64_t fence;
    unsigned n;
    size_t count;

    host_there(f);
    add(f, ID_A);
    assert_int_equal(store_task_runner_key(f->s, ID_A, got, &err), -ERR_USAGE);
    lease(f, ID_A, &n, &fence);
    sample_bytes(want, sizeof(want), 9);
    assert_ok(store_task_runner_key(f->s, ID_A, got, &err));
    assert_memory_equal(got, want, sizeof(want));
    assert_ok(store_runner_keys(f->s, &rows, &count, &err));
    assert_int_equal(count, 1);
    free(rows);
    assert_ok(store_host_remove(f->s, "box", &err));
    assert_ok(store_task_runner_key(f->s, ID_A, got, &err));
    assert_memory_equal(got, want, sizeof(want));
    assert_ok(store_runner_keys(f->s, &rows, &count, &err));
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].host, "box");
    assert_memory_equal(rows[0].key, want, sizeof(want));
    free(rows);
}

/* The clock was far ahead once: fences still rise. */
static void a_clock_set_back_does_not_lower_fences(void **state)
{
    struct fixture *f = *state;
    uint64_t fence = 0;
    sqlite3 *db;
    unsigned n;

    host_there(f);
    add(f, ID_A);
    lease(f, ID_A, &n, &fence);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE fences SET last = 99000000000000", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    assert_ok(store_task_state(f->s, ID_A, TASK_QUEUED, "", &err));
    lease(f, ID_A, &n, &fence);
    assert_true(fence == 99000000000001ull);
}

static size_t live(struct fixture *f)
{
    struct task_row *rows;
    size_t n;

    assert_ok(store_task_list(f->s, true, &rows, &n, &err));
    task_rows_free(rows, n);
    return n;
}

static void life_of_a_task(void **state)
{
    struct fixture *f = *state;
    uint64_t fence;
    struct task_row t;
    unsigned n;

    host_there(f);
    add(f, ID_A);
    assert_int_equal(store_task_log_bytes(f->s, ID_A, 1, &err), -ERR_USAGE); /* no attempt */
    lease(f, ID_A, &n, &fence);
    assert_ok(store_task_state(f->s, ID_A, TASK_SENDING, "", &err));
    assert_ok(store_task_state(f->s, ID_A, TASK_RUNNING, "", &err));
    assert_ok(store_task_log_bytes(f->s, ID_A, 123456789012ull, &err));
    assert_ok(store_task_state(f->s, ID_A, TASK_COLLECTING, "", &err));
    assert_ok(store_task_result(f->s, ID_A, OUTCOME_FAILED, &err));
    assert_ok(store_task_imported(f->s, ID_A, SAMPLE_COMMIT, &err));
    assert_int_equal(store_task_imported(f->s, ID_A, "HEAD", &err), -ERR_FAIL);
    assert_ok(store_task_state(f->s, ID_A, TASK_IMPORTED, "", &err));
    assert_ok(store_task_end(f->s, ID_A, TASK_FAILED, ERR_TASK, "test 1: exit 2", &err));
    assert_int_equal(live(f), 1); /* not wiped yet */
    assert_ok(store_task_wiped(f->s, ID_A, &err));
    assert_int_equal(live(f), 0);
    assert_ok(store_task_get(f->s, ID_A, &t, &err));
    assert_true(t.log_bytes == 123456789012ull);
    assert_true(t.result_stored && t.imported && t.wiped);
    assert_int_equal(t.outcome, OUTCOME_FAILED);
    assert_int_equal(t.code, ERR_TASK);
    assert_int_equal(t.review, REVIEW_PENDING);
    assert_string_equal(t.commit, SAMPLE_COMMIT);
    task_row_done(&t);
}

static void what_is_live(void **state)
{
    struct fixture *f = *state;
    uint64_t fence;
    unsigned n;

    host_there(f);
    add(f, ID_A); /* cancelled after a lease, never sent: nothing to wipe */
    lease(f, ID_A, &n, &fence);
    assert_ok(store_task_end(f->s, ID_A, TASK_CANCELLED, ERR_CANCELLED, "", &err));
    assert_int_equal(live(f), 0);
    add(f, ID_B); /* lost after it was sent: may come back, until the host is forgotten */
    lease(f, ID_B, &n, &fence);
    assert_ok(store_task_state(f->s, ID_B, TASK_SENDING, "", &err));
    assert_ok(store_task_end(f->s, ID_B, TASK_LOST, ERR_HOST, "", &err));
    assert_int_equal(live(f), 1);
    assert_ok(store_host_remove(f->s, "box", &err));
    assert_int_equal(live(f), 0);
    add(f, ID_C);
    assert_int_equal(live(f), 1);
}

static void reviews_are_decided_once(void **state)
{
    struct fixture *f = *state;

    add(f, ID_A);
    assert_says(store_task_review(f->s, ID_A, REVIEW_APPROVED, &err), "nothing to review");
    assert_ok(store_task_imported(f->s, ID_A, SAMPLE_COMMIT, &err));
    assert_int_equal(store_task_review(f->s, ID_A, REVIEW_PENDING, &err), -ERR_FAIL);
    assert_ok(store_task_review(f->s, ID_A, REVIEW_APPROVED, &err));
    assert_ok(store_task_review(f->s, ID_A, REVIEW_APPROVED, &err));
    assert_int_equal(store_task_review(f->s, ID_A, REVIEW_REJECTED, &err), -ERR_USAGE);
    assert_ok(store_task_imported(f->s, ID_A, SAMPLE_COMMIT, &err));
    assert_int_equal(store_task_review(f->s, ID_A, REVIEW_REJECTED, &err), -ERR_USAGE);
}

static void cancel_is_a_wish(void **state)
{
    struct fixture *f = *state;
    struct task_row t;

    add(f, ID_A);
    assert_ok(store_task_cancel(f->s, ID_A, &err));
    assert_ok(store_task_get(f->s, ID_A, &t, &err));
    assert_true(t.cancel);
    assert_int_equal(t.state, TASK_QUEUED);
    task_row_done(&t);
    assert_int_equal(store_task_cancel(f->s, ID_B, &err), -ERR_USAGE);
}

static void settings(void **state)
{
    struct fixture *f = *state;
    struct buf b;

    buf_init(&b, 16);
    assert_ok(store_meta_get(f->s, "none", &b, &err));
    assert_int_equal(b.len, 0);
    assert_ok(store_meta_set(f->s, "heartbeat_ms", "1", &err));
    assert_ok(store_meta_set(f->s, "heartbeat_ms", "22", &err));
    assert_ok(store_meta_get(f->s, "heartbeat_ms", &b, &err));
    assert_string_equal(buf_str(&b), "22");
    assert_ok(store_meta_set(f->s, "long", "0123456789abcdef!", &err));
    buf_clear(&b);
    assert_int_equal(store_meta_get(f->s, "long", &b, &err), -ERR_FAIL);
    buf_done(&b);
}

/* Each child opens the file itself and adds tasks; none is lost, none fails for a lock. */
static void many_writers(void **state)
{
    enum { WRITERS = 4, EACH = 12 };
    struct fixture *f = *state;
    struct task_row *rows;
    size_t n;

    store_close(f->s);
    f->s = NULL;
    for (int w = 0; w < WRITERS; w++) {
        if (fork() == 0) {
            struct store *s;
            int bad = store_open(f->path, false, &s, &err) != 0;

            for (int i = 0; i < EACH && !bad; i++) {
                struct task_row t;
                char id[ID_SIZE] = ID_A;

                id[20] = (char)('0' + w);
                id[21] = (char)('a' + i % 8);
                id[22] = (char)('0' + i / 8);
                row_make(&t, id);
                bad = store_task_add(s, &t, &err) != 0 ||
                      store_task_reason(s, id, "written", &err) != 0;
            }
            _exit(bad);
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        int status = -1;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_ok(store_open(f->path, false, &f->s, &err));
    assert_ok(store_task_list(f->s, false, &rows, &n, &err));
    assert_int_equal(n, WRITERS * EACH);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(rows[i].reason, "written");
    task_rows_free(rows, n);
}

static void other_files_are_refused(void **state)
{
    struct fixture *f = *state;
    struct store *s;
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/none.db", f->dir);
    assert_says(store_open(path, false, &s, &err), "creel init");
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("this is no database, but long enough to be read as one's head: 0123456789 0123456789 "
          "0123456789 0123456789 0123456789",
          file);
    fclose(file);
    assert_int_equal(store_open(path, false, &s, &err), -ERR_FAIL);
    assert_int_equal(store_open(path, true, &s, &err), -ERR_FAIL);
}

static void a_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    unsigned char version[4] = {0, 0, 0, 99};
    struct store *s;
    FILE *file;

    store_close(f->s); /* the last close folds the log into the file */
    f->s = NULL;
    file = fopen(f->path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 60, SEEK_SET), 0); /* user_version, by SQLite's file format */
    assert_int_equal(fwrite(version, 1, 4, file), 4);
    fclose(file);
    assert_says(store_open(f->path, true, &s, &err), "newer creel");
    assert_says(store_open(f->path, false, &s, &err), "newer creel");
}

/* What a state directory of the first release held, host and task in it. */
static void an_older_database_is_brought_up(void **state)
{
    static const char first[] =
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE hosts (name TEXT PRIMARY KEY, user TEXT NOT NULL, addr TEXT NOT NULL,"
        " port INTEGER NOT NULL, host_key TEXT NOT NULL, host_key_fpr TEXT NOT NULL,"
        " runner_key_known INTEGER NOT NULL, runner_key BLOB NOT NULL, program TEXT NOT NULL,"
        " kernel TEXT NOT NULL, unenforceable_why TEXT NOT NULL, slots INTEGER NOT NULL,"
        " unenforceable INTEGER NOT NULL, rooted INTEGER NOT NULL, memory_cleared INTEGER NOT NULL,"
        " added INTEGER NOT NULL, last_seen INTEGER NOT NULL) STRICT;"
        "CREATE TABLE fences (host_key_fpr TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT,"
        " WITHOUT ROWID;"
        "CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT NOT NULL, repo TEXT NOT NULL,"
        " base TEXT NOT NULL, root TEXT NOT NULL, branch TEXT NOT NULL, pack TEXT NOT NULL,"
        " pack_bytes INTEGER NOT NULL, pack_sha256 BLOB NOT NULL, host TEXT NOT NULL,"
        " state INTEGER NOT NULL, reason TEXT NOT NULL, code INTEGER NOT NULL,"
        " cancel INTEGER NOT NULL, review INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
        " updated_ms INTEGER NOT NULL, attempt_n INTEGER NOT NULL, imported INTEGER NOT NULL,"
        " commit_oid TEXT NOT NULL, work TEXT NOT NULL, policy TEXT NOT NULL) STRICT;"
        "CREATE TABLE attempts (task TEXT NOT NULL REFERENCES tasks (id), n INTEGER NOT NULL,"
        " attempt_host TEXT NOT NULL, fence INTEGER NOT NULL, runner_key BLOB NOT NULL,"
        " leased_ms INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0,"
        " log_bytes INTEGER NOT NULL DEFAULT 0, result_stored INTEGER NOT NULL DEFAULT 0,"
        " outcome INTEGER NOT NULL DEFAULT -1, wiped INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (task, n)) STRICT, WITHOUT ROWID;"
        "INSERT INTO hosts VALUES ('box', 'u', 'a', 22, '', 'SHA256:x', 1, zeroblob(32), 'p', 'k',"
        " '', 1, 0, 1, 0, 1700000000, 1700000000);"
        "INSERT INTO tasks VALUES ('" ID_A "', 't', '/r', '" SAMPLE_BASE "', '" SAMPLE_ROOT "',"
        " 'creel/" ID_A "', 'p', 1, zeroblob(32), 'box', 0, '', 0, 0, 0, 1, 1, 0, 0, '',"
        " '{\"setup\":[],\"command\":[\"true\"],\"tests\":[]}',"
        " '{\"limits\":{\"mem_bytes\":\"2147483648\",\"pids\":\"512\",\"cpu_milli\":\"1500\","
        "\"wall_ms\":\"1800000\",\"disk_bytes\":\"4294967296\",\"log_bytes\":\"67108864\"},"
        "\"egress\":[],\"allow_unenforced\":[\"pids\"]}');"
        "PRAGMA user_version = 1;";
    struct fixture *f = *state;
    struct policy defaults;
    struct task_row t;
    struct host_row h;
    char path[128];
    sqlite3 *db;
    struct store *s;

    snprintf(path, sizeof(path), "%s/old.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, first, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int i = 0; i < 2; i++) { /* the second time there is nothing left to do */
        assert_ok(store_open(path, false, &s, &err));
        assert_ok(store_host_get(s, "box", &h, &err));
        assert_string_equal(h.images, "");
        assert_string_equal(h.tools, "");
        assert_ok(store_task_get(s, ID_A, &t, &err));
        policy_init(&defaults);
        defaults.limits[LIMIT_CPU] = 1500;
        defaults.allow_unenforced = LIMIT_BIT(LIMIT_PIDS);
        assert_true(policy_same(&t.policy, &defaults));
        assert_string_equal(t.cache, "");
        task_row_done(&t);
        store_close(s);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(hosts_come_back),
        CASE(host_names_are_checked),
        CASE(another_runner_key_is_not_believed),
        CASE(tasks_come_back),
        CASE(found_by_part),
        CASE(states_follow_their_table),
        CASE(long_reasons_are_cut_between_characters),
        CASE(which_attempts_are_over),
        CASE(fences_only_rise),
        CASE(keys_of_forgotten_hosts_are_kept),
        CASE(a_clock_set_back_does_not_lower_fences),
        CASE(life_of_a_task),
        CASE(what_is_live),
        CASE(reviews_are_decided_once),
        CASE(cancel_is_a_wish),
        CASE(settings),
        CASE(many_writers),
        CASE(other_files_are_refused),
        CASE(a_newer_schema_is_refused),
        CASE(an_older_database_is_brought_up),
        CASE(what_hosts_tell_is_kept),
        CASE(caches_belong_to_a_host),
        cmocka_unit_test(cache_names_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
