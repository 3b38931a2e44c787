/* Presets against tools that answer as npm, apt-get and pip do, badly, too much, late, or not at all. */
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/presets.h"

static struct err err;

struct bed {
    char dir[64], path[128];
    struct presets p;
    struct egress_rule out[EGRESS_RULES_MAX];
    size_t n;
};

static int setup(void **state)
{
    struct bed *b = calloc(1, sizeof *b);
    assert_non_null(b);
    snprintf(b->dir, sizeof b->dir, "/tmp/creel-presets.XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->path, sizeof b->path, "/nonexistent:%s:/usr/bin:/bin", b->dir);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bed *b = *state;
    char cmd[128];
    presets_done(&b->p);
    snprintf(cmd, sizeof cmd, "rm -r %s", b->dir);
    assert_int_equal(system(cmd), 0);
    free(b);
    return 0;
}

/* A program that runs `script`. */
static void tool(struct bed *b, const char *name, const char *script)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
}

static int resolve(struct bed *b, const char *const *texts, size_t n)
{
    static struct egress_rule in[EGRESS_RULES_MAX];
    for (size_t i = 0; i < n; i++)
        assert_ok(egress_parse(texts[i], &in[i], &err));
    b->n = 0;
    err = ERR_INIT;
    return presets_resolve(&b->p, in, n, b->out, &b->n, &err);
}

static int resolve1(struct bed *b, const char *text)
{
    return resolve(b, &text, 1);
}

static void has(const struct bed *b, size_t at, const char *name, unsigned port)
{
    assert_true(at < b->n);
    assert_int_equal(b->out[at].kind, EGRESS_EXACT);
    assert_string_equal(b->out[at].name, name);
    assert_int_equal(b->out[at].port, port);
}

static void npm_as_it_is_set_up(void **state)
{
    struct bed *b = *state;
    tool(b, "npm",
         "test \"$*\" = 'config list --json' || exit 1\n"
         "cat <<'END'\n{\n  \"omit-lockfile-registry-resolved\": false,\n"
         "  \"registry\": \"https://Npm.mirror.example/path/\",\n"
         "  \"@corp:registry\": \"http://user:pa@ss@corp.example:4873/x?https://no.example/\",\n"
         "  \"replace-registry-host\": \"npmjs\",\n"
         "  \"proxy\": \"http://proxy.example:8080/\"\n}\nEND");
    presets_load(&b->p, b->path);
    assert_true(presets_known(&b->p) & 1u << PRESET_NPM);
    assert_ok(resolve1(b, "npm"));
    assert_int_equal(b->n, 2);
    has(b, 0, "npm.mirror.example", 443);
    has(b, 1, "corp.example", 4873);
    tool(b, "npm", "exit 1"); /* once learnt, it holds */
    assert_ok(resolve1(b, "npm"));
    assert_int_equal(b->n, 2);
}

static void apt_and_others_together(void **state)
{
    struct bed *b = *state;
    static const char *const texts[] = {"a.example", "apt",    "deb.example:80",  "cargo",
                                        "go",        "github", "*.b.example:8443"};
    tool(b, "apt-get",
         "test \"$2\" = --no-release-info && test \"$4\" = '$(REPO_URI)' || exit 1\n"
         "echo http://deb.example/debian/; echo http://deb.example/debian/\n"
         "echo https://sec.example:8443/; echo cdrom:x; echo file:///srv; echo "
         "mirror+file:/etc/x\n"
         "echo mirror+https://m.example/list; echo http://10.0.0.1/; echo http://[::1]/\n"
         "echo http://localhost/; echo http://; echo ftp://ftp.example/; echo http://bad_.example/"
         "\necho http://p.example:99999/");
    presets_load(&b->p, b->path);
    assert_ok(resolve(b, texts, 7));
    has(b, 0, "a.example", 0);
    has(b, 1, "deb.example", 80); /* named twice, there once */
    has(b, 2, "sec.example", 8443);
    has(b, 3, "m.example", 443);
    assert_int_equal(b->out[b->n - 1].kind, EGRESS_SUFFIX);
    assert_non_null(egress_match(b->out, b->n, "github.com", 443));
    assert_null(egress_match(b->out, b->n, "ftp.example", 80));
    for (size_t i = 0; i < b->n; i++)
        assert_int_not_equal(b->out[i].kind, EGRESS_PRESET);
}

