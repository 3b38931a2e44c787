/* Mappings of the kernel's device mapper (Documentation/admin-guide/device-mapper/dm-crypt.rst) that
 * encrypt a block device under a key which nobody keeps: aes-xts-plain64, 512 random bits, in the kernel
 * alone once the call has returned. Who removes the mapping, or has the kernel remove it, has made
 * unreadable all that was ever written through it. By the kernel's ioctls, as root. */
#ifndef RUNNER_CRYPT_MAP_H
#define RUNNER_CRYPT_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

#define CRYPT_NAME_SIZE 64
#define CRYPT_PATH_SIZE 32

/* Maps `bytes` (a multiple of 4096) of the device dev_major:dev_minor as `name`. The new device's path
 * goes to `path`. */
int crypt_map_make(const char *name, unsigned dev_major, unsigned dev_minor, uint64_t bytes,
                   char path[static CRYPT_PATH_SIZE], struct err *err);
/* Has the kernel remove the mapping with its last user, whoever else dies before. */
int crypt_map_remove_later(const char *name, struct err *err);
/* Removes it now, if nobody uses it. True when there is none of that name any more: its key is gone. */
bool crypt_map_remove(const char *name);
/* Removes, now or with their last users, all mappings whose names begin with `prefix`. */
void crypt_map_remove_all(const char *prefix);

#endif
