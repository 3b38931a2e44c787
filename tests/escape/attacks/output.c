/* Output: of the log, where it goes to a terminal and into files of the operator's, and of the work
 * tree, where a collector reads it. Each prints or plants; what must not happen is seen outside. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/escape/attacks/attack.h"

static char block[1u << 16];

static size_t number(char **args, size_t otherwise)
{
    return args[0] ? strtoul(args[0], NULL, 10) : otherwise;
}

static void flood(char **args)
{
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i % 2 ? '\n' : 'y';
    for (;;)
        if (write(1, block, sizeof block) < 0)
            break;
}

/* So many MiB of one line. */
static void long_line(char **args)
{
    size_t mib = number(args, 64);
    memset(block, 'x', sizeof block);
    for (size_t left = mib << 20; left > 0;) {
        ssize_t n = write(1, block, left < sizeof block ? left : sizeof block);
        if (n <= 0)
            exit(1);
        left -= (size_t)n;
    }
    exit(0);
}

static void escapes(char **args)
{
    static const char text[] = "\033]0;" MARK "\007"           /* title */
                               "\033]52;c;Y3JlZWw=\007"        /* clipboard */
                               "\033[2J\033[H\033[8m"          /* clear, home, hidden */
                               "\033P$q\"p\033\\\033[6n\033[c" /* questions a terminal answers */
                               "\033]8;;file:///etc/shadow\033\\link\033]8;;\033\\"
                               "\x9b"
                               "2J\x90q\x9c" /* the same in one byte each */
                               "\xc2\x9b"
                               "2J" /* and in UTF-8 */
                               "a\bb\rc\x0b\x0c\x7f"
                               "\xe2\x80\xae"
                               "desrever\xe2\x80\xac\n"; /* right to left */
    write(1, text, sizeof text - 1);
    exit(0);
}

static void bytes(char **args)
{
    static const char text[] = "nul \0 nul, not UTF-8 \xff\xfe\xc0\xaf\xed\xa0\x80, cut \xe2\x82";
    write(1, text, sizeof text - 1);
    for (int i = 0; i < 4096; i++)
        block[i] = (char)i;
    write(2, block, 4096);
    exit(0);
}

/* What the runner, the controller and people say, said by the job, then a failure. */
static void forged(char **args)
{
    static const char text[] =
        "\0\0\0\x10\x12{\"reason\":\"x\"}"
        "\nstate succeeded\noutcome "
        "succeeded\n{\"version\":1,\"event\":\"end\",\"state\":\"succeeded\"}\n"
        "creel: task succeeded\nexit code 0\ntests passed\n";
    write(1, text, sizeof text - 1);
    write(2, text, sizeof text - 1);
    exit(3);
}

static void closed(char **args)
{
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    usleep(300000);
    exit(4);
}

/* ---- the work tree ---- */

