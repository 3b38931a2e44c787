/* creel doctor: what could keep tasks from running here, found offline, each with what to do about it.
 * Changes nothing and connects to nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "controller/cli/host_facts.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"
#include "controller/keys.h"

#define SPACE_MIN (1ull << 30)

enum level { LEVEL_OK, LEVEL_WARN, LEVEL_FAIL };
static const char *const level_names[] = {"ok", "warn", "fail"};

/* Findings are written as they are made, in the form asked for. */
struct doctor {
    struct cli *cli;
    bool json;
    struct buf out;
    unsigned failed;
};

struct doctor_opts {
    bool json;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct doctor_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

/* `fix` is NULL when there is nothing to do. */
static void __attribute__((format(printf, 5, 6)))
found(struct doctor *d, enum level level, const char *what, const char *fix, const char *fmt, ...)
{
    char detail[5000]; /* what a host tells may be long */
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof(detail), fmt, ap);
    va_end(ap);
    d->failed += level == LEVEL_FAIL;
    if (d->json) {
        emit_open(&d->out, NULL, '{');
        emit_text(&d->out, "level", level_names[level]);
        emit_text(&d->out, "what", what);
        emit_text(&d->out, "detail", detail);
        emit_text(&d->out, "fix", fix ? fix : "");
        emit_close(&d->out, '}');
        return;
    }
    buf_addf(&d->out, "%-4s  %-10s ", level_names[level], what);
    cli_text(&d->out, detail);
    buf_addc(&d->out, '\n');
    if (fix) {
        buf_adds(&d->out, "                 fix: ");
        cli_text(&d->out, fix);
        buf_addc(&d->out, '\n');
    }
}

static void state_directory(struct doctor *d, const struct paths *p)
{
    struct statvfs fs;

    found(d, LEVEL_OK, "state", NULL, "%s, private to you", p->root);
    if (fstatvfs(p->rootfd, &fs) < 0)
        return;
    if ((uint64_t)fs.f_bavail * fs.f_frsize < SPACE_MIN)
        found(d, LEVEL_WARN, "disk",
              "make room, or move the state directory (--state, CREEL_STATE)",
              "only %llu MiB free for results and logs",
              (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize >> 20));
}

static void key(struct doctor *d, const struct paths *p, enum own_key which)
{
    int (*const path_of[])(const struct paths *, char[static PATH_MAX],
                           struct err *) = {paths_signing_key, paths_ssh_key};
    const char *what = which == OWN_KEY_SIGNING ? "signing" : "login key";
    char path[PATH_MAX], fpr[KEY_FPR_SIZE];
    uint8_t pub[KEY_PUB_BYTES];
    struct err err = ERR_INIT;
    struct stat st;

    if (own_key_pub(p, which, pub, &err) < 0 || path_of[which](p, path, &err) < 0) {
        found(d, LEVEL_FAIL, what, "creel init", "%s", err.msg);
        return;
    }
    key_fingerprint(pub, fpr);
    if (stat(path, &st) < 0)
        found(d, LEVEL_FAIL, what, "put the key file back", "%s: %s", path, strerror(errno));
    else if (st.st_mode & 077)
        found(d, LEVEL_FAIL, what, "chmod 600 the key file", "%s can be read by others", path);
    else
        found(d, LEVEL_OK, what, NULL, "%s in %s", fpr, path);
}

/* "git version 2.39.5" of the git that would pack. */
static bool git_version(char *out, size_t size)
{
    int fds[2], status = -1;
    ssize_t n;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execlp("git", "git", "--version", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    n = pid < 0 ? -1 : read(fds[0], out, size - 1);
    close(fds[0]);
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (n <= 0 || status != 0)
        return false;
    out[n] = 0;
    out[strcspn(out, "\n")] = 0;
    return true;
}

static void git(struct doctor *d)
{
    char text[128];
    static const char before[] = "git version ";
    unsigned long major = 0, minor = 0;
    char *end = text;

    if (!git_version(text, sizeof(text))) {
        found(d, LEVEL_FAIL, "git", "install git", "git cannot be run");
        return;
    }
    if (strncmp(text, before, sizeof(before) - 1) == 0)
        major = strtoul(text + sizeof(before) - 1, &end, 10);
    if (*end == '.')
        minor = strtoul(end + 1, NULL, 10);
    if (major < 2 || (major == 2 && minor < 30))
        found(d, LEVEL_WARN, "git", "install git 2.30 or newer", "%s is old", text);
    else
        found(d, LEVEL_OK, "git", NULL, "%s", text);
}

/* The importer parses what hosts send back only behind Landlock. */
static void landlock(struct doctor *d)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* VERSION */);

    if (abi >= 1)
        found(d, LEVEL_OK, "importer", NULL, "this kernel confines it (Landlock ABI %ld)", abi);
    else
        found(d, LEVEL_FAIL, "importer",
              "a kernel from 5.13 with landlock in its lsm= list (see /sys/kernel/security/lsm)",
              "this kernel has no Landlock: results cannot be imported safely");
}

