/* Files: out of the tree that a jail is given, into the host's, past its own limits. Files whose
 * writing would act on the machine are opened for writing and never written. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/openat2.h>

#include "tests/escape/attacks/attack.h"

#define FILTER_2 "system call filter and no capability"
#define ABSENT   "it is not in the jail's tree"
#define LEN(a)   (sizeof(a) / sizeof *(a))

static void mount_new(char **args)
{
    filtered(mount(MARK, "/tmp", "tmpfs", 0, NULL), "mount of a tmpfs");
    filtered(mount("proc", "/tmp", "proc", 0, NULL), "mount of a procfs");
    filtered(mount("none", "/tmp", "cgroup2", 0, NULL), "mount of cgroups");
    filtered(mount("none", "/tmp", "sysfs", 0, NULL), "mount of sysfs");
    blocked("tmpfs, proc, cgroup2, sysfs: %s", strerror(errno));
}

static void mount_bind(char **args)
{
    filtered(mount("/usr", "/tmp", NULL, MS_BIND | MS_REC, NULL), "bind mount");
    filtered(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL), "remount for writing");
    filtered(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL), "shared propagation");
    blocked("bind, remount for writing, shared: %s", strerror(errno));
}

static void mount_fds(char **args)
{
    filtered(syscall(430 /* fsopen */, "tmpfs", 0), "fsopen");
    filtered(syscall(428 /* open_tree */, AT_FDCWD, "/", 1 /* clone */), "open_tree");
    filtered(syscall(429 /* move_mount */, AT_FDCWD, "/tmp", AT_FDCWD, "/task", 0), "move_mount");
    filtered(syscall(433 /* fspick */, AT_FDCWD, "/", 0), "fspick");
    struct {
        uint64_t set, clear, propagation, userns;
    } attr = {.clear = 1};
    filtered(syscall(442 /* mount_setattr */, AT_FDCWD, "/usr", 0, &attr, sizeof attr),
             "mount_setattr");
    blocked("fsopen, open_tree, move_mount, fspick, mount_setattr: %s", strerror(errno));
}

static void unmount(char **args)
{
    filtered(umount2("/proc/sys", MNT_DETACH), "umount of /proc/sys");
    filtered(umount2("/proc", MNT_DETACH), "umount of /proc");
    filtered(umount2("/tmp", MNT_DETACH), "umount of /tmp");
    blocked("/proc/sys, /proc, /tmp: %s", strerror(errno));
}

static void new_root(char **args)
{
    mkdir("/tmp/" MARK "-root", 0755);
    int top = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    filtered(syscall(SYS_pivot_root, "/tmp", "/tmp"), "pivot_root");
    if (chroot("/tmp/" MARK "-root") == 0) {
        struct stat here, above;
        fchdir(top);
        for (int i = 0; i < 64; i++)
            chdir("..");
        if (chroot(".") == 0 && stat(".", &here) == 0 && stat("..", &above) == 0)
            got("chroot worked and was left again");
        got("chroot worked");
    }
    filtered(-1, "chroot");
    blocked("pivot_root, chroot: %s", strerror(errno));
}

/* Up and out by dots, links of /proc, and what openat2 resolves. */
static void climb(char **args)
{
    static const char *const ways[] = {
        "../../../../../../../../../../etc/shadow",
        "/proc/self/root/../../etc/shadow",
        "/proc/self/cwd/../../../etc/shadow",
        "/proc/thread-self/root/etc/shadow",
        "/proc/1/root/etc/shadow",
        "/dev/fd/../../../../etc/shadow",
        "/proc/self/task/../../1/cwd/../../../etc/shadow",
    };
    static const uint64_t resolve[] = {0, RESOLVE_IN_ROOT, RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS,
                                       RESOLVE_BENEATH};
    struct stat top, above;
    for (size_t i = 0; i < LEN(ways); i++) {
        int fd = open(ways[i], O_RDONLY | O_CLOEXEC);
        refused(fd, ways[i]);
        for (size_t k = 0; k < LEN(resolve); k++) {
            struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve[k]};
            refused(syscall(437 /* openat2 */, AT_FDCWD, ways[i], &how, sizeof how), ways[i]);
        }
    }
    if (stat("/", &top) < 0 || stat("/../../..", &above) < 0 || top.st_ino != above.st_ino)
        got("above / is something else");
    blocked("%zu ways, by openat2 five ways each: %s", LEN(ways), strerror(errno));
}

