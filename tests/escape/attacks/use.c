/* Use of what is scarce: memory of every kind that a limit must count, disk, descriptors, time. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "tests/escape/attacks/attack.h"

#define MEMORY "limit of memory"
#define CHUNK  (1u << 20)

static char chunk[CHUNK];

static void fill_chunk(void)
{
    memset(chunk, 'x', sizeof chunk);
    prctl(PR_SET_NAME, MARK);
}

static void memory_touch(char **args)
{
    fill_chunk();
    for (int i = 0; i < 16384; i++) {
        char *more = malloc(CHUNK);
        if (!more)
            blocked("malloc: %s after %d MiB", strerror(errno), i);
        memcpy(more, chunk, CHUNK);
    }
    got("16 GiB were to be had");
}

/* Writes to a descriptor until something says no. */
static void pour(int fd, const char *what)
{
    int mib = 0;
    while (mib < 16384 && write(fd, chunk, CHUNK) == CHUNK)
        mib++;
    while (mib < 16384 && write(fd, chunk, 512) > 0)
        ; /* the rest, up to the error */
    if (mib == 16384)
        got("16 GiB went into %s", what);
    blocked("%s took %d MiB: %s", what, mib, strerror(errno));
}

static void memory_tmpfs(char **args)
{
    fill_chunk();
    pour(open("/tmp/" MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "/tmp");
}

static void memory_shm(char **args)
{
    fill_chunk();
    pour(open("/dev/shm/" MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "/dev/shm");
}

static void memory_memfd(char **args)
{
    fill_chunk();
    for (int i = 0; i < 16; i++) {
        int fd = memfd_create(MARK, MFD_CLOEXEC), mib = 0;
        while (mib < 1024 && write(fd, chunk, CHUNK) == CHUNK)
            mib++;
        if (mib < 16)
            blocked("memfd took %d files and %d MiB: %s", i, mib, strerror(errno));
    }
    got("16 memfds were filled");
}

static void memory_pipes(char **args)
{
    fill_chunk();
    for (int i = 0; i < 4000; i++) {
        int ends[2];
        if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
            blocked("%d pipes: %s", i, strerror(errno));
        fcntl(ends[1], F_SETPIPE_SZ, CHUNK);
        if (write(ends[1], chunk, CHUNK) < 0)
            blocked("%d pipes: %s", i, strerror(errno));
    }
    got("4000 pipes were filled");
}

static void memory_sockets(char **args)
{
    fill_chunk();
    for (int i = 0; i < 4000; i++) {
        int ends[2], big = 1 << 24;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
            blocked("%d socket pairs: %s", i, strerror(errno));
        setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
        while (write(ends[0], chunk, CHUNK) > 0)
            ;
    }
    got("4000 socket pairs were filled");
}

static void memory_sysv(char **args)
{
    fill_chunk();
    for (int i = 0; i < 1024; i++) {
        int id = shmget(MARK_KEY + i, 16u << 20, IPC_CREAT | 0600);
        char *at = id < 0 ? NULL : shmat(id, NULL, 0);
        if (!at || at == (void *)-1)
            blocked("%d segments of 16 MiB: %s", i, strerror(errno));
        memset(at, 'x', 16u << 20);
    }
    got("16 GiB of segments were filled");
}

/* Page tables, not pages: one byte in every 2 MiB. */
static void memory_tables(char **args)
{
    prctl(PR_SET_NAME, MARK);
    const size_t span = 1ul << 42;
    char *at = mmap(NULL, span, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        blocked("mmap: %s", strerror(errno));
    volatile char sum = 0;
    for (size_t i = 0; i < span; i += 2u << 20)
        sum = (char)(sum + at[i]);
    got("page tables for 4 TiB were made");
}

/* Inodes and names are kernel memory. */
static void memory_inodes(char **args)
{
    char name[64];
    prctl(PR_SET_NAME, MARK);
    mkdir("/tmp/" MARK "-dir", 0700);
    chdir("/tmp/" MARK "-dir");
    for (int i = 0; i < 20000000; i++) {
        snprintf(name, sizeof name, "a-rather-long-name-that-costs-kernel-memory-%d", i);
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            blocked("%d files: %s", i, strerror(errno));
        close(fd);
    }
    got("20 million files were made");
}

static void lock_memory(char **args)
{
    void *at = mmap(NULL, 64u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    refused(mlock(at, 64u << 20), "mlock of 64 MiB");
    if (mlockall(MCL_FUTURE) == 0)
        refused(mmap(NULL, 64u << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                    ? -1
                    : 0,
                "64 MiB after mlockall");
    blocked("64 MiB locked: %s", strerror(errno));
}

static void message_queues(char **args)
{
    char name[32];
    struct mq_attr big = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "/" MARK "-%d", i);
        if (mq_open(name, O_RDWR | O_CREAT, 0600, &big) == (mqd_t)-1)
            blocked("%d queues of 80 KiB: %s", i, strerror(errno));
    }
    got("2000 message queues were made");
}

static void system_v(char **args)
{
    static const char *const files[] = {"/proc/sysvipc/shm", "/proc/sysvipc/msg",
                                        "/proc/sysvipc/sem"};
    char text[4096];
    for (size_t i = 0; i < 3; i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC), lines = 0;
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
        for (ssize_t k = 0; k < n; k++)
            lines += text[k] == '\n';
        if (lines > 1)
            got("%s shows something that is not ours", files[i]);
    }
    /* For the one who looks from outside: these must not be the host's. */
    if (shmget(MARK_KEY, 4096, IPC_CREAT | 0666) < 0 || msgget(MARK_KEY, IPC_CREAT | 0666) < 0 ||
        semget(MARK_KEY, 1, IPC_CREAT | 0666) < 0)
        blocked("none to be had: %s", strerror(errno));
    blocked("segment, queue and semaphore were made, in a namespace of the jail's own");
}

static void descriptors(char **args)
{
    int n = 0;
    while (n < 1000000 && open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        n++;
    if (n == 1000000)
        got("a million descriptors");
    blocked("%d descriptors: %s", n, strerror(errno));
}

static void watches(char **args)
{
    int n = 0, files = 0;
    while (n < 100000 && inotify_init1(IN_CLOEXEC) >= 0)
        n++;
    if (n >= 4000)
        got("%d inotify instances", n);
    int reason = errno, keep = 3;
    char name[32];
    mkdir("/tmp/watched", 0700);
    for (; files < 200000; files++) {
        snprintf(name, sizeof name, "/tmp/watched/%d", files);
        if (mkdir(name, 0700) < 0 || inotify_add_watch(keep, name, IN_ALL_EVENTS) < 0)
            break;
    }
    int last = errno;
    for (int i = 0; i <= files; i++) {
        snprintf(name, sizeof name, "/tmp/watched/%d", i);
        rmdir(name);
    }
    if (files >= 200000)
        got("%d watches", files);
    blocked("%d instances: %s; %d watches: %s", n, strerror(reason), files, strerror(last));
}

static void timers(char **args)
{
    struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    int n = 0;
    timer_t t;
    while (n < 100000 && timer_create(CLOCK_MONOTONIC, &e, &t) == 0)
        n++;
    if (n >= 100000)
        got("%d timers", n);
    blocked("%d timers: %s", n, strerror(errno));
}

static void terminals(char **args)
{
    int n = 0;
    while (n < 5000 && posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0)
        n++;
    if (n >= 1024)
        got("%d terminals, which other attempts now lack: %s", n, strerror(errno));
    blocked("%d terminals: %s", n, strerror(errno));
}

/* ---- disk ---- */

static void disk_fill(char **args)
{
    fill_chunk();
    int fd = open("/task/fill", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), mib = 0;
    while (mib < 8192 && write(fd, chunk, CHUNK) == CHUNK)
        mib++;
    while (mib < 8192 && write(fd, chunk, 512) > 0)
        ;
    if (mib == 8192)
        got("8 GiB were written");
    blocked("%d MiB: %s", mib, strerror(errno));
}

static void disk_inodes(char **args)
{
    char name[32];
    int n = 0;
    mkdir("/task/many", 0700);
    for (; n < 5000000; n++) {
        snprintf(name, sizeof name, "/task/many/%d", n);
        int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            break;
        close(fd);
    }
    if (n == 5000000)
        got("5 million files were made");
    blocked("%d files: %s", n, strerror(errno));
}

static void disk_sparse(char **args)
{
    int fd = open("/task/sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0600), large = 0;
    signal(SIGXFSZ, SIG_IGN);
    refused(ftruncate(fd, INT64_MAX), "a file of 8 EiB");
    refused(fallocate(fd, 0, 0, 1ll << 60), "fallocate of 1 EiB");
    refused(pwrite(fd, "x", 1, 1ll << 50), "a byte at 1 PiB");
    /* As large as it gets: the collector meets those. */
    for (int i = 0; i < 64; i++) {
        char name[32];
        snprintf(name, sizeof name, "/task/sparse-%d", i);
        int one = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        large += ftruncate(one, 15 << 20) == 0;
        close(one);
    }
    blocked("8 EiB: %s; %d files of 15 MiB, all holes, stay for the collector", strerror(errno),
            large);
}

/* ---- time ---- */

static void spin(char **args)
{
    for (int sig = 1; sig < 65; sig++)
        signal(sig, SIG_IGN);
    prctl(PR_SET_NAME, MARK);
    fork();
    for (volatile unsigned long n = 0;; n++)
        ;
}

static void stop_self(char **args)
{
    prctl(PR_SET_NAME, MARK);
    kill(1, SIGSTOP);
    if (fork() == 0)
        kill(getppid(), SIGSTOP);
    for (;;)
        raise(SIGSTOP);
}

static void stop_clock(char **args)
{
    struct itimerval none = {{0, 0}, {0, 0}};
    struct timeval then = {86400, 0};
    setitimer(ITIMER_REAL, &none, NULL);
    syscall(SYS_settimeofday, &then, NULL);
    syscall(SYS_clock_settime, CLOCK_MONOTONIC, &(struct timespec){1, 0});
    kill(1, SIGALRM);
    for (;;)
        sleep(1000);
}

const struct attack attacks_use[] = {
    {"memory-bomb", "allocate and touch without end", MEMORY, THROWAWAY, "it would fill the host",
     memory_touch},
    {"memory-tmpfs", "fill /tmp, which is memory", MEMORY, THROWAWAY, "it would fill the host",
     memory_tmpfs},
    {"memory-shm", "fill /dev/shm", MEMORY, THROWAWAY, "it would fill the host", memory_shm},
    {"memory-memfd", "fill files that have no name", MEMORY, THROWAWAY, "it would fill the host",
     memory_memfd},
    {"memory-pipes", "fill pipes", MEMORY, THROWAWAY, "it would fill the host", memory_pipes},
    {"memory-sockets", "fill socket buffers", MEMORY, THROWAWAY, "it would fill the host",
     memory_sockets},
    {"memory-sysv", "fill System V segments", MEMORY, THROWAWAY, "it would fill the host",
     memory_sysv},
    {"memory-tables", "page tables of 4 TiB", MEMORY, THROWAWAY, "it would fill the host",
     memory_tables},
    {"memory-inodes", "millions of inodes", MEMORY, THROWAWAY, "it would fill the host",
     memory_inodes},
    {"mlock", "lock 64 MiB in memory", "rlimit", ANYWHERE, "", lock_memory},
    {"message-queues", "2000 message queues", "Landlock, rlimit", ANYWHERE,
     "root is above the limit", message_queues},
    {"system-v-ipc", "see and make the host's System V objects", "ipc namespace", ANYWHERE,
     "nothing is there to be seen", system_v},
    {"descriptors", "a million descriptors", "rlimit", ANYWHERE, "a root shell has that limit too",
     descriptors},
    {"inotify", "all inotify instances and watches of the host",
     "ceilings of the jail's user namespace", ANYWHERE, "a host has ceilings too", watches},
    {"timers", "100000 timers", "rlimit", ANYWHERE, "a root shell has that limit too", timers},
    {"terminals", "all terminals of the host", "a small devpts of the jail's own", ANYWHERE,
     "a host has a ceiling too", terminals},
    {"disk-fill", "write until the disk is full", "limit of disk", ALONE, "it would fill the host",
     disk_fill},
    {"disk-inodes", "millions of files", "limit of files", ALONE, "it would fill the host",
     disk_inodes},
    {"disk-sparse", "files of 8 EiB, and many large holes", "limit of file size", ALONE,
     "a host's files may be large", disk_sparse},
    {"spin", "compute without end, ignoring every signal", "limit of wall time", ALONE,
     "it would not end", spin},
    {"stop-self", "stop oneself, parent and pid 1", "limit of wall time", ALONE, "it would not end",
     stop_self},
    {"stop-clock", "stop the clock that the limit is measured by", "limit of wall time", ALONE,
     "it would not end", stop_clock},
    {NULL, NULL, NULL, ANYWHERE, NULL, NULL},
};
