/* Secrets: the form of references, where values come from, the helper's process, and the broker's end of
 * it in a loop. */
#include "controller/broker/secrets.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/secret.h"
#include "controller/broker/secrets_internal.h"
#include "tests/unit/cm.h"

struct fixture {
    char dir[64];
    int dirfd;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/test_secrets.XXXXXX");
    if (!mkdtemp(f->dir) || (f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    tree_remove(AT_FDCWD, f->dir, &err);
    close(f->dirfd);
    free(f);
    return 0;
}

static const char *put(struct fixture *f, const char *name, const char *text, mode_t mode)
{
    static char ref[256];
    int fd = openat(f->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    snprintf(ref, sizeof ref, "file:%s/%s", f->dir, name);
    return ref;
}

static void the_form_of_references(void **state)
{
    struct err err = ERR_INIT;
    static const char *const good[] = {"cmd:pass show openai/key", "file:/k", "env:OPENAI_API_KEY",
                                       "git-credential:https://github.com/o/r", "env:_x9"};
    static const char *const bad[] = {"",
                                      "sk-proj-abc",
                                      "cmd:",
                                      "cmd:  ",
                                      "file:",
                                      "file:key",
                                      "file:~/k",
                                      "env:",
                                      "env:9A",
                                      "env:A-B",
                                      "env:A=B",
                                      "git-credential:",
                                      "cmd:a\nb",
                                      "CMD:a",
                                      "cmd:\x1b[31m",
                                      "http:x",
                                      "file:/a\tb",
                                      "git-credential:ssh://h/x",
                                      "git-credential:https://user:pw@h/x",
                                      "git-credential:https://"};
    char longest[SECRET_REF_SIZE + 1];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_ok(secret_ref_check(good[i], &err));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (secret_ref_check(bad[i], &err) != -ERR_USAGE)
            fail_msg("passed: %s", bad[i]);
    }
    secret_ref_check("sk-proj-abc", &err); /* a value given by mistake is not said again */
    assert_null(strstr(err.msg, "sk-proj"));
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "cmd:", 4);
    longest[SECRET_REF_SIZE] = 0;
    assert_says(secret_ref_check(longest, &err), "at most");
    longest[SECRET_REF_SIZE - 1] = 0;
    assert_ok(secret_ref_check(longest, &err));
    assert_true(secret_name_valid("openai") && secret_name_valid("0.a-b_c"));
    assert_false(secret_name_valid("") || secret_name_valid(".a") || secret_name_valid("A") ||
                 secret_name_valid("a/b") || secret_name_valid("a b"));
}

static void the_file_of_references(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct secret_refs r;
    struct stat st;
    assert_ok(secret_refs_load(f->dirfd, &r, &err));
    assert_int_equal(r.list.n, 0);
    static const char two[] = "{\"secrets\":[{\"name\":\"a\",\"ref\":\"env:A\"},"
                              "{\"name\":\"b\",\"ref\":\"cmd:true\"}]}";
    assert_ok(secret_refs_parse(two, strlen(two), &r, &err));
    assert_ok(secret_refs_save(f->dirfd, &r, &err));
    secret_refs_done(&r);
    assert_int_equal(fstatat(f->dirfd, "secrets.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_ok(secret_refs_load(f->dirfd, &r, &err));
    assert_string_equal(secret_refs_find(&r, "b")->ref, "cmd:true");
    assert_null(secret_refs_find(&r, "c"));
    secret_refs_done(&r);
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"{\"secrets\":[{\"name\":\"a\",\"ref\":\"env:A\"},{\"name\":\"a\",\"ref\":\"env:B\"}]}",
         "twice"},
        {"{\"secrets\":[{\"name\":\"A\",\"ref\":\"env:A\"}]}", "not a name"},
        {"{\"secrets\":[{\"name\":\"a\",\"ref\":\"sk-123\"}]}", "not a reference"},
        {"{\"secrets\":[{\"name\":\"a\",\"ref\":\"env:A\",\"value\":\"x\"}]}", "value"},
        {"{}", "secrets"},
        {"", "secrets.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put(f, "secrets.json", bad[i].text, 0600);
        assert_says(secret_refs_load(f->dirfd, &r, &err), bad[i].says);
        assert_int_equal(err.code, ERR_USAGE);
    }
}

static void gives(const char *ref, const char *want)
{
    struct err err = ERR_INIT;
    struct buf b;
    buf_init(&b, SECRET_VALUE_MAX);
    assert_ok(secret_resolve(ref, &b, &err));
    assert_string_equal(buf_str(&b), want);
    buf_wipe(&b);
}

static void fails(const char *ref, const char *says)
{
    struct err err = ERR_INIT;
    struct buf b;
    buf_init(&b, SECRET_VALUE_MAX);
    assert_says(secret_resolve(ref, &b, &err), says);
    assert_int_equal(b.len, 0);
    assert_null(strstr(err.msg, "canary"));
    buf_wipe(&b);
}

static void values(void **state)
{
    struct fixture *f = *state;
    char link[128];
    (void)state;
    gives("cmd:printf 'a value\\n'", "a value");
    gives("cmd:printf 'one\\n\\n'", "one\n"); /* the last newline only */
    gives("cmd:printf 'a\\r\\n'", "a");
    gives("cmd:pwd", "/"); /* not where creel happens to stand */
    gives("cmd:echo here; sleep 5 2>/dev/null &",
          "here"); /* what it leaves running is not waited for */
    fails("cmd:echo canary; exit 3", "status 3");
    fails("cmd:echo canary; kill -9 $$", "signal 9");
    fails("cmd:true", "empty");
    fails("cmd:printf 'canary\\0'", "NUL");
    fails("cmd:head -c 20000 /dev/zero | tr '\\0' x", "longer");
    fails("cmd:yes canary", "longer");
    fails("cmd:test -t 0 || exit 4; echo x", "status 4");
    fails("cmd:echo x > /dev/tty && echo x", "status"); /* no terminal */
    gives("cmd:head -c 16384 /dev/zero | tr '\\0' x | tail -c 3", "xxx");

    gives(put(f, "key", "from a file\n", 0600), "from a file");
    gives(put(f, "key", "from a file", 0400), "from a file");
    fails(put(f, "key", "canary", 0640), "open to others");
    fails(put(f, "key", "canary", 0604), "open to others");
    fails(put(f, "empty", "", 0600), "empty");
    fails("file:/nonexistent/key", "No such file");
    fails("file:/tmp", "not a regular file");
    snprintf(link, sizeof link, "%s/pipe", f->dir);
    assert_int_equal(mkfifo(link, 0600), 0);
    snprintf(link, sizeof link, "file:%s/pipe", f->dir);
    fails(link, "not a regular file"); /* and does not wait for a writer */
    if (geteuid() == 0) {
        put(f, "others", "canary", 0600);
        assert_int_equal(fchownat(f->dirfd, "others", 12345, 0, 0), 0);
        snprintf(link, sizeof link, "file:%s/others", f->dir);
        fails(link, "another user");
    }

    setenv("CREEL_TEST_SECRET", "from the environment", 1);
    gives("env:CREEL_TEST_SECRET", "from the environment");
    unsetenv("CREEL_TEST_SECRET");
    fails("env:CREEL_TEST_SECRET", "not in the environment");
    fails("nonsense", "not a reference");
}

static void git_credentials(void **state)
{
    struct fixture *f = *state;
    char store[128];
    put(f, "store", "https://someone:a-git-password@forge.example\n", 0600);
    put(f, "gitconfig", "", 0600);
    snprintf(store, sizeof store, "%s/gitconfig", f->dir);
    setenv("GIT_CONFIG_GLOBAL", store, 1);
    setenv("GIT_CONFIG_COUNT", "1", 1);
    setenv("GIT_CONFIG_KEY_0", "credential.helper", 1);
    snprintf(store, sizeof store, "store --file=%s/store", f->dir);
    setenv("GIT_CONFIG_VALUE_0", store, 1);
    gives("git-credential:https://forge.example/o/r", "a-git-password");
    fails("git-credential:https://other.example/o/r", "status");
    unsetenv("GIT_CONFIG_COUNT");
    unsetenv("GIT_CONFIG_GLOBAL");
}

static void a_command_that_does_not_end(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct secret_mem m = {.cap = SECRET_VALUE_MAX + 2};
    char line[256];
    char pid[32] = "";
    int pair[2];
    assert_non_null(m.bytes = secret_new(m.cap, &err));
    snprintf(line, sizeof line, "cmd:printf canary; sleep 1000 & echo $! > %s/pid; wait", f->dir);
    assert_says(secret_resolve_into(line, 1, -1, &m, &err), "too long");
    assert_true(sodium_is_zero(m.bytes, m.cap)); /* what it had printed by then */
    int fd = openat(f->dirfd, "pid", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, pid, sizeof pid - 1) > 0);
    close(fd);
    /* The whole group went; the orphan may still wait to be reaped. */
    snprintf(line, sizeof line,
             "cmd:grep -q 'State:.[ZX]' /proc/%d/status || ! test -e /proc/%d; echo $?", atoi(pid),
             atoi(pid));
    gives(line, "0");

    /* Nobody waits any more. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    close(pair[1]);
    assert_says(secret_resolve_into("cmd:sleep 1000", 60, pair[0], &m, &err), "nobody waits");
    close(pair[0]);
    secret_free(m.bytes);
}

/* ---- in a loop, with a helper ---- */

struct heard {
    struct secrets *s;
    unsigned calls, seen;
    char value[256], said[ERR_MSG_MAX], seen_name[64], seen_value[256];
    bool again, close, drop, unhidden;
};

static void on_value(void *arg, const char *value, size_t len, const struct err *err)
{
    struct heard *h = arg;
    h->calls++;
    h->value[0] = h->said[0] = 0;
    if (err) {
        assert_null(value);
        snprintf(h->said, sizeof h->said, "%s", err->msg);
    } else {
        assert_int_equal(strlen(value), len);
        snprintf(h->value, sizeof h->value, "%s", value);
    }
    if (h->drop)
        secrets_drop(h->s, "a");
    if (h->again) {
        h->again = false;
        secrets_get(h->s, "a", on_value, h);
    }
    if (h->close)
        secrets_close(h->s);
}

static int on_seen(void *arg, const char *name, const char *value, size_t len, struct err *err)
{
    struct heard *h = arg;
    if (h->unhidden)
        return err_set(err, ERR_FAIL, "no room");
    h->seen++;
    snprintf(h->seen_name, sizeof h->seen_name, "%s", name);
    snprintf(h->seen_value, sizeof h->seen_value, "%.*s", (int)len, value);
    return 0;
}

struct rig {
    uv_loop_t loop;
    struct secrets *s;
};

static void rig_start(struct rig *r, struct fixture *f)
{
    struct err err = ERR_INIT;
    int fd;
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_ok(secret_helper_start(f->dir, &fd, &err));
    assert_ok(secrets_new(&r->loop, fd, &r->s, &err));
}

static void rig_end(struct rig *r)
{
    secrets_close(r->s);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
}

static void run_until(struct rig *r, const unsigned *calls, unsigned n)
{
    uint64_t end = clock_mono_us() + 20000000;
    while (*calls < n && clock_mono_us() < end)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(*calls, n);
}

static void set_refs(struct fixture *f, const char *a)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"secrets\":[{\"name\":\"a\",\"ref\":\"cmd:%s\"},"
             "{\"name\":\"b\",\"ref\":\"cmd:echo the other\"}]}",
             a);
    struct err err = ERR_INIT;
    assert_ok(file_replace(f->dirfd, "secrets.json", text, strlen(text), 0600, &err));
}