static void handle(char **args)
{
    struct {
        struct file_handle h;
        char bytes[128];
    } f = {.h = {.handle_bytes = 128}};
    int id, fd = open("/usr", O_RDONLY | O_CLOEXEC);
    filtered(name_to_handle_at(AT_FDCWD, "/usr", &f.h, &id, 0), "name_to_handle_at");
    /* The root directory of most file systems. */
    f.h = (struct file_handle){.handle_bytes = 8, .handle_type = 1};
    memcpy(f.h.f_handle, (char[]){2, 0, 0, 0, 0, 0, 0, 0}, 8);
    filtered(open_by_handle_at(fd, &f.h, O_RDONLY | O_CLOEXEC), "open_by_handle_at");
    blocked("name_to_handle_at, open_by_handle_at: %s", strerror(errno));
}

static void nodes(char **args)
{
    static const struct {
        const char *name;
        mode_t type;
        unsigned major, minor;
    } made[] = {
        {"/tmp/" MARK "-sda", S_IFBLK, 8, 0},        {"/tmp/" MARK "-vda", S_IFBLK, 254, 0},
        {"/tmp/" MARK "-mem", S_IFCHR, 1, 1},        {"/tmp/" MARK "-kmsg", S_IFCHR, 1, 11},
        {"/dev/shm/" MARK "-kvm", S_IFCHR, 10, 232},
    };
    for (size_t i = 0; i < LEN(made); i++)
        refused(mknod(made[i].name, made[i].type | 0600, makedev(made[i].major, made[i].minor)),
                "mknod");
    blocked("5 devices, of blocks and characters: %s", strerror(errno));
}

static void devices(char **args)
{
    static const char *const names[] = {
        "mem",
        "kmem",
        "port",
        "kmsg",
        "vda",
        "sda",
        "nvme0n1",
        "loop-control",
        "loop0",
        "fuse",
        "kvm",
        "vsock",
        "uhid",
        "uinput",
        "userfaultfd",
        "mapper/control",
        "vhost-net",
        "tty0",
        "console",
        "hpet",
        "rtc0",
        "watchdog",
        "cpu/0/msr",
        "net/tun",
        "cpu_dma_latency",
    };
    char path[64];
    for (size_t i = 0; i < LEN(names); i++) {
        snprintf(path, sizeof path, "/dev/%s", names[i]);
        refused(open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), path);
        if (errno != ENOENT)
            got("%s exists: %s", path, strerror(errno));
    }
    blocked("%zu device nodes: %s", LEN(names), strerror(errno));
}

static void kernel_settings(char **args)
{
    static const char *const names[] = {
        "kernel/core_pattern",
        "kernel/modprobe",
        "kernel/hotplug",
        "kernel/sysrq",
        "kernel/hostname",
        "kernel/domainname",
        "kernel/randomize_va_space",
        "vm/overcommit_memory",
        "vm/drop_caches",
        "vm/panic_on_oom",
        "fs/protected_hardlinks",
        "fs/suid_dumpable",
        "fs/binfmt_misc/register",
        "net/ipv4/ip_forward",
        "net/core/somaxconn",
        "kernel/yama/ptrace_scope",
        "user/max_user_namespaces",
        "kernel/unprivileged_bpf_disabled",
        "kernel/panic",
    };
    char path[96];
    for (size_t i = 0; i < LEN(names); i++) {
        snprintf(path, sizeof path, "/proc/sys/%s", names[i]);
        refused(open(path, O_WRONLY | O_CLOEXEC), path);
        refused(open(path, O_RDWR | O_CLOEXEC), path);
    }
    blocked("%zu settings opened for writing: %s", LEN(names), strerror(errno));
}

