/* Small things that tests of programs need: files in a scratch directory, and other people's
 * programs (ssh-keygen, openssl, sshd) run with their output thrown away. */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "proto/key.h"

extern char **environ;

static inline void fixture_path(const char *dir, const char *name, char out[static PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s", dir, name);
}

static inline pid_t fixture_spawn(const char *const *argv)
{
    pid_t pid;
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
    /* exec promises not to write to its arguments; its prototype cannot say so */
    int rc = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    return rc ? -1 : pid;
}

static inline int fixture_run(const char *const *argv)
{
    int status;
    pid_t pid = fixture_spawn(argv);
    if (pid < 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static inline int fixture_keygen(const char *dir, const char *name, const char *type)
{
    char path[PATH_MAX];
    fixture_path(dir, name, path);
    const char *const argv[] = {"ssh-keygen", "-q",   "-t", type, "-N", "",
                                "-C",         "test", "-f", path, NULL};
    return fixture_run(argv);
}

static inline void fixture_text(const char *dir, const char *name, struct buf *to)
{
    struct err err = ERR_INIT;
    int fd = dir_open(dir, false, false, &err);
    if (fd < 0 || file_read(fd, name, to, &err) < 0) {
        fprintf(stderr, "%s/%s: %s\n", dir, name, err.msg);
        abort();
    }
    close(fd);
}

static inline void fixture_write(const char *dir, const char *name, const char *fmt, ...)
{
    char path[PATH_MAX];
    va_list ap;
    fixture_path(dir, name, path);
    FILE *f = fopen(path, "ae");
    if (!f)
        abort();
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fclose(f);
}

/* Removes a mkdtemp directory "/tmp/NAME". */
static inline void fixture_remove(const char *dir)
{
    struct err err = ERR_INIT;
    int tmp = dir_open("/tmp", false, false, &err);
    if (tmp >= 0)
        tree_remove(tmp, dir + sizeof "/tmp/" - 1, &err);
    close(tmp);
}

#endif
