/* Attaching files to loop devices; see loop.h. */
#include "runner/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <linux/loop.h>

#include "common/file.h"

#define TRIES 64 /* a free device may be taken by others before it is ours */

static int open_number(unsigned number, int flags)
{
    char path[32];
    snprintf(path, sizeof path, "/dev/loop%u", number);
    return open(path, flags | O_CLOEXEC);
}

static int configure(int ctl, const struct loop_config *config, unsigned *ret_number)
{
    for (int i = 0; i < TRIES; i++) {
        int number = ioctl(ctl, LOOP_CTL_GET_FREE);
        int fd = number < 0 ? -1 : open_number((unsigned)number, O_RDWR);
        if (fd < 0)
            return -1;
        if (ioctl(fd, LOOP_CONFIGURE, config) == 0) {
            *ret_number = (unsigned)number;
            return fd;
        }
        int saved = errno;
        fd_close(&fd);
        errno = saved;
        if (errno != EBUSY)
            return -1;
    }
    return -1;
}

int loop_attach(int file, struct loop *out, int *ret_fd, struct err *err)
{
    struct loop_config config = {
        .fd = (uint32_t)file,
        .block_size = LOOP_BLOCK_BYTES,
        .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO, .lo_file_name = "creel"},
    };
    struct stat st;
    int rc = 0, fd = -1, ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (ctl < 0) {
        rc = err_errno(err, ERR_FAIL, "no loop devices here (/dev/loop-control)");
        goto out;
    }
    if (fstat(file, &st) == 0)
        fd = configure(ctl, &config, &out->number);
    if (fd < 0) {
        rc = err_errno(err, ERR_FAIL, "no loop device can be had");
        goto out;
    }
    out->dev = st.st_dev;
    out->inode = st.st_ino;
    *ret_fd = fd;
out:
    fd_close(&ctl);
    return rc;
}

bool loop_gone(const struct loop *l)
{
    struct loop_info64 info;
    int fd = open_number(l->number, O_RDONLY);
    if (fd < 0)
        return errno == ENOENT || errno == ENXIO;
    /* EBUSY is a device that is being cleared, and not done yet. */
    bool gone = ioctl(fd, LOOP_GET_STATUS64, &info) < 0
                    ? errno == ENXIO
                    : info.lo_device != l->dev || info.lo_inode != l->inode;
    fd_close(&fd);
    return gone;
}
