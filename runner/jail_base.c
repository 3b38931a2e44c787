/* Makes the base trees of an attempt's jails; see jail_base.h. What stands in them is data, in
 * jail_ops.c. */
#include "runner/jail_base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/mount.h>
#include <linux/openat2.h>

#include "common/file.h"
#include "runner/jail_ops.h"
#include "runner/sys.h"

#define STAGE_PATH_MAX 64
#define DIR_FLAGS      (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define LAYERS_MAX     (2 * STAGE_PATH_MAX + 16)

int jail_base_open(const char *what, const char *path, int *ret_fd, struct err *err)
{
    const struct open_how how = {
        .flags = DIR_FLAGS,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    *ret_fd = -1;
    if (!path)
        return 0;
    *ret_fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    return *ret_fd < 0 ? err_errno(err, ERR_FAIL, "the %s %s cannot be opened", what, path) : 0;
}

const char *jail_base_root(const struct jail_kind *kind, enum warden_phase phase)
{
    /* The tree tool is the host's and needs the host's libraries. */
    return kind->image && phase == WARDEN_RUN ? "/image" : "/root";
}

static int apply_at(const char *path, const struct jail_op *ops, size_t n, int tools,
                    struct err *err)
{
    struct jail_roots at = {.jail = -1, .source = {-1, -1, -1, -1, -1, tools, -1}};
    int rc = 0;
    at.jail = open(path, DIR_FLAGS);
    at.source[JAIL_HOST] = open("/", DIR_FLAGS);
    if (at.jail < 0 || at.source[JAIL_HOST] < 0)
        rc = err_errno(err, ERR_FAIL, "the jail's root cannot be opened");
    else
        rc = jail_apply(ops, n, &at, err);
    fd_close(&at.jail);
    fd_close(&at.source[JAIL_HOST]);
    return rc;
}

/* A new tmpfs at `path`, with these operations done in it. */
static int make_tree(const char *path, const struct jail_op *ops, size_t n, struct err *err)
{
    if (mkdir(path, 0755) < 0 ||
        sys_mount("root", path, "tmpfs", MS_NOSUID | MS_NODEV, JAIL_BASE_OPTS) < 0)
        return err_errno(err, ERR_FAIL, "the jail's root cannot be made");
    return apply_at(path, ops, n, -1, err);
}

/* Attached for a moment: an overlay takes its layers from what is mounted. Mounts below the image are
 * not part of it. */
static int attach_image(const char *path, int image)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    int rc = -1;
    int mount = sys_open_tree(image, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (mount >= 0 && sys_mount_setattr(mount, "", AT_EMPTY_PATH, &attr) == 0 &&
        mkdir(path, 0755) == 0)
        rc = sys_move_mount(mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
    fd_close(&mount);
    return rc;
}

/* Our own layer lies over the image's. Where both have a name ours is what is found, whatever the image
 * has there: so no directory that anything is mounted on is the image's, nor a link of it. An overlay
 * without an upper layer takes no writes. */
static int make_image(const char *stage, int image, struct err *err)
{
    char layer[STAGE_PATH_MAX], lower[STAGE_PATH_MAX], root[STAGE_PATH_MAX], options[LAYERS_MAX];
    struct jail_op ops[JAIL_OPS_MAX];
    snprintf(layer, sizeof layer, "%s/layer", stage);
    snprintf(lower, sizeof lower, "%s/lower", stage);
    snprintf(root, sizeof root, "%s/image", stage);
    snprintf(options, sizeof options, "lowerdir=%s:%s", layer, lower);
    int rc = make_tree(layer, ops, jail_ops_layer(ops), err);
    if (rc < 0)
        return rc;
    if (attach_image(lower, image) < 0)
        return err_errno(err, ERR_FAIL, "the image cannot be mounted");
    if (mkdir(root, 0755) < 0 ||
        sys_mount("image", root, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options) < 0)
        return err_errno(err, ERR_FAIL, "the image cannot be mounted under the jail's own files");
    if (sys_umount2(lower, MNT_DETACH) < 0 || sys_umount2(layer, MNT_DETACH) < 0)
        return err_errno(err, ERR_FAIL, "the image's layers cannot be detached");
    return apply_at(root, ops, jail_ops_over(ops), -1, err);
}

static int add_tools(const char *stage, const char *tree, int tools, struct err *err)
{
    char root[STAGE_PATH_MAX];
    snprintf(root, sizeof root, "%s/%s", stage, tree);
    return apply_at(root, jail_op_tools(), 1, tools, err);
}

int jail_base_make(const char *stage, int image, int tools, struct err *err)
{
    size_t n;
    char root[STAGE_PATH_MAX];
    const struct jail_op *ops = jail_ops_base(&n);
    snprintf(root, sizeof root, "%s/root", stage);
    int rc = make_tree(root, ops, n, err);
    if (rc == 0 && tools >= 0)
        rc = add_tools(stage, "root", tools, err);
    if (rc == 0 && image >= 0)
        rc = make_image(stage, image, err);
    if (rc == 0 && image >= 0 && tools >= 0)
        rc = add_tools(stage, "image", tools, err);
    return rc;
}