static void pip_with_and_without_its_own_index(void **state)
{
    struct bed *b = *state;
    tool(b, "python3", "echo \"global.cert='/x'\"; echo \"global.proxy='http://p.example:1/'\"");
    presets_load(&b->p, b->path);
    assert_ok(resolve1(b, "pip"));
    assert_int_equal(b->n, 2);
    has(b, 0, "pypi.org", 443);
    tool(b, "python3", "echo \"global.extra-index-url='https://x.example/simple'\"");
    presets_load(&b->p, b->path);
    assert_ok(resolve1(b, "pip"));
    assert_int_equal(b->n, 3);
    has(b, 2, "x.example", 443);
    tool(b, "python3",
         "echo \"global.index-url='http://mirror.example:8000/simple'\"\n"
         "echo \"global.extra-index-url='https://x.example/ https://y.example/'\"");
    presets_load(&b->p, b->path);
    assert_ok(resolve1(b, "pip"));
    assert_int_equal(b->n, 3);
    has(b, 0, "mirror.example", 8000);
    has(b, 2, "y.example", 443);
    tool(b, "python3", "echo No module named pip >&2; exit 1");
    presets_load(&b->p, b->path);
    assert_ok(resolve1(b, "pip"));
    has(b, 0, "pypi.org", 443);
}

/* What lies where serve was started is nobody's answer: an .npmrc, or a program named like pip. */
static void tools_are_asked_in_no_directory(void **state)
{
    struct bed *b = *state;
    char was[4096];
    tool(b, "npm",
         "test \"$PWD$(ls .npmrc 2>/dev/null)\" = / || exit 1\n"
         "echo '\"registry\": \"https://npm.example/\"'");
    tool(b, ".npmrc", "");
    presets_load(&b->p, b->path);
    assert_non_null(getcwd(was, sizeof was));
    assert_int_equal(chdir(b->dir), 0);
    int rc = resolve1(b, "npm");
    assert_int_equal(chdir(was), 0);
    assert_ok(rc);
    has(b, 0, "npm.example", 443);
}

static void what_is_missing_is_said(void **state)
{
    struct bed *b = *state;
    presets_load(&b->p, b->dir);
    assert_int_equal(presets_known(&b->p),
                     1u << PRESET_PIP | 1u << PRESET_CARGO | 1u << PRESET_GO | 1u << PRESET_GITHUB);
    assert_says(resolve1(b, "npm"), "the preset npm is not known on this host: npm is not "
                                    "installed");
    assert_int_equal(err.code, ERR_REFUSED);
    assert_says(resolve1(b, "apt"), "apt-get is not installed");
    snprintf(b->path, sizeof b->path, "%s:/usr/bin:/bin", b->dir);
    static const struct {
        const char *script, *words;
    } rows[] = {
        {"exit 3", "npm ended with an error"},
        {"kill -9 $$", "npm ended with an error"},
        {"exit 0", "npm is set up for no"},
        {"echo '\"registry\": \"http://127.0.0.1:4873/\"'", "npm is set up for no"},
        {"echo '\"registry\": \"https://a.example/\"'; exit 1", "npm ended with an error"},
        {"yes '\"registry\": \"https://a.example/\"'", "npm wrote over 64 KiB"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tool(b, "npm", rows[i].script);
        presets_load(&b->p, b->path);
        assert_says(resolve1(b, "npm"), rows[i].words);
    }
    /* and the next task asks anew */
    tool(b, "npm", "echo '\"registry\": \"https://a.example/\"'");
    assert_ok(resolve1(b, "npm"));
    has(b, 0, "a.example", 443);
}

static void the_child_gets_nothing_of_ours(void **state)
{
    struct bed *b = *state;
    struct egress_rule r;
    int leak = open("/dev/null", O_RDONLY); /* as a library may, without close-on-exec */
    setenv("CREEL_TEST_SECRET", "x", 1);
    signal(SIGTERM, SIG_IGN);
    tool(b, "npm",
         "test -z \"$CREEL_TEST_SECRET\" -a -n \"$HOME\" -a \"$(ls /proc/self/fd | wc -l)\" -le 4 "
         "-a -z \"$(cat)\" || exit 1\n"
         "kill -TERM $$; exit 1"); /* not ignored here */
    presets_load(&b->p, b->path);
    assert_ok(egress_parse("npm", &r, &err));
    presets_ask(&b->p, &r, 1);
    assert_true(b->p.of[PRESET_NPM].ask.pid > 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)b->p.of[PRESET_NPM].ask.pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_code, CLD_KILLED);
    assert_int_equal(info.si_status, SIGTERM);
    signal(SIGTERM, SIG_DFL);
    unsetenv("CREEL_TEST_SECRET");
    close(leak);
}