static void kernel_files(char **args)
{
    static const char *const names[] = {
        "sysrq-trigger", "kcore",       "kallsyms",   "kmsg",       "keys",         "key-users",
        "timer_list",    "sched_debug", "kpagecount", "kpageflags", "cmdline",      "bus",
        "irq",           "acpi",        "scsi",       "fs",         "latency_stats"};
    char path[64], text[64];
    for (size_t i = 0; i < LEN(names); i++) {
        snprintf(path, sizeof path, "/proc/%s", names[i]);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && read(fd, text, sizeof text) > 0)
            got("%s could be read", path);
        DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
        for (struct dirent *e; dir && (e = readdir(dir));)
            if (e->d_name[0] != '.')
                got("%s holds %s", path, e->d_name);
    }
    /* What is hidden is a device that swallows: no write reaches the file behind it. */
    int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    struct stat st;
    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode)))
        got("sysrq-trigger could be opened for writing");
    blocked("%zu files of /proc are empty or absent, sysrq-trigger is not itself", LEN(names));
}

static void system_files(char **args)
{
    static const char *const names[] = {
        "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup", "/sys/firmware",
        "/sys/kernel/debug",         "/sys/class"};
    for (size_t i = 0; i < LEN(names); i++)
        if (open(names[i], O_RDONLY | O_CLOEXEC) >= 0 || errno != ENOENT)
            got("%s is there", names[i]);
    blocked("/sys: %s", strerror(errno));
}

/* A cgroup of one's own, or the limits of the one that one is in. */
static void cgroup_files(char **args)
{
    static char text[65536];
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    for (ssize_t r; fd >= 0 && (r = read(fd, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)r;
    if (strstr(text, " - cgroup"))
        got("a cgroup file system is mounted");
    if (mkdir("/sys/fs/cgroup/" MARK, 0755) == 0)
        got("a cgroup was made");
    refused(open("/sys/fs/cgroup/cgroup.procs", O_WRONLY | O_CLOEXEC), "cgroup.procs");
    refused(open("/sys/fs/cgroup/memory.max", O_WRONLY | O_CLOEXEC), "memory.max");
    blocked("no cgroup file system is mounted; /sys/fs/cgroup: %s", strerror(errno));
}

/* A directory that the jail's tree has, too, but with one name in it. */
static void only_ours(const char *path, const char *ours)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            strcmp(e->d_name, ours) != 0)
            got("%s/%s is there", path, e->d_name);
    if (dir)
        closedir(dir);
}

static void host_paths(char **args)
{
    static const char *const paths[] = {
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/machine-id",
        "/etc/ssh",
        "/etc/sudoers",
        "/root/.ssh",
        "/home/debian",
        "/var/lib",
        "/var/log",
        "/var/spool/cron",
        "/run/creel-runner",
        "/boot",
        "/var/lib/creel-runner",
        "/etc/creel-runner",
        "/run/systemd",
        "/mnt",
        "/srv",
        "/media",
        "/lost+found",
    };
    for (size_t i = 0; i < LEN(paths); i++) {
        struct stat st;
        refused(open(paths[i], O_RDONLY | O_CLOEXEC), paths[i]);
        if (stat(paths[i], &st) == 0)
            got("%s is there", paths[i]);
    }
    only_ours("/opt", "creel");
    only_ours("/opt/creel", "tools");
    for (; *args; args++)
        refused(open(*args, O_RDONLY | O_CLOEXEC), *args);
    blocked("%zu paths of the host: %s", LEN(paths), strerror(errno));
}

