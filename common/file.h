/* Files: read with a ceiling, replace atomically, private directories. Every open is O_CLOEXEC and
 * O_NOFOLLOW in its last component. */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/buf.h"
#include "proto/err.h"

/* Opens (and with `create` makes, 0700) a directory. With `owner_only` it is an error when it belongs
 * to someone else or others may enter it. Returns a descriptor or -code. */
int dir_open(const char *path, bool create, bool owner_only, struct err *err);
/* mkdir -p, 0700 for what is made. */
int dir_make(const char *path, struct err *err);
/* Appends the whole regular file to `to` (whose ceiling bounds it). */
int file_read(int dirfd, const char *name, struct buf *to, struct err *err);
/* Writes name.tmp.XXXX, fsyncs, renames over `name`, fsyncs the directory. */
int file_replace(int dirfd, const char *name, const void *bytes, size_t n, mode_t mode,
                 struct err *err);
/* write() until done, EINTR and short writes handled. 0 or -1 with errno. */
int write_all(int fd, const void *bytes, size_t n);
/* Removes a tree of ours below dirfd, never following a link; absent is success. */
int tree_remove(int dirfd, const char *name, struct err *err);
void fd_close(int *fd); /* closes when >= 0, sets to -1 */
/* Lets this process, and those it starts, have `want` files open, or as many as it may. Returns how many; 0:
 * not known. */
unsigned long files_raise(unsigned long want);

#endif
