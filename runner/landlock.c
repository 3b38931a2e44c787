/* The jail's second fence. Uses raw system calls, since libc has none, and names the access rights by
 * ABI, since the headers of our oldest build hosts stop at 2. Never the primary fence. */
#include "runner/landlock.h"

#include <errno.h>
#include <fcntl.h>
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
/* ABI 4: binding and connecting TCP sockets. */
#define NET_RIGHTS 3
/* ABI 6: no abstract sockets and no signals out of the fence. */
#define SCOPES 3
/* ABI 7: denials are not written to the host's audit log, neither ours nor those of fences that a job
 * puts around itself: it could fill the log. */
#define QUIET (1u << 0 | 1u << 2)

int landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return abi > 0 ? (int)abi : 0;
}

/* The rights over files that a kernel knows. Each ABI adds. */
static uint64_t fs_rights(int abi)
{
    uint64_t all = ABI_1_RIGHTS;
    if (abi >= 2)
        all |= RIGHT_REFER;
    if (abi >= 3)
        all |= RIGHT_TRUNCATE;
    if (abi >= 5)
        all |= RIGHT_IOCTL_DEV;
    return all;
}

struct landlock_rules landlock_rules(int abi, const struct landlock_fence *fence)
{
    struct landlock_rules rules = {0};
    /* Without REFER in it a ruleset forbids every rename and link between directories. */
    if (abi >= 2 || (abi == 1 && !fence->renames))
        rules.fs = fs_rights(abi);
    if (!fence->files)
        rules.fs = 0;
    if (abi >= 4 && !fence->tcp)
        rules.net = NET_RIGHTS;
    if (abi >= 6)
        rules.scoped = SCOPES;
    return rules;
}

/* What of the kernel's struct landlock_ruleset_attr its ABI knows. */
static size_t rules_size(int abi)
{
    return abi >= 6   ? sizeof(struct landlock_rules)
           : abi >= 4 ? offsetof(struct landlock_rules, scoped)
                      : offsetof(struct landlock_rules, net);
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

static int add_files(int ruleset, const struct landlock_fence *fence, uint64_t all)
{
    if (add_path(ruleset, "/", READ_RIGHTS & all) < 0)
        return -1;
    for (const char *const *path = fence->writable; *path; path++)
        if (add_path(ruleset, *path, all) < 0)
            return -1;
    return fence->program < 0 ? 0 : add_fd(ruleset, fence->program, PROGRAM_RIGHTS);
}

int landlock_apply(const struct landlock_fence *fence, struct err *err)
{
    int rc = -1, abi = landlock_abi();
    struct landlock_rules rules = landlock_rules(abi, fence);
    if (!rules.fs && !rules.net && !rules.scoped)
        return 0;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, rules_size(abi), 0);
    if (ruleset < 0)
        goto out;
    if (rules.fs && add_files(ruleset, fence, rules.fs) < 0)
        goto out;
    rc = (int)syscall(SYS_landlock_restrict_self, ruleset, abi >= 7 ? QUIET : 0);
out:
    if (rc < 0)
        rc = err_errno(err, ERR_FAIL, "cannot put up Landlock");
    fd_close(&ruleset);
    return rc;
}
