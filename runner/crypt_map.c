/* dm-crypt by ioctl; see crypt_map.h. */
#include "runner/crypt_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/dm-ioctl.h>
#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"

#define CONTROL      "/dev/mapper/control"
#define KEY_BYTES    64 /* two AES-256 keys, as XTS takes them */
#define SECTOR_BYTES 512u
#define LIST_BYTES   (64u << 10)
/* udev is told to look at nothing of it: what is in there is the attempt's (libdevmapper.h). */
#define UDEV_LEAVE_ALONE ((0x0002u | 0x0004u | 0x0008u | 0x0040u) << 16)

/* One ioctl's memory: locked and wiped, since a table carries a key. */
struct request {
    struct dm_ioctl head;
    struct dm_target_spec spec;
    char params[512];
};

static void begin(struct dm_ioctl *head, size_t size, const char *name, uint32_t flags)
{
    *head = (struct dm_ioctl){
        .version = {DM_VERSION_MAJOR, 0, 0},
        .data_size = (uint32_t)size,
        .data_start = offsetof(struct request, spec),
        .flags = flags,
    };
    if (name)
        snprintf(head->name, sizeof head->name, "%s", name);
}

static int simple(int ctl, unsigned long op, const char *name, uint32_t flags, uint64_t *ret_dev)
{
    struct dm_ioctl head;
    begin(&head, sizeof head, name, flags);
    if (op == DM_DEV_SUSPEND || op == DM_DEV_REMOVE)
        head.event_nr = UDEV_LEAVE_ALONE;
    if (ioctl(ctl, op, &head) < 0)
        return -1;
    if (ret_dev)
        *ret_dev = head.dev;
    return 0;
}

static void write_params(struct request *r, unsigned dev_major, unsigned dev_minor)
{
    uint8_t key[KEY_BYTES];
    char *hex = r->params + snprintf(r->params, sizeof r->params, "aes-xts-plain64 ");
    sodium_mlock(key, sizeof key);
    randombytes_buf(key, sizeof key);
    sodium_bin2hex(hex, 2 * sizeof key + 1, key, sizeof key);
    sodium_munlock(key, sizeof key); /* wipes */
    snprintf(hex + 2 * sizeof key, sizeof r->params - (size_t)(hex - r->params) - 2 * sizeof key,
             " 0 %u:%u 0 1 sector_size:4096", dev_major, dev_minor);
}

/* The kernel copies the table with the key; DM_SECURE_DATA_FLAG makes it wipe its copies. */
static int load(int ctl, const char *name, unsigned dev_major, unsigned dev_minor, uint64_t bytes,
                struct err *err)
{
    struct request *r = secret_new(sizeof *r, err);
    if (!r)
        return -ERR_FAIL;
    memset(r, 0, sizeof *r);
    begin(&r->head, sizeof *r, name, DM_SECURE_DATA_FLAG);
    r->head.target_count = 1;
    r->spec.length = bytes / SECTOR_BYTES;
    snprintf(r->spec.target_type, sizeof r->spec.target_type, "crypt");
    write_params(r, dev_major, dev_minor);
    int rc = ioctl(ctl, DM_TABLE_LOAD, r) < 0
                 ? err_errno(err, ERR_FAIL, "the kernel cannot encrypt a disk (dm-crypt, xts, aes)")
                 : 0;
    secret_free(r);
    return rc;
}

static int open_control(struct err *err)
{
    int ctl = open(CONTROL, O_RDWR | O_CLOEXEC);
    return ctl >= 0 ? ctl : err_errno(err, ERR_FAIL, "no device mapper here (" CONTROL ")");
}

int crypt_map_make(const char *name, unsigned dev_major, unsigned dev_minor, uint64_t bytes,
                   char path[static CRYPT_PATH_SIZE], struct err *err)
{
    uint64_t dev = 0;
    int ctl = open_control(err), rc = ctl < 0 ? ctl : 0;
    if (rc < 0)
        return rc;
    if (simple(ctl, DM_DEV_CREATE, name, 0, &dev) < 0) {
        rc = err_errno(err, ERR_FAIL, "no mapping %s can be made", name);
        fd_close(&ctl);
        return rc;
    }
    rc = load(ctl, name, dev_major, dev_minor, bytes, err);
    if (rc == 0 && simple(ctl, DM_DEV_SUSPEND, name, 0, NULL) < 0) /* which, unflagged, resumes */
        rc = err_errno(err, ERR_FAIL, "the mapping %s cannot be started", name);
    if (rc < 0)
        simple(ctl, DM_DEV_REMOVE, name, 0, NULL);
    else
        snprintf(path, CRYPT_PATH_SIZE, "/dev/dm-%u", minor((dev_t)dev));
    fd_close(&ctl);
    return rc;
}

int crypt_map_remove_later(const char *name, struct err *err)
{
    int ctl = open_control(err), rc = ctl < 0 ? ctl : 0;
    if (rc == 0 && simple(ctl, DM_DEV_REMOVE, name, DM_DEFERRED_REMOVE, NULL) < 0)
        rc = err_errno(err, ERR_FAIL, "the mapping %s cannot be left to the kernel", name);
    fd_close(&ctl);
    return rc;
}

bool crypt_map_remove(const char *name)
{
    struct err ignored = ERR_INIT;
    int ctl = open_control(&ignored);
    bool gone = ctl >= 0 && (simple(ctl, DM_DEV_REMOVE, name, 0, NULL) == 0 || errno == ENXIO);
    fd_close(&ctl);
    return gone;
}

/* The kernel's answer is trusted to be well-formed, but not to fit: then some names are missing. */
void crypt_map_remove_all(const char *prefix)
{
    struct err ignored = ERR_INIT;
    struct dm_ioctl *head = calloc(1, LIST_BYTES);
    int ctl = open_control(&ignored);
    if (!head || ctl < 0)
        goto out;
    begin(head, LIST_BYTES, NULL, 0);
    head->data_start = sizeof *head;
    if (ioctl(ctl, DM_LIST_DEVICES, head) < 0 || (head->flags & DM_BUFFER_FULL_FLAG))
        goto out;
    const struct dm_name_list *at = (const void *)((const char *)head + head->data_start);
    for (; at->dev != 0; at = (const void *)((const char *)at + at->next)) {
        if (strncmp(at->name, prefix, strlen(prefix)) == 0)
            simple(ctl, DM_DEV_REMOVE, at->name, DM_DEFERRED_REMOVE, NULL);
        if (at->next == 0)
            break;
    }
out:
    fd_close(&ctl);
    free(head);
}
