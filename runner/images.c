/* Finds the operator's images; see images.h. Looks at nothing below an image's root. */
#include "runner/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

static bool is_image(int dir, const char *name)
{
    int fd = openat(dir, name, DIR_FLAGS);
    bool is = fd >= 0 && !provided_unsafe(fd);
    fd_close(&fd);
    return is;
}

void images_list(const char *dir, struct strv *out)
{
    struct dirent *e;
    DIR *d = dir ? opendir(dir) : NULL;
    if (!d)
        return;
    if (!provided_unsafe(dirfd(d)))
        while (out->n < IMAGES_MAX && (e = readdir(d)))
            if (provided_name_valid(e->d_name) && is_image(dirfd(d), e->d_name) &&
                strv_add(out, e->d_name) < 0)
                break;
    closedir(d);
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, by_name);
}

static int unknown(const char *dir, const char *name, struct err *err)
{
    struct strv names = {0};
    struct buf list;
    buf_init(&list, 8192);
    images_list(dir, &names);
    for (size_t i = 0; i < names.n; i++)
        buf_addf(&list, "%s%s", i ? ", " : "", names.v[i]);
    int rc = names.n ? err_set(err, ERR_REFUSED, "there is no image '%s' on this host; it has: %s",
                               name, buf_str(&list))
                     : err_set(err, ERR_REFUSED, "there is no image '%s' on this host; it has none",
                               name);
    buf_done(&list);
    strv_done(&names);
    return rc;
}

int images_find(const char *dir, const char *name, char ret_path[static IMAGES_PATH_MAX],
                struct err *err)
{
    const char *wrong = NULL;
    int fd = -1, rc = 0, store = dir && provided_name_valid(name) ? open(dir, DIR_FLAGS) : -1;
    if (store >= 0)
        fd = openat(store, name, DIR_FLAGS);
    if (fd < 0)
        rc = unknown(dir, name, err);
    else if ((wrong = provided_unsafe(store)) || (wrong = provided_unsafe(fd)))
        rc = err_set(err, ERR_REFUSED, "image '%s': its directory %s", name, wrong);
    else if (snprintf(ret_path, IMAGES_PATH_MAX, "%s/%s", dir, name) >= IMAGES_PATH_MAX)
        rc = err_set(err, ERR_REFUSED, "image '%s': its path is too long", name);
    fd_close(&fd);
    fd_close(&store);
    return rc;
}
