/* The ledger on a disk that fails: what it lost is never taken for durable, by whichever sync it was told. */
#include "tests/unit/cm.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#include <sqlite3.h>

#include "tests/unit/ledger_fixture.h"

#define FILES_MAX 1024
#define PAGE      4096u
#define BYTES_MAX (8u << 20)

static struct err err;

/* As the kernel does it: a write that was lost is told once for each open file. */
static struct {
    bool lost; /* since then, */
    bool told[FILES_MAX];
} disk;

int fdatasync(int fd)
{
    if (disk.lost && fd >= 0 && fd < FILES_MAX && !disk.told[fd]) {
        disk.told[fd] = true;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* SQLite's database file fails to be synced once. */
static struct {
    sqlite3_vfs vfs, *real;
    sqlite3_io_methods methods;
    const sqlite3_io_methods *real_methods;
    bool fails;
} shim;

static int shim_sync(sqlite3_file *file, int flags)
{
    if (!shim.fails)
        return shim.real_methods->xSync(file, flags);
    shim.fails = false;
    return SQLITE_IOERR_FSYNC;
}

static int shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags,
                     int *out)
{
    int rc = shim.real->xOpen(shim.real, name, file, flags, out);
    if (rc != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB))
        return rc;
    shim.real_methods = file->pMethods;
    shim.methods = *file->pMethods;
    shim.methods.xSync = shim_sync;
    file->pMethods = &shim.methods;
    return rc;
}

static void shim_register(void)
{
    shim.real = sqlite3_vfs_find(NULL);
    shim.vfs = *shim.real;
    shim.vfs.zName = "shim";
    shim.vfs.xOpen = shim_open;
    assert_int_equal(sqlite3_vfs_register(&shim.vfs, 1), SQLITE_OK);
}

static int setup(void **state)
{
    struct money *m = malloc(sizeof *m);
    memset(&disk, 0, sizeof disk);
    money_init(m);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    disk.lost = false;
    if (shim.real)
        sqlite3_vfs_unregister(&shim.vfs);
    shim.real = NULL;
    money_done(*state);
    free(*state);
    return 0;
}

static void open_and_begin(struct money *m)
{
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    a.spend.calls = a.spend.calls_per_minute = a.spend.in_flight = 256;
    assert_ok(ledger_open(m->dir, &m->l, &err));
    assert_ok(ledger_begin(m->l, &a, &err));
    spend_done(&a.spend);
}

static void hold(struct money *m)
{
    struct ledger_ask ask = money_ask(m, TASK_A ".1", 1000, AT);
    uint64_t call;
    assert_ok(ledger_hold(m->l, &ask, &call, &err));
}

/* ---- which sync hears of it ---- */

/* Syncs are under way in all threads and the loop has its own: none of them says that all is well. */
static void a_lost_write_is_told_to_every_sync(void **state)
{
    struct money *m = *state;
    int rc[LEDGER_SYNCS];
    open_and_begin(m);
    for (unsigned i = 0; i < LEDGER_SYNCS; i++)
        assert_int_equal(ledger_sync(m->l, i), 0);
    hold(m);
    assert_ok(ledger_commit(m->l, &err));
    disk.lost = true;
    for (unsigned i = 0; i < LEDGER_SYNCS; i++)
        rc[i] = ledger_sync(m->l, i);
    assert_true(ledger_over(m->l, TASK_A ".1", &err) < 0);
    for (unsigned i = 0; i < LEDGER_SYNCS; i++)
        assert_int_equal(rc[i], -EIO);
}

/* What one copy back to the database could not make durable, the next one would not write again. */
static void a_copy_back_that_failed_ends_it(void **state)
{
    struct money *m = *state;
    int rc = 0;
    shim_register();
    open_and_begin(m);
    shim.fails = true;
    for (int i = 0; i < 250 && shim.fails && rc == 0; i++) {
        hold(m);
        rc = ledger_flush(m->l, &err);
    }
    assert_false(shim.fails); /* else nothing was copied back */
    assert_true(rc < 0);
    assert_says(ledger_flush(m->l, &err), "could not be synced");
}

/* ---- after the process that it was told to ---- */

static size_t get_file(const struct money *m, const char *name, uint8_t *to)
{
    char path[PATH_MAX];
    fixture_path(m->dir, name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, to, BYTES_MAX);
    assert_true(n >= 0 && n < BYTES_MAX);
    close(fd);
    return (size_t)n;
}

static void put_file(const struct money *m, const char *name, const uint8_t *bytes, size_t n)
{
    char path[PATH_MAX];
    fixture_path(m->dir, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

/* A process dies with its log in memory only, for the disk lost it. Another one goes on, its holds are synced and
 * its calls made; then the power goes. Pages that nobody wrote again since are not on the disk. */
static void a_dead_process_s_log_is_not_built_upon(void **state)
{
    struct money *m = *state, after;
    uint8_t *old = calloc(1, BYTES_MAX), *now = calloc(1, BYTES_MAX);
    struct ledger_sum sum;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        open_and_begin(m);
        for (int i = 0; i < 20; i++) {
            hold(m);
            assert_ok(ledger_flush(m->l, &err));
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    size_t had = get_file(m, "spend.db-wal", old);
    assert_ok(ledger_open(m->dir, &m->l, &err));
    hold(m);
    assert_ok(ledger_flush(m->l, &err));

    money_init(&after);
    put_file(&after, "spend.db", now, get_file(m, "spend.db", now));
    size_t n = get_file(m, "spend.db-wal", now);
    for (size_t at = 0; at + PAGE <= had && at + PAGE <= n; at += PAGE)
        if (memcmp(old + at, now + at, PAGE) == 0)
            memset(now + at, 0, PAGE);
    put_file(&after, "spend.db-wal", now, n);
    assert_ok(ledger_open(after.dir, &after.l, &err));
    assert_ok(ledger_task_sum(after.l, TASK_A, &sum, &err));
    assert_int_equal(sum.spent_micros, 21 * 1000);
    money_done(&after);
    free(old);
    free(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lost_write_is_told_to_every_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_back_that_failed_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_process_s_log_is_not_built_upon, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
