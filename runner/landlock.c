/* The jail's second fence. Uses raw system calls, since libc has none, and names the access rights by
 * ABI, since the headers of our oldest build hosts stop at 2. Never the primary fence. */
#include "runner/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

#include "common/file.h"

#define ABI_1_RIGHTS    ((1ull << 13) - 1)
#define RIGHT_REFER     (1ull << 13) /* ABI 2 */
#define RIGHT_TRUNCATE  (1ull << 14) /* ABI 3 */
#define RIGHT_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define READ_RIGHTS \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define PROGRAM_RIGHTS (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
/* ABI 6: no abstract sockets and no signals out of the fence. */
#define SCOPES 3

/* struct landlock_ruleset_attr as of ABI 6. Only what a kernel's ABI knows is handed to it. */
struct ruleset {
    uint64_t fs, net, scoped;
};

int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi >= 2 ? (int)abi : 0;
}

static uint64_t rights(int abi)
{
    uint64_t all = ABI_1_RIGHTS | RIGHT_REFER;
    if (abi >= 3)
        all |= RIGHT_TRUNCATE;
    if (abi >= 5)
        all |= RIGHT_IOCTL_DEV;
    return all;
}

static int add_fd(int ruleset, int fd, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int add_path(int ruleset, const char *path, uint64_t access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = add_fd(ruleset, fd, access);
    fd_close(&fd);
    return rc;
}

int landlock_apply(const char *const *writable, int program, struct err *err)
{
    int rc = -1, abi = landlock_abi();
    if (abi == 0)
        return 0;
    struct ruleset attr = {.fs = rights(abi), .scoped = SCOPES};
    size_t size = abi >= 6 ? sizeof attr : sizeof attr.fs;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        goto out;
    if (add_path(ruleset, "/", READ_RIGHTS) < 0)
        goto out;
    for (const char *const *path = writable; *path; path++)
        if (add_path(ruleset, *path, attr.fs) < 0)
            goto out;
    if (program >= 0 && add_fd(ruleset, program, PROGRAM_RIGHTS) < 0)
        goto out;
    rc = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
out:
    if (rc < 0)
        rc = err_errno(err, ERR_FAIL, "cannot put up Landlock");
    fd_close(&ruleset);
    return rc;
}