static void engine(struct doctor *d, const struct paths *p)
{
    int fd = engine_poke(p, false, NULL);

    found(d, LEVEL_OK, "engine", NULL, fd < 0 ? "not running; commands start it" : "running");
    fd_close(&fd);
}

struct host_view {
    struct doctor *d;
    const char *name;
    char seen[32];
};

static void on_fact(void *arg, const char *text, const char *fix)
{
    const struct host_view *v = arg;

    found(v->d, fix ? LEVEL_WARN : LEVEL_OK, "host", fix, "%s: %s (seen %s)", v->name, text,
          v->seen);
}

static void host(struct doctor *d, const struct host_row *h)
{
    struct host_view v = {.d = d, .name = h->name};

    cli_ago(h->last_seen * 1000, v.seen);
    host_facts(h, on_fact, &v);
}

static void hosts(struct doctor *d, struct store *s)
{
    struct host_row *rows = NULL;
    struct err err = ERR_INIT;
    size_t n = 0;

    if (store_host_list(s, &rows, &n, &err) < 0)
        found(d, LEVEL_FAIL, "hosts", NULL, "%s", err.msg);
    else if (n == 0)
        found(d, LEVEL_WARN, "hosts", "creel host add NAME USER@ADDRESS --fingerprint SHA256:...",
              "none is enrolled");
    for (size_t i = 0; i < n; i++)
        host(d, &rows[i]);
    free(rows);
}

/* A task's directory without its row: a run that was killed while it packed, or packs now. */
static void leftovers(struct doctor *d, const struct paths *p, struct store *s)
{
    int fd = openat(p->rootfd, "tasks", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    unsigned n = 0;

    while (dir && (e = readdir(dir)) != NULL) {
        struct err err = ERR_INIT;
        struct task_row t;

        if (!id_valid(e->d_name))
            continue;
        if (store_task_get(s, e->d_name, &t, &err) == 0)
            task_row_done(&t);
        else
            n += err.code == ERR_USAGE;
    }
    if (dir)
        closedir(dir);
    if (n > 0)
        found(d, LEVEL_WARN, "tasks", "remove those directories when no 'creel run' is packing",
              "%u director%s under %s/tasks belong%s to no task", n, n == 1 ? "y" : "ies", p->root,
              n == 1 ? "s" : "");
}

static void all(struct doctor *d)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct err err = ERR_INIT;
    int rc = cli_open(d->cli, &p, &s, &err);

    if (rc < 0) {
        found(d, LEVEL_FAIL, "state", "creel init", "%s", err.msg);
    } else {
        state_directory(d, &p);
        key(d, &p, OWN_KEY_SIGNING);
        key(d, &p, OWN_KEY_SSH);
    }
    git(d);
    landlock(d);
    if (rc == 0) {
        engine(d, &p);
        leftovers(d, &p, s);
        hosts(d, s);
        cli_close(&p, s);
    }
}

static int doctor(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct doctor_opts *o = opts;
    struct doctor d = {.cli = cli, .json = o->json};
    int rc = cli_nargs(nargs, 0, "doctor takes options only", err);

    (void)args;
    if (rc < 0)
        return rc;
    buf_init(&d.out, CLI_OUT_MAX);
    if (d.json) {
        emit_open(&d.out, NULL, '{');
        emit_int(&d.out, "version", 1);
        emit_open(&d.out, "findings", '[');
    }
    all(&d);
    if (d.json) {
        emit_close(&d.out, ']');
        emit_uint(&d.out, "failed", d.failed);
        emit_close(&d.out, '}');
        buf_addc(&d.out, '\n');
    }
    rc = cli_out(&d.out, err);
    buf_done(&d.out);
    if (rc == 0 && d.failed)
        rc = err_set(err, ERR_FAIL, "%s", "");
    return rc;
}

const struct cmd cmd_doctor = {
    .name = "doctor",
    .args = "[--json]",
    .summary = "Check this machine and what is known of the hosts.",
    .help = "Offline: nothing is connected to and nothing changed. Exits 1 when something must be\n"
            "put right before tasks can run. 'creel host test NAME' looks at one host.\n",
    .opts = options,
    .opts_size = sizeof(struct doctor_opts),
    .run = doctor,
};
