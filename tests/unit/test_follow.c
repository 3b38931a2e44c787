/* Following a task whose engine does not stay: this program is its own `creel serve`, one that dies as
 * soon as it was asked something, so many times as the test wants. */
#include "tests/unit/tool.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "controller/cli/follow.h"
#include "controller/engine.h"
#include "tests/unit/cm.h"
#include "tests/unit/doc_samples.h"

#define DEATHS "TEST_ENGINE_DEATHS" /* the engine after that many ends the task */

static struct err err;

struct fixture {
    struct tool t;
    struct paths p;
    struct store *s;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct task_row row = {.pack_bytes = 5, .created_ms = 1700000000123ull};

    tool_init(&f->t);
    assert_ok(paths_open(tool_path(&f->t, "s"), true, &f->p, &err));
    assert_ok(store_open(tool_path(&f->t, "s/creel.db"), true, &f->s, &err));
    SET(row.id, SAMPLE_ID);
    SET(row.repo, "/repo");
    SET(row.base, SAMPLE_BASE);
    SET(row.root, SAMPLE_ROOT);
    SET(row.branch, "creel/" SAMPLE_ID);
    SET(row.pack, "pack-0123.pack");
    strv_add(&row.command, "true");
    sample_policy(&row.policy);
    assert_ok(store_task_add(f->s, &row, &err));
    task_row_done(&row);
    close(paths_task_dir(&f->p, SAMPLE_ID, true, &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->s);
    paths_close(&f->p);
    tool_done(&f->t);
    free(f);
    return 0;
}

static int on_frame(void *arg, const struct log_frame *f, struct err *e)
{
    return 0;
}

static int on_flush(void *arg, struct err *e)
{
    return 0;
}

static int on_state(void *arg, const struct task_row *row, struct err *e)
{
    return 0;
}

static int follow(struct fixture *f, const char *deaths, struct task_row *last)
{
    struct follow fo = {.paths = &f->p,
                        .store = f->s,
                        .id = SAMPLE_ID,
                        .engine = -1,
                        .frame = on_frame,
                        .flush = on_flush,
                        .state = on_state};
    int rc;

    setenv(DEATHS, deaths, 1);
    alarm(40); /* who follows for ever fails */
    err = ERR_INIT;
    rc = follow_task(&fo, last, &err);
    alarm(0);
    fd_close(&fo.engine);
    return rc;
}

static size_t engines(const struct fixture *f)
{
    char text[65536];
    int fd = openat(f->p.rootfd, "engine.log", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text));
    size_t lines = 0;

    close(fd);
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

static void gives_up_on_an_engine_that_dies(void **state)
{
    struct fixture *f = *state;
    struct task_row last;

    assert_int_equal(follow(f, "1000", &last), -ERR_FAIL);
    assert_int_equal(err_exit(&err), 1);
    assert_non_null(strstr(err.msg, "3 times"));
    assert_non_null(strstr(err.msg, "stays queued"));
    assert_non_null(strstr(err.msg, "engine 3: no broker\\x1b[31m"));
    assert_null(strstr(err.msg, "engine 2"));
    assert_int_equal(engines(f), 3);
}

static void two_deaths_are_borne(void **state)
{
    struct fixture *f = *state;
    struct task_row last;

    assert_int_equal(follow(f, "2", &last), 0);
    assert_int_equal(last.state, TASK_CANCELLED);
    task_row_done(&last);
}

/* `creel --state ROOT serve ...` */
static int engine_main(const char *root)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "engine.sock"};
    struct fixture f = {.p = {.rootfd = open(root, O_DIRECTORY | O_CLOEXEC)}};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
    char bytes[16];

    alarm(30);
    if (chdir(root) < 0 ||
        (unlink(at.sun_path), bind(fd, (struct sockaddr *)&at, sizeof(at))) < 0 ||
        listen(fd, 4) < 0 || write(3, "r", 1) != 1)
        return 1;
    close(3);
    c = accept(fd, NULL, NULL);
    (void)!read(c, bytes, sizeof(bytes));
    if ((long)engines(&f) >= strtol(getenv(DEATHS), NULL, 10)) {
        if (store_open("creel.db", false, &f.s, &err) < 0 ||
            store_task_end(f.s, SAMPLE_ID, TASK_CANCELLED, ERR_CANCELLED, "", &err) < 0)
            return 1;
        store_close(f.s);
        (void)!write(c, "!", 1);
        (void)!read(c, bytes, sizeof(bytes));
        return 0;
    }
    dprintf(2, "engine %zu: no broker\x1b[31m\n", engines(&f) + 1);
    return 1;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "--state") == 0)
        return engine_main(argv[2]);
    const struct CMUnitTest tests[] = {
        T(gives_up_on_an_engine_that_dies),
        T(two_deaths_are_borne),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