static void names(char **args)
{
    static const char *const bad[] = {
        "new\nline",
        "\033]0;" MARK "\007",
        "\xff\xfe",
        "\xc0\xaf",
        "tab\tand\rreturn",
        "..\\..\\x",
        "-rf",
        "--upload-pack=x",
        " ",
        "'\"$(touch x)`",
        ".git\xe2\x80\x8c",
        ".GiT",
        "git~1",
        "GIT~1",
        ".git ",
        ".git.",
        ".git::$INDEX_ALLOCATION",
        "COM1",
        "a:b",
        "\xe2\x80\xae"
        "gpj.exe",
        ".gitmodules ",
    };
    size_t many = number(args, 20000);
    char name[300];
    mkdir("many", 0755);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(name, sizeof name, "many/%s", bad[i]);
        close(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        close(open(bad[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    for (size_t i = 0; i < many; i++) {
        snprintf(name, sizeof name, "many/%zu\n\033[2J\xff", i);
        close(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    memset(name, 'n', 255);
    name[255] = 0;
    close(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    exit(0);
}

/* Deeper than any path can say, with a file at the bottom. */
static void deep(char **args)
{
    size_t levels = number(args, 20000);
    for (size_t i = 0; i < levels; i++)
        if (mkdir("d", 0755) < 0 || chdir("d") < 0)
            exit(0);
    close(open("bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    exit(0);
}

static void specials(char **args)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "socket"};
    mkfifo("fifo", 0666);
    mkfifo("hello.txt.new", 0666);
    rename("hello.txt.new", "hello.txt"); /* in the place of a file that the collector knows */
    bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&un, sizeof un);
    mknod("whiteout", S_IFCHR | 0600, makedev(0, 0)); /* the one device that needs no privilege */
    symlink("/dev/zero", "zero");
    symlink("/proc/self/fd/0", "stdin");
    symlink("/proc/self/environ", "environ");
    symlink("loop", "loop");
    symlink("../../../../../../etc/shadow", "up");
    mkdir("locked", 0755);
    close(open("locked/in", O_WRONLY | O_CREAT | O_CLOEXEC, 0));
    chmod("locked", 0);
    close(open("unreadable", O_WRONLY | O_CREAT | O_CLOEXEC, 0));
    close(open("setuid", O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
    chmod("setuid", 06755);
    exit(0);
}

/* Swaps a file for a link to one of the host's, and a directory for a link to /etc, for as long as it
 * lives, from a process that outlives the command. */
static void swapper(char **args)
{
    const char *aim = args[0] ? args[0] : "/etc/shadow";
    mkdir("dir", 0755);
    close(open("dir/shadow", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    symlink("/etc", "link-to-etc");
    close(open("file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    symlink(aim, "link-to-file");
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            setsid();
            signal(SIGTERM, SIG_IGN);
            for (;;) {
                syscall(316 /* renameat2 */, AT_FDCWD, "dir", AT_FDCWD, "link-to-etc",
                        2 /* exchange */);
                syscall(316, AT_FDCWD, "file", AT_FDCWD, "link-to-file", 2);
            }
        }
    usleep(200000);
    exit(0);
}

/* So many MiB that no packing makes smaller. */
static void huge(char **args)
{
    size_t mib = number(args, 48);
    int in = open("/dev/urandom", O_RDONLY | O_CLOEXEC),
        out = open("huge", O_WRONLY | O_CREAT, 0644);
    for (size_t i = 0; i < mib * 16; i++)
        if (read(in, block, sizeof block) < 0 || write(out, block, sizeof block) < 0)
            exit(1);
    exit(0);
}

/* What tells one attempt from another: leaves traces everywhere, or looks for them. */
static void neighbour(char **args)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    socklen_t len = (socklen_t)(sizeof(sa_family_t) + 1 + strlen(MARK "-jail"));
    memcpy(un.sun_path + 1, MARK "-jail", strlen(MARK "-jail"));
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = bind(s, (struct sockaddr *)&un, len) == 0;
    bool file = open("/tmp/" MARK "-n", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) >= 0;
    bool shared = shm_open("/" MARK "-n", O_RDWR | O_CREAT | O_EXCL, 0666) >= 0;
    bool task = open("/task/" MARK "-n", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) >= 0;
    if (!bound || !file || !shared || !task)
        got("somebody was here before: name %d, /tmp %d, /dev/shm %d, /task %d", bound, file,
            shared, task);
    printf("= ready -\n");
    fflush(stdout);
    sleep((unsigned)number(args, 5));
    blocked("each had a name, /tmp, /dev/shm and /task of its own");
}

const struct attack attacks_output[] = {
    {"log-flood", "print without end", "limits of log and wall time", ALONE, "no control", flood},
    {"log-long-line", "one line without end", "frames, not lines", ALONE, "no control", long_line},
    {"log-escapes", "take the operator's terminal by escapes", "made visible on a terminal", ALONE,
     "no control", escapes},
    {"log-bytes", "NUL and bytes that are no UTF-8", "frames of bytes", ALONE, "no control", bytes},
    {"log-forged", "print what only the runner says", "frames of a type of their own", ALONE,
     "no control", forged},
    {"log-closed", "close all output, then go on", "the end is the jail's, not the pipe's", ALONE,
     "no control", closed},
    {"tree-names", "thousands of file names with control bytes", "names are bytes", ALONE,
     "no control", names},
    {"tree-deep", "directories deeper than a path can say", "the collector's own bounds", ALONE,
     "no control", deep},
    {"tree-specials", "fifos, sockets, devices, links in the work tree",
     "only files, links and directories", ALONE, "no control", specials},
    {"tree-swap", "swap files for links while they are collected",
     "everything is dead before collect", ALONE, "no control", swapper},
    {"tree-huge", "a patch as large as the disk", "limit of disk, sizes checked", ALONE,
     "no control", huge},
    {"neighbour", "meet another attempt", "namespaces, own disk", ALONE, "no control", neighbour},
    {NULL, NULL, NULL, ANYWHERE, NULL, NULL},
};