static void write_system(char **args)
{
    static const char *const paths[] = {
        "/usr/bin/" MARK, "/usr/lib/" MARK,  "/etc/" MARK,
        "/" MARK,         "/base.git/" MARK, "/base.git/objects/" MARK,
        "/root/" MARK,    "/run/" MARK,      "/var/" MARK,
        "/out/" MARK,     "/dev/" MARK,      "/proc/" MARK};
    for (size_t i = 0; i < LEN(paths); i++) {
        refused(open(paths[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644), paths[i]);
        if (mkdir(paths[i], 0755) == 0)
            got("%s was made", paths[i]);
    }
    refused(open("/usr/bin/env", O_WRONLY | O_CLOEXEC), "/usr/bin/env for writing");
    refused(open("/etc/passwd", O_WRONLY | O_CLOEXEC), "/etc/passwd for writing");
    refused(chmod("/usr/bin/env", 0777), "chmod in /usr");
    refused(truncate("/usr/bin/env", 0), "truncate in /usr");
    refused(unlink("/etc/passwd"), "unlink in /etc");
    blocked("%zu places outside of the work tree, files of /usr and /etc: %s", LEN(paths),
            strerror(errno));
}

static int copy(const char *from, const char *to)
{
    char bytes[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC),
        out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    ssize_t n;
    while (in >= 0 && out >= 0 && (n = read(in, bytes, sizeof bytes)) > 0)
        if (write(out, bytes, (size_t)n) != n)
            return -1;
    close(in);
    return close(out);
}

/* The effective user of a program that we start, as the kernel says it. */
static int effective_user(const char *program)
{
    char path[64], text[2048];
    int in[2], uid = -1;
    if (pipe(in) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(in[0], 1);
        dup2(in[0], 2);
        close(in[1]);
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        FILE *f = fopen(path, "re");
        for (int real; f && fgets(text, sizeof text, f);)
            if (sscanf(text, "Uid: %d %d", &real, &uid) == 2)
                break;
        if (f)
            fclose(f);
        if (uid == 0)
            break;
        usleep(2000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return uid;
}

/* Programs that have the bit on the host, and copies that we give it to. */
static void setuid_files(char **args)
{
    static const char *const programs[] = {"/usr/bin/su", "/usr/bin/passwd", "/usr/bin/newgrp",
                                           "/usr/bin/mount", "/usr/bin/sudo"};
    int tried = 0;
    for (size_t i = 0; i < LEN(programs); i++) {
        struct stat st;
        if (stat(programs[i], &st) < 0 || !(st.st_mode & S_ISUID))
            continue;
        tried++;
        if (effective_user(programs[i]) == 0)
            got("%s runs as root", programs[i]);
    }
    copy("/bin/sh", "/tmp/" MARK "-sh");
    chmod("/tmp/" MARK "-sh", 06755);
    if (effective_user("/tmp/" MARK "-sh") == 0)
        got("a copy with the bit runs as root");
    refused(chown("/tmp/" MARK "-sh", 0, 0), "giving it to root");
    blocked("%d programs of the host's, one of ours: same user; giving it to root: %s", tried,
            strerror(errno));
}

static void file_capabilities(char **args)
{
    /* cap_setuid, permitted and effective, revision 2 */
    static const unsigned char cap[20] = {1, 0, 0, 2, 0x80};
    copy("/bin/sh", "/tmp/" MARK "-cap");
    refused(setxattr("/tmp/" MARK "-cap", "security.capability", cap, sizeof cap, 0),
            "a file capability");
    refused(setxattr("/tmp/" MARK "-cap", "trusted.overlay.opaque", "y", 1, 0),
            "trusted attributes");
    blocked("security.capability, trusted.overlay: %s", strerror(errno));
}

/* A file that even root could then not remove. */
static void immutable(char **args)
{
    int fd = open("/tmp/" MARK "-forever", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int flags = FS_IMMUTABLE_FL;
    refused(ioctl(fd, FS_IOC_SETFLAGS, &flags), "the immutable flag");
    flags = FS_APPEND_FL;
    refused(ioctl(fd, FS_IOC_SETFLAGS, &flags), "the append-only flag");
    blocked("immutable, append-only: %s", strerror(errno));
}

/* Files of others, to be held when they are replaced or written to by whoever owns them. */
static void hard_links(char **args)
{
    refused(link("/usr/bin/env", "/task/" MARK "-env"), "a link to /usr/bin/env");
    refused(link("/etc/passwd", "/tmp/" MARK "-passwd"), "a link to /etc/passwd");
    refused(link("/base.git/HEAD", "/task/" MARK "-head"), "a link to the pristine HEAD");
    refused(linkat(AT_FDCWD, "/proc/self/exe", AT_FDCWD, "/usr/" MARK, AT_SYMLINK_FOLLOW),
            "into /usr");
    refused(rename("/base.git/HEAD", "/task/" MARK "-head"), "the pristine HEAD moved away");
    blocked("links to /usr, /etc, /base.git: %s", strerror(errno));
}

/* What the runner started the jail with, and the tool of the other phases, to be overwritten. */
static void runner_program(char **args)
{
    refused(open("/proc/1/exe", O_RDONLY | O_CLOEXEC), "/proc/1/exe");
    refused(open("/proc/1/exe", O_WRONLY | O_CLOEXEC), "/proc/1/exe for writing");
    refused(execl("/proc/1/exe", "creel-runner", "serve", (char *)NULL), "running it");
    refused(open("/usr/local/bin/creel-runner", O_WRONLY | O_CLOEXEC), "creel-runner for writing");
    refused(open("/usr/lib/creel/creel-runner-tree", O_WRONLY | O_CLOEXEC),
            "creel-runner-tree for writing");
    blocked("/proc/1/exe, the installed programs: %s", strerror(errno));
}

/* Leases on files that others must be able to use. */
static void leases(char **args)
{
    int fd = open("/usr/bin/env", O_RDONLY | O_CLOEXEC);
    refused(fcntl(fd, F_SETLEASE, F_WRLCK), "a write lease on a file of the host's");
    refused(fcntl(fd, F_SETLEASE, F_RDLCK), "a read lease on a file of the host's");
    blocked("leases on a file of /usr: %s", strerror(errno));
}

const struct attack attacks_file[] = {
    {"mount", "mount tmpfs, proc, cgroup2, sysfs", FILTER_2, ANYWHERE, "", mount_new},
    {"mount-bind", "bind mounts, remounts, propagation", FILTER_2, ANYWHERE, "", mount_bind},
    {"mount-fds", "fsopen, open_tree, move_mount, mount_setattr", FILTER_2, ANYWHERE, "",
     mount_fds},
    {"umount", "take off what hides /proc", FILTER_2, ANYWHERE, "it would take the host's /proc",
     unmount},
    {"pivot-chroot", "pivot_root, chroot and out of it", FILTER_2, ANYWHERE, "", new_root},
    {"climb", "read /etc/shadow by dots, /proc links, openat2", "the old root is unmounted",
     ANYWHERE, "", climb},
    {"file-handles", "open files by handle", FILTER_2, ANYWHERE, "", handle},
    {"mknod", "make nodes of disks and memory", "no capability, nodev", ANYWHERE, "", nodes},
    {"devices", "open 25 devices", ABSENT, ANYWHERE, "", devices},
    {"proc-sys", "open kernel settings for writing", "/proc/sys is read-only, no capability",
     ANYWHERE, "", kernel_settings},
    {"proc-kernel", "read kcore, kallsyms, keys; reach sysrq-trigger", "hidden", ANYWHERE, "",
     kernel_files},
    {"sysfs", "reach /sys", ABSENT, ANYWHERE, "", system_files},
    {"cgroup-files", "make a cgroup, lift one's own limits", ABSENT, ANYWHERE, "", cgroup_files},
    {"host-paths", "read the host's secrets and state", ABSENT, ANYWHERE, "", host_paths},
    {"write-system", "write to /usr, /etc, /base.git ...", "read-only mounts, Landlock", ANYWHERE,
     "", write_system},
    {"setuid-files", "setuid programs of the host and of one's own", "no_new_privs, nosuid",
     ANYWHERE, "root is root already", setuid_files},
    {"file-capabilities", "give a file capabilities", "no capability", ANYWHERE, "",
     file_capabilities},
    {"immutable", "make a file that cannot be removed", "no capability", ANYWHERE, "", immutable},
    {"hard-links", "link to files of others", "other mounts, read-only", ANYWHERE, "", hard_links},
    {"runner-program", "overwrite or run the runner's program", "pid 1 is not dumpable", ANYWHERE,
     "its text is busy and its path differs", runner_program},
    {"leases", "leases on files that others use", "not the owner, no capability", ANYWHERE,
     "root owns the file", leases},
    {NULL, NULL, NULL, ANYWHERE, NULL, NULL},
};
