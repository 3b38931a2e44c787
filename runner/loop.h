/* Loop devices (loop(4), LOOP_CONFIGURE of Linux 5.8): a file as a block device. One that is made here
 * clears itself when its last user closes it, so that nothing has to be undone after a crash. */
#ifndef RUNNER_LOOP_H
#define RUNNER_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

#define LOOP_BLOCK_BYTES 4096u

struct loop {
    unsigned number;     /* of /dev/loopN */
    uint64_t dev, inode; /* the file's, by which the device is known to be still ours */
};

/* Attaches `file` (borrowed), without a second copy of its pages in memory where its file system can
 * do so. *ret_fd, the caller's, keeps the device until somebody else has opened it. */
int loop_attach(int file, struct loop *out, int *ret_fd, struct err *err);
/* Is the device no longer attached to that file? */
bool loop_gone(const struct loop *l);

#endif