/* One that does not end is killed with what it started, and whoever ends before does not wait. */
static void nothing_is_left(void **state)
{
    struct bed *b = *state;
    struct egress_rule r;
    tool(b, "npm", "sleep 1000 & echo $$ $! ; sleep 1000");
    presets_load(&b->p, b->path);
    assert_ok(egress_parse("npm", &r, &err));
    presets_ask(&b->p, &r, 1);
    char line[64] = "";
    assert_true(read(b->p.of[PRESET_NPM].ask.fd, line, sizeof line - 1) > 0);
    int shell = atoi(line), sleeper = atoi(strchr(line, ' '));
    presets_done(&b->p);
    assert_int_equal(kill(shell, 0), -1);
    assert_int_equal(errno, ESRCH);
    while (kill(sleeper, 0) == 0) { /* dead, until whoever inherits it has reaped it */
        char stat[64], text[512] = "";
        snprintf(stat, sizeof stat, "/proc/%d/stat", sleeper);
        FILE *f = fopen(stat, "r");
        if (f && fread(text, 1, sizeof text - 1, f) > 0 && strstr(text, ") Z "))
            break;
        if (f)
            fclose(f);
        usleep(1000);
    }
    assert_int_equal(b->p.of[PRESET_NPM].ask.pid, 0);
}

/* What was asked for a task that never came back for it does not stand in the next one's way. */
static void an_old_question_is_asked_anew(void **state)
{
    struct bed *b = *state;
    struct egress_rule r;
    tool(b, "npm", "sleep 1000");
    presets_load(&b->p, b->path);
    assert_ok(egress_parse("npm", &r, &err));
    presets_ask(&b->p, &r, 1);
    struct ask_tool *ask = &b->p.of[PRESET_NPM].ask;
    pid_t old = ask->pid;
    presets_ask(&b->p, &r, 1);
    assert_int_equal(ask->pid, old); /* once is enough */
    ask->started_us -= ASK_TOOL_MS * 1000ull;
    tool(b, "npm", "echo '\"registry\": \"https://a.example/\"'");
    assert_ok(resolve1(b, "npm"));
    has(b, 0, "a.example", 443);
    assert_int_equal(kill(old, 0), -1);
}

static void too_many_rules(void **state)
{
    struct bed *b = *state;
    static char text[EGRESS_RULES_MAX][24];
    const char *many[EGRESS_RULES_MAX];
    for (int i = 0; i < EGRESS_RULES_MAX; i++) {
        snprintf(text[i], sizeof text[i], "h%d.example", i);
        many[i] = text[i];
    }
    presets_load(&b->p, b->dir);
    assert_ok(resolve(b, many, EGRESS_RULES_MAX));
    many[0] = "cargo";
    assert_says(resolve(b, many, EGRESS_RULES_MAX), "over 256 egress rules");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(npm_as_it_is_set_up, setup, teardown),
        cmocka_unit_test_setup_teardown(apt_and_others_together, setup, teardown),
        cmocka_unit_test_setup_teardown(pip_with_and_without_its_own_index, setup, teardown),
        cmocka_unit_test_setup_teardown(tools_are_asked_in_no_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(the_child_gets_nothing_of_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_left, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_question_is_asked_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_rules, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
