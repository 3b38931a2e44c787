/* Runs mkfs.ext4; see mkfs.h. */
#include "runner/mkfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "common/clock.h"
#include "common/file.h"
#include "runner/fdpass.h"
#include "runner/text.h"

#define LONGEST_MS 60000
#define WORDS_MAX  160
/* One group's worth of extra super blocks would only be more to write. */
#define FEATURES "^has_journal,^resize_inode,sparse_super2,uninit_bg,^metadata_csum,^quota"

static void __attribute__((noreturn)) child(char *const argv[], int words)
{
    static const char *const places[] = {"/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"};
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    char *const env[] = {NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL);
    /* no_new_privs, set for the whole warden, keeps exec from giving root's capabilities back. */
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(words, 2) < 0 ||
        fds_keep_only(NULL, 0) < 0 || syscall(SYS_capset, &head, none) < 0)
        _exit(126);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        execve(places[i], argv, env);
    dprintf(2, "mkfs.ext4 is missing (package e2fsprogs)\n");
    _exit(127);
}

/* What it says until it ends, cut; false when it does not end. */
static bool hear(int fd, char *out, size_t size)
{
    uint64_t end = clock_mono_us() + LONGEST_MS * 1000ull;
    char chunk[512];
    size_t have = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_mono_us();
        if (now >= end || poll(&p, 1, (int)((end - now) / 1000 + 1)) == 0)
            return false;
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        for (ssize_t i = 0; i < n && have + 1 < size; i++)
            out[have++] = chunk[i];
    }
    out[have] = 0;
    return true;
}

static int run(char *const argv[], struct err *err)
{
    char words[WORDS_MAX] = "", line[WORDS_MAX];
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_errno(err, ERR_FAIL, "no pipe for mkfs.ext4");
    pid_t pid = fork();
    if (pid == 0)
        child(argv, ends[1]);
    fd_close(&ends[1]);
    bool ended = pid > 0 && hear(ends[0], words, sizeof words);
    fd_close(&ends[0]);
    if (pid < 0)
        return err_errno(err, ERR_FAIL, "mkfs.ext4 cannot be started");
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    text_linef(line, sizeof line, "%s", ended ? words : "it did not end");
    return err_set(err, ERR_FAIL, "no file system can be made: %s", line);
}

int mkfs_ext4(const char *device, uint64_t inodes, uid_t owner, gid_t group, struct err *err)
{
    char count[24], extended[96], path[64];
    snprintf(count, sizeof count, "%" PRIu64, inodes);
    /* Inode tables are not written before they are used: that is most of what mkfs would write. */
    snprintf(extended, sizeof extended,
             "lazy_itable_init=1,nodiscard,num_backup_sb=0,root_owner=%u:%u", (unsigned)owner,
             (unsigned)group);
    snprintf(path, sizeof path, "%s", device);
    char *argv[] = {(char[]){"mkfs.ext4"},
                    (char[]){"-q"},
                    (char[]){"-F"},
                    (char[]){"-b"},
                    (char[]){"4096"},
                    (char[]){"-I"},
                    (char[]){"256"},
                    (char[]){"-m"},
                    (char[]){"0"},
                    (char[]){"-N"},
                    count,
                    (char[]){"-O"},
                    (char[]){FEATURES},
                    (char[]){"-E"},
                    extended,
                    path,
                    NULL};
    return run(argv, err);
}