static void the_broker_gets_values(void **state)
{
    struct fixture *f = *state;
    struct rig r;
    char line[256];
    /* Each resolution leaves a mark. */
    snprintf(line, sizeof line, "echo x >> %s/count; echo the value", f->dir);
    set_refs(f, line);
    rig_start(&r, f);
    struct heard one = {.s = r.s}, two = {.s = r.s}, three = {.s = r.s}, gone = {.s = r.s};
    secrets_on_new(r.s, on_seen, &one);
    secrets_get(r.s, "a", on_value, &one);
    secrets_get(r.s, "a", on_value, &gone);
    secrets_get(r.s, "a", on_value, &two);
    secrets_get(r.s, "b", on_value, &three);
    secrets_forget(r.s, &gone);
    run_until(&r, &three.calls, 1);
    assert_int_equal(one.calls, 1);
    assert_int_equal(two.calls, 1);
    assert_int_equal(gone.calls, 0);
    assert_string_equal(one.value, "the value");
    assert_string_equal(two.value, "the value");
    assert_string_equal(three.value, "the other");
    assert_int_equal(one.seen, 2);
    /* It is there now: at once, without the helper. */
    secrets_get(r.s, "a", on_value, &one);
    assert_int_equal(one.calls, 2);
    snprintf(line, sizeof line, "cmd:wc -l < %s/count", f->dir);
    gives(line, "1");
    /* Dropped: anew. */
    secrets_drop(r.s, "a");
    secrets_get(r.s, "a", on_value, &one);
    assert_int_equal(one.calls, 2);
    run_until(&r, &one.calls, 3);
    gives(line, "2");
    /* Again at once: what was had a moment ago is as good as it gets. */
    secrets_drop(r.s, "a");
    secrets_get(r.s, "a", on_value, &one);
    assert_int_equal(one.calls, 4);
    gives(line, "2");
    struct err err = ERR_INIT;
    assert_int_equal(secrets_add(r.s, "minted", "ghs_abc", 7, &err), 0);
    assert_string_equal(one.seen_name, "minted");
    assert_string_equal(one.seen_value, "ghs_abc");
    rig_end(&r);
}

