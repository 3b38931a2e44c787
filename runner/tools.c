/* Finds the operator's tools; see tools.h. Runs none of them. */
#include "runner/tools.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/provided.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A job is neither owner nor in the group of anything here. */
static bool is_program(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, 0) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0005) == 0005;
}

void tools_list(const char *dir, struct strv *out)
{
    struct dirent *e;
    int bin = -1, top = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (top >= 0 && !provided_unsafe(top))
        bin = openat(top, "bin", DIR_FLAGS);
    DIR *d = bin >= 0 ? fdopendir(bin) : NULL;
    fd_close(&top);
    if (!d) {
        fd_close(&bin);
        return;
    }
    if (!provided_unsafe(dirfd(d)))
        while (out->n < TOOLS_MAX && (e = readdir(d)))
            if (provided_name_valid(e->d_name) && is_program(dirfd(d), e->d_name) &&
                strv_add(out, e->d_name) < 0)
                break;
    closedir(d);
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, by_name);
}

int tools_check(const char *dir, char **ret_path, struct err *err)
{
    const char *wrong = NULL;
    int rc = 0;
    char *path = realpath(dir, NULL);
    int fd = path ? open(path, DIR_FLAGS) : -1;
    if (fd < 0)
        rc = err_errno(err, ERR_USAGE, "%s", dir);
    else if ((wrong = provided_unsafe(fd)))
        rc = err_set(err, ERR_USAGE, "%s: it %s", dir, wrong);
    fd_close(&fd);
    if (rc < 0)
        free(path);
    else
        *ret_path = path;
    return rc;
}
