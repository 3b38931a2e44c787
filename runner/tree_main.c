/* creel-runner-tree: the only program of a host that links libgit2. Runs in jails only; argv says
 * what to do, one line on stdout says what came out, one on stderr why not. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <git2.h>

#include "common/file.h"
#include "runner/cache_keep.h"
#include "runner/caches.h"
#include "runner/tree.h"

static const struct tree_dirs dirs = {.base = "/base.git", .task = "/task", .out = "/out"};

static int say(const char *line, struct err *err)
{
    return write_all(STDOUT_FILENO, line, strlen(line)) < 0
               ? err_errno(err, ERR_FAIL, "cannot write to stdout")
               : 0;
}

static int run_checkout(const char *root, const char *branch, struct err *err)
{
    char line[TASK_OID_SIZE + 8];
    int rc = tree_checkout(&dirs, STDIN_FILENO, root, branch, err);
    if (rc < 0) {
        return rc;
    }
    snprintf(line, sizeof(line), "ok %s\n", root);
    return say(line, err);
}

static int run_collect(const char *root, const char *branch, struct err *err)
{
    char line[TASK_OID_SIZE + 40];
    struct tree_patch patch;
    int rc = tree_collect(&dirs, root, branch, &patch, err);
    if (rc < 0) {
        return rc;
    }
    /* What was left out is for the record; nobody depends on it arriving. */
    (void)!write(STDERR_FILENO, patch.notes.data, patch.notes.len);
    buf_done(&patch.notes);
    if (patch.commit[0] == '\0') {
        return say("unchanged\n", err);
    }
    snprintf(line, sizeof(line), "patch %s %llu\n", patch.commit,
             (unsigned long long)patch.pack_bytes);
    return say(line, err);
}

/* One descriptor for each directory of the path that is being walked. */
static void raise_open_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* Where the digest goes: nobody has to believe what stands on stdout about the store. */
static int write_digest(const char *hex, struct err *err)
{
    int out = open(dirs.out, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd = out < 0 ? -1
                     : openat(out, CACHE_KEPT_NAME,
                              O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = fd >= 0 && write_all(fd, hex, strlen(hex)) == 0
                 ? 0
                 : err_errno(err, ERR_FAIL, "cannot write the cache's digest");
    fd_close(&fd);
    fd_close(&out);
    return rc;
}

static int run_keep(struct err *err)
{
    char hex[65];
    int rc = cache_keep("/cache", "/keep", CACHE_BYTES_MAX, hex, err);
    return rc < 0 ? rc : write_digest(hex, err);
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    int rc;
    umask(022);
    raise_open_files();
    if (argc == 2 && strcmp(argv[1], "keep") == 0) {
        rc = run_keep(&err);
    } else if (argc != 4 || (strcmp(argv[1], "checkout") != 0 && strcmp(argv[1], "collect") != 0)) {
        rc = err_set(&err, ERR_USAGE,
                     "usage: creel-runner-tree checkout|collect ROOT BRANCH, or keep");
    } else if ((rc = tree_start(&err)) == 0) {
        rc = strcmp(argv[1], "checkout") == 0 ? run_checkout(argv[2], argv[3], &err)
                                              : run_collect(argv[2], argv[3], &err);
    }
    if (rc < 0) {
        dprintf(STDERR_FILENO, "%s\n", err.msg);
        return 1;
    }
    return 0;
}
