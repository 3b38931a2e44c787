/* Makes the base tree of an attempt's jails; see jail_base.h. What stands in it is data, in jail_ops.c. */
#include "runner/jail_base.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/mount.h>

#include "common/file.h"
#include "runner/jail_ops.h"
#include "runner/sys.h"

#define STAGE_PATH_MAX 64

int jail_base_make(const char *stage, const struct task *task, struct err *err)
{
    size_t n;
    char root[STAGE_PATH_MAX];
    struct jail_roots at = {.jail = -1, .source = {-1, -1, -1}};
    const struct jail_op *ops = jail_ops_base(&n);
    int rc = 0;
    if (task->policy.image[0])
        return err_set(err, ERR_REFUSED, "there is no image '%s' on this host", task->policy.image);
    snprintf(root, sizeof root, "%s/root", stage);
    if (mkdir(root, 0755) < 0 ||
        sys_mount("root", root, "tmpfs", MS_NOSUID | MS_NODEV, JAIL_BASE_OPTS) < 0)
        return err_errno(err, ERR_FAIL, "the jail's root cannot be made");
    at.jail = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    at.source[JAIL_HOST] = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at.jail < 0 || at.source[JAIL_HOST] < 0)
        rc = err_errno(err, ERR_FAIL, "the jail's root cannot be opened");
    else
        rc = jail_apply(ops, n, &at, err);
    fd_close(&at.jail);
    fd_close(&at.source[JAIL_HOST]);
    return rc;
}