/* What logs could not be kept free of is not used. */
static void what_cannot_be_hidden(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct rig r;
    set_refs(f, "echo the value");
    rig_start(&r, f);
    struct heard h = {.s = r.s, .unhidden = true};
    secrets_on_new(r.s, on_seen, &h);
    secrets_get(r.s, "a", on_value, &h);
    run_until(&r, &h.calls, 1);
    assert_string_equal(h.value, "");
    assert_string_equal(h.said, "secret a cannot be hidden in logs: no room");
    assert_int_equal(secrets_add(r.s, "minted", "ghs_abc", 7, &err), -ERR_FAIL);
    rig_end(&r);
}

static void what_cannot_be_had(void **state)
{
    struct fixture *f = *state;
    struct rig r;
    set_refs(f, "echo canary; echo canary >&2; exit 9");
    rig_start(&r, f);
    struct heard h = {.s = r.s};
    secrets_get(r.s, "a", on_value, &h);
    run_until(&r, &h.calls, 1);
    assert_string_equal(h.said, "secret a: its command ended with status 9");
    secrets_get(r.s, "a", on_value, &h); /* not tried again at once */
    assert_int_equal(h.calls, 2);
    secrets_get(r.s, "nothere", on_value, &h);
    run_until(&r, &h.calls, 3);
    assert_non_null(strstr(h.said, "creel secret set nothere"));
    secrets_get(r.s, "../x", on_value, &h);
    assert_int_equal(h.calls, 4);
    assert_int_equal(h.seen, 0);
    rig_end(&r);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void references_that_change(void **state)
{
    struct fixture *f = *state;
    struct rig r;
    set_refs(f, "echo old");
    rig_start(&r, f);
    struct heard h = {.s = r.s};
    secrets_get(r.s, "a", on_value, &h);
    run_until(&r, &h.calls, 1);
    assert_string_equal(h.value, "old");
    set_refs(f, "echo new");
    uint64_t end = clock_mono_us() + 20000000;
    uv_idle_t busy; /* a loop without anything else to do does not look */
    uv_idle_init(&r.loop, &busy);
    uv_idle_start(&busy, on_idle);
    while (strcmp(h.value, "new") != 0 && clock_mono_us() < end) {
        unsigned n = h.calls;
        uv_run(&r.loop, UV_RUN_NOWAIT);
        secrets_get(r.s, "a", on_value, &h);
        run_until(&r, &h.calls, n + 1);
    }
    assert_string_equal(h.value, "new");
    uv_close((uv_handle_t *)&busy, NULL);
    rig_end(&r);
}

static void a_helper_that_dies(void **state)
{
    struct fixture *f = *state;
    struct rig r;
    set_refs(f, "kill -9 $PPID");
    rig_start(&r, f);
    struct heard h = {.s = r.s}, other = {.s = r.s};
    secrets_get(r.s, "a", on_value, &h);
    secrets_get(r.s, "b", on_value, &other);
    run_until(&r, &h.calls, 1);
    assert_non_null(strstr(h.said, "helper process is gone"));
    assert_int_equal(other.calls, 1);
    secrets_get(r.s, "b", on_value, &other);
    assert_int_equal(other.calls, 2);
    assert_non_null(strstr(other.said, "helper process is gone"));
    rig_end(&r);
}

static void from_within_a_callback(void **state)
{
    struct fixture *f = *state;
    struct rig r;
    set_refs(f, "echo the value");
    rig_start(&r, f);
    struct heard h = {.s = r.s, .again = true, .drop = true}, last = {.s = r.s, .close = true},
                 never = {.s = r.s};
    secrets_get(r.s, "a", on_value, &h);
    run_until(&r, &h.calls, 2); /* it was dropped: the second one asked again */
    assert_string_equal(h.value, "the value");
    secrets_get(r.s, "b", on_value, &last);
    secrets_get(r.s, "b", on_value, &never);
    run_until(&r, &last.calls, 1);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(never.calls, 0);
    assert_int_equal(uv_loop_close(&r.loop), 0);
}

/* The helper's own memory and descriptors, from outside. */
static void the_helper_process(void **state)
{
    struct fixture *f = *state;
    struct rig r;
    set_refs(f, "readlink /proc/$PPID/fd/0 /proc/$PPID/fd/2; ls /proc/$PPID/fd | wc -w; "
                "grep -c creel-secrets /proc/$PPID/comm");
    rig_start(&r, f);
    struct heard h = {.s = r.s};
    secrets_get(r.s, "a", on_value, &h);
    run_until(&r, &h.calls, 1);
    /* Three standard streams, socket, directory, watch; the command's pipe, its pidfd. A process that is
     * not dumpable shows these to root alone. */
    if (geteuid() == 0)
        assert_string_equal(h.value, "/dev/null\n/dev/null\n8\n1");
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_form_of_references),
        cmocka_unit_test_setup_teardown(the_file_of_references, setup, teardown),
        cmocka_unit_test_setup_teardown(values, setup, teardown),
        cmocka_unit_test_setup_teardown(git_credentials, setup, teardown),
        cmocka_unit_test_setup_teardown(a_command_that_does_not_end, setup, teardown),
        cmocka_unit_test_setup_teardown(the_broker_gets_values, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_had, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_hidden, setup, teardown),
        cmocka_unit_test_setup_teardown(references_that_change, setup, teardown),
        cmocka_unit_test_setup_teardown(a_helper_that_dies, setup, teardown),
        cmocka_unit_test_setup_teardown(from_within_a_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(the_helper_process, setup, teardown),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
