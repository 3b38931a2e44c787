/* The jail from inside: programs in real jails say what they see and what they may do. */
#include "tests/unit/jail_fixture.h"

#include "runner/cache_mount.h"
#include "runner/job_files.h"
#include "runner/repo_token.h"
#include "runner/tools.h"

#include <ctype.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/capability.h>

#define NEED_JAIL(f)      \
    do {                  \
        if (!(f)->usable) \
            skip();       \
    } while (0)

static void says(struct jail_fixture *f, const char *script, const char *out)
{
    struct ran r;
    fixture_sh(f, script, &r);
    if (strcmp(buf_str(&r.out), out) != 0)
        fail_msg("%s: \"%s\" (%s), not \"%s\"", script, buf_str(&r.out), buf_str(&r.err), out);
    ran_done(&r);
}

static void identity(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    says(f, "id -u; id -g; id -un; hostname; pwd; umask", "1000\n1000\nagent\njail\n/task\n0022\n");
    says(f, "grep -cE '^(Cap...:.0{16}|NoNewPrivs:.1|Seccomp:.2)$' /proc/self/status", "7\n");
    says(f, "tr -d '\\0' </proc/1/cmdline", "creel-init");
    says(f,
         "cat /proc/1/environ /proc/1/maps /proc/1/mem 2>/dev/null; ls /proc/1/fd /proc/1/cwd/"
         " 2>/dev/null; echo",
         "\n");
}

static void descriptors(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    struct ran r;
    /* 3 is the directory that ls reads. */
    fixture_run(f, (const char *const[]){"ls", "/proc/self/fd", NULL}, &r);
    assert_string_equal(buf_str(&r.out), "0\n1\n2\n3\n");
    ran_done(&r);
    says(f, "readlink /proc/$$/fd/0", "/dev/null\n");
    says(f, "echo again >/dev/stdout; echo x >/dev/null; tty", "again\nnot a tty\n");
}

static void environment(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    setenv("CREEL_TEST_CANARY", "leaked", 1);
    strv_add(&f->task.tests, "env | sort; exit 3");
    fixture_run(f, (const char *const[]){"env", NULL}, &r);
    assert_non_null(strstr(buf_str(&r.out), "CREEL_TASK_TOKEN=a5a5"));
    /* Once: the command has it, the test does not. */
    const char *first = strstr(buf_str(&r.out), "TOKEN");
    assert_null(strstr(first + 1, "TOKEN"));
    assert_non_null(strstr(first, "GIT_TERMINAL_PROMPT=0"));
    assert_null(strstr(buf_str(&r.out), "leaked"));
    assert_int_equal(r.nsteps, 4);
    assert_int_equal(r.steps[3].kind, STEP_TEST);
    assert_int_equal(r.steps[3].exit, 3);
    ran_done(&r);
}

#define TOKEN64 "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"

static void own_environment(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    strv_add(&f->task.env, "KEY=a" TASK_TOKEN_MARK "b" TASK_TOKEN_MARK);
    strv_add(&f->task.env, "LANG=C");
    strv_add(&f->task.env, "EMPTY=");
    strv_add(&f->task.env, "KEY2=${CREEL_TASK_TOKE}");
    strv_add(&f->task.setup, "echo setup $KEY");
    strv_add(&f->task.tests, "echo test $KEY $LANG");
    fixture_sh(f, "echo $KEY $KEY2; env | grep -c LANG=; echo $LANG ${EMPTY-unset}", &r);
    assert_string_equal(buf_str(&r.out), "setup a" TOKEN64 "b" TOKEN64 "\n"
                                         "a" TOKEN64 "b" TOKEN64 " ${CREEL_TASK_TOKE}\n"
                                         "1\nC\ntest C.UTF-8\n");
    ran_done(&r);
}

static void add_file(struct jail_fixture *f, const char *path, const char *line)
{
    struct task_file *file = json_list_push(&f->task.files, &task_file_shape);
    assert_non_null(file);
    snprintf(file->path, sizeof file->path, "%s", path);
    if (line)
        assert_int_equal(strv_add(&file->lines, line), 0);
}

static void files(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    add_file(f, ".a/b/c.toml", "key = \"" TASK_TOKEN_MARK "\"");
    assert_int_equal(strv_add(&((struct task_file *)f->task.files.items)->lines, "two"), 0);
    add_file(f, "plain", "x");
    add_file(f, "empty", NULL);
    /* There before setup; the tests see them too. */
    strv_add(&f->task.setup,
             "cd; cat .a/b/c.toml plain; stat -c '%a %U %n' .a/b .a/b/c.toml empty");
    strv_add(&f->task.tests, "cat ~/plain");
    fixture_sh(f, "echo more >>~/plain", &r);
    assert_string_equal(buf_str(&r.out), "key = \"" TOKEN64 "\"\ntwo\nx\n"
                                         "700 agent .a/b\n600 agent .a/b/c.toml\n"
                                         "600 agent empty\nx\nmore\n");
    ran_done(&r);
}

/* Whatever stands in the way of a file is not followed and not written over. */
static void file_in_the_way(void **state)
{
    struct jail_fixture *f = *state;
    char base[] = "/tmp/creel-files.XXXXXX";
    static const char *const paths[] = {"link", "dir/x", "there"};
    struct cell_order *o = calloc(1, sizeof *o + 256);
    struct err err = ERR_INIT;
    (void)f;
    assert_non_null(mkdtemp(base));
    int home = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(home >= 0 && o);
    assert_int_equal(symlinkat("outside", home, "link"), 0);
    assert_int_equal(mkdirat(home, "real", 0700), 0);
    assert_int_equal(symlinkat("real", home, "dir"), 0);
    close(openat(home, "there", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    for (size_t i = 0; i < 3; i++) {
        o->nfiles = 1;
        memcpy(o->text, paths[i], strlen(paths[i]) + 1);
        memcpy(o->text + strlen(paths[i]) + 1, "y\n", 3);
        err = ERR_INIT;
        assert_int_equal(job_files_place(home, o, &err), -ERR_FAIL);
        assert_non_null(strstr(err.msg, paths[i]));
    }
    assert_int_equal(faccessat(home, "outside", F_OK, 0), -1);
    assert_int_equal(faccessat(home, "real/x", F_OK, 0), -1);
    memcpy(o->text, "ok/deep\0text\n", 14);
    assert_ok(job_files_place(home, o, &err));
    assert_int_equal(faccessat(home, "ok/deep", R_OK, 0), 0);
    fd_close(&home);
    free(o);
    assert_ok(tree_remove(AT_FDCWD, base, &err));
}

static void put_program(const char *base, const char *name, mode_t mode)
{
    static const char text[] = "#!/bin/sh\necho tool \"$@\"\n";
    char path[256];
    snprintf(path, sizeof path, "%s/%s", base, name);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write_all(fd, text, sizeof text - 1) == 0 && fchmod(fd, mode) == 0);
    fd_close(&fd);
}

static void tools(void **state)
{
    struct jail_fixture *f = *state;
    char base[] = "/tmp/creel-tools.XXXXXX", *path = NULL;
    struct strv names = {0};
    struct err err = ERR_INIT;
    NEED_JAIL(f);
    assert_non_null(mkdtemp(base));
    int dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0 && fchmod(dir, 0755) == 0 && mkdirat(dir, "bin", 0755) == 0);
    put_program(base, "bin/agent", 0755);
    put_program(base, "bin/ls", 0755); /* the system's goes first */
    put_program(base, "bin/secret", 0700);
    put_program(base, "bin/Odd name", 0755);
    assert_int_equal(symlinkat("agent", dir, "bin/linked"), 0);
    tools_list(base, &names);
    assert_int_equal(names.n, 3);
    assert_string_equal(names.v[0], "agent");
    assert_string_equal(names.v[1], "linked");
    assert_string_equal(names.v[2], "ls");
    strv_done(&names);

    assert_ok(tools_check(base, &path, &err));
    f->setup.kind.tools = path;
    says(f, "agent x; linked y; ls -d /; touch /opt/creel/tools/bin/z 2>&1 | grep -c Read-only",
         "tool x\ntool y\n/\n1\n");
    says(f, "grep ' /opt/creel/tools ' /proc/self/mountinfo | grep -c 'ro,nosuid,nodev'", "1\n");
    f->setup.kind.tools = NULL;
    says(f, "agent x || ls /opt/creel/tools", "");
    free(path);

    /* What others can change is given to nobody. */
    assert_int_equal(fchmod(dir, 0777), 0);
    tools_list(base, &names);
    assert_int_equal(names.n, 0);
    assert_int_equal(tools_check(base, &path, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "may be written by others"));
    fd_close(&dir);
    assert_ok(tree_remove(AT_FDCWD, base, &err));
}

static void steps(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    /* What setup starts serves the command; what the command starts is dead before the tests. */
    strv_add(&f->task.setup, "sleep 600 & echo $! >/tmp/setup");
    strv_add(&f->task.tests, "kill -0 $(cat /tmp/setup) 2>/dev/null && echo alive; "
                             "set -- /proc/[0-9]*; echo $#");
    strv_add(&f->task.tests, "true");
    fixture_sh(f,
               "kill -0 $(cat /tmp/setup) && echo up; (trap '' TERM HUP; setsid sleep 600 &) ;"
               "exit 7",
               &r);
    assert_string_equal(buf_str(&r.out), "up\n2\n");
    assert_int_equal(r.nsteps, 8);
    assert_int_equal(r.steps[1].kind, STEP_SETUP);
    assert_int_equal(r.steps[3].kind, STEP_COMMAND);
    assert_int_equal(r.steps[3].exit, 7);
    assert_int_equal(r.steps[6].index, 1);
    assert_int_equal(r.steps[6].ended, 0);
    assert_int_equal(r.steps[7].ended, 1);
    assert_int_equal(r.end.exit, 0);
    ran_done(&r);
}

static void failed_setup(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    strv_add(&f->task.setup, "exit 9");
    strv_add(&f->task.setup, "echo second");
    strv_add(&f->task.tests, "echo test");
    fixture_sh(f, "echo command", &r);
    assert_string_equal(buf_str(&r.out), "");
    assert_int_equal(r.nsteps, 2);
    assert_int_equal(r.steps[1].exit, 9);
    ran_done(&r);
}

static void bad_commands(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    fixture_run(f, (const char *const[]){"no-such-program", NULL}, &r);
    assert_string_equal(buf_str(&r.err), "cannot run no-such-program: No such file or directory\n");
    assert_int_equal(r.steps[1].exit, 127);
    ran_done(&r);
    fixture_sh(f, "kill -SEGV $$", &r);
    assert_int_equal(r.steps[1].exit, -1);
    assert_int_equal(r.steps[1].signal, SIGSEGV);
    ran_done(&r);
    /* Nothing inside can end or stop pid 1. */
    says(f, "kill -9 1; kill -STOP 1; kill -TERM 1; echo on", "on\n");
}

static void kernel_is_shut(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    says(f,
         "mount -t tmpfs x /tmp 2>/dev/null; unshare -U true 2>/dev/null; "
         "chroot / true 2>/dev/null; umount /proc 2>/dev/null; echo $(id -u)",
         "1000\n");
    says(f,
         "for i in kcore keys kmsg timer_list sysrq-trigger kallsyms; do cat /proc/$i 2>/dev/null; "
         "done | head -c 100; ls /proc/bus /proc/irq /proc/fs; cat /proc/pressure/* 2>/dev/null",
         "/proc/bus:\n\n/proc/fs:\n\n/proc/irq:\n");
    says(f,
         "echo x 2>/dev/null >/proc/sys/kernel/hostname; echo b 2>/dev/null "
         ">/proc/sysrq-trigger; cat /proc/sys/user/max_user_namespaces; ls /sys 2>/dev/null;"
         "ls /dev/mem /dev/vda /dev/kmsg /dev/fuse /dev/kvm /dev/net 2>/dev/null; ls /dev",
         "0\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n");
    says(f,
         "cp /bin/sh /task/s; chmod 4755 /task/s; /task/s -c 'id -u'; mknod /task/n b 8 0 "
         "2>/dev/null; ls /task",
         "1000\ns\n");
}

/* Pid 1 has the job's user id, and what it is limited to the tests inherit. */
/* Later steps begin as pid 1 is. Each of these could slow it, since it has the job's user id. */
static void first_process_keeps_its_pace(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    if (access("/usr/bin/chrt", X_OK) < 0 || access("/usr/bin/taskset", X_OK) < 0)
        skip();
    says(f,
         "for c in 'renice -n 7 -p 1' 'renice -n 7 -g 1' 'renice -n 7 -u 1000' 'chrt -b -p 0 1'"
         "  'chrt -i -p 0 1' 'taskset -p 1 1' 'ionice -c 3 -p 1' 'ionice -c 3 -u 1000'; do"
         " $c >/dev/null 2>&1 && echo \"$c\"; done;"
         "nice -n 3 taskset 1 chrt -b 0 ionice -c 3 echo own",
         "own\n");
}

static void first_process_keeps_its_limits(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    long before = 0, after = 0;
    NEED_JAIL(f);
    if (access("/usr/bin/prlimit", X_OK) < 0)
        skip();
    strv_add(&f->task.tests, "ulimit -Hn");
    fixture_sh(f, "ulimit -Hn; prlimit --pid=1 --nofile=64:64", &r);
    assert_non_null(strstr(buf_str(&r.err), "Operation not permitted"));
    assert_int_equal(sscanf(buf_str(&r.out), "%ld %ld", &before, &after), 2);
    assert_int_equal(after, before);
    ran_done(&r);
    strv_done(&f->task.tests);
    says(f, "prlimit --nofile=100:100 sh -c 'ulimit -Hn'", "100\n");
}

/* 1 is what keeps a core from a program that core_pattern pipes to: 0 does not. A limit of the
 * shell's own unit would hide it. */
static void no_core_leaves(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    says(f,
         "grep 'core file' /proc/self/limits | tr -s ' '; grep -c . /proc/sys/kernel/core_pattern",
         "Max core file size 1 1 bytes \n1\n");
    /* Nor may a job lower it again, and programs that try go on. */
    says(f, "ulimit -c 0 && ulimit -S -c 0 && grep 'core file' /proc/self/limits | tr -s ' '",
         "Max core file size 1 1 bytes \n");
    says(f, "cd /tmp; sh -c 'kill -SEGV $$'; ls", "");
}

/* As serve does it: a user of the host's that the jail's user namespace does not know. */
static void write_token(int dir, const char *token)
{
    struct err err = ERR_INIT;
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
                               setresuid(65534, 65534, 65534) < 0))
            _exit(2);
        if (token)
            _exit(repo_token_write(dir, token, strlen(token), &err) < 0);
        repo_token_wipe(dir);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Prints what it reads each time that it is another; tries to change it. */
static const char token_script[] =
    "t=/run/creel/repo-token; old=; for i in 1 2 3; do "
    "while new=$(cat $t); [ \"$new\" = \"$old\" ]; do sleep 0.02; done; echo \"got:$new\"; "
    "old=$new; done; "
    "(echo x >$t) 2>/dev/null && echo wrote; rm -f $t 2>/dev/null && echo removed; "
    "touch /run/creel/y 2>/dev/null && echo made; mv $t /run/creel/z 2>/dev/null && echo moved; "
    "chmod 0 $t 2>/dev/null && echo closed; cp /bin/true /run/creel 2>/dev/null && echo copied; "
    "exit 0";

/* A token comes into a running jail, is exchanged, and is gone; the job can read it and no more. */
static void a_token_reaches_a_running_jail(void **state)
{
    struct jail_fixture *f = *state;
    struct err err = ERR_INIT;
    struct cell cell;
    struct ran r = {0};
    int pack = -1, fds[FDPASS_MAX];
    size_t n = 0;
    NEED_JAIL(f);
    buf_init(&r.out, FIXTURE_OUTPUT_MAX);
    buf_init(&r.err, FIXTURE_OUTPUT_MAX);
    strv_done(&f->task.command);
    strv_add(&f->task.command, "sh");
    strv_add(&f->task.command, "-c");
    strv_add(&f->task.command, token_script);
    f->setup.kind.repo_token = true;
    assert_ok(cell_open(&f->setup, &cell, &pack, &err));
    fd_close(&pack);
    assert_ok(cell_start(&cell, WARDEN_RUN, fds, &n, &err));
    assert_true(n > JAIL_PIPES + 1);
    int dir = fds[JAIL_PIPES];
    fds[JAIL_PIPES] = -1;
    static const char *const seen[] = {"got:ghs_first\n", "got:ghs_second\n"};
    static const char *const tokens[] = {"ghs_first", "ghs_second"};
    for (int i = 0; i < 2; i++) {
        write_token(dir, tokens[i]);
        char line[64] = "";
        for (size_t at = 0; at < strlen(seen[i]); at++)
            assert_int_equal(read(fds[JAIL_OUT], line + at, 1), 1);
        assert_string_equal(line, seen[i]);
    }
    write_token(dir, NULL);
    close(dir);
    fixture_drain(fds, n, &r);
    assert_ok(cell_ended(&cell, &r.end, &err));
    r.wiped = cell_close(&cell);
    assert_string_equal(buf_str(&r.out), "got:\n");
    assert_true(r.wiped.disk && r.wiped.processes);
    ran_done(&r);
}

static void host_is_out_of_sight(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    says(f, "for i in /*; do case $i in /lib*) ;; *) printf '%s ' $i ;; esac; done",
         "/base.git /bin /cache /dev /etc /home /keep /opt /out /proc /root /run /sbin /task /tmp "
         "/usr "
         "/var ");
    says(f, "ls /run /run/creel /home", "/home:\nagent\n\n/run:\ncreel\n\n/run/creel:\n");
    /* Of the host's /etc nothing but what every program needs and nobody minds. */
    says(f,
         "for i in /etc/*; do case ${i#/etc/} in alternatives|fonts|gitconfig|group|hostname|hosts|"
         "java-*-openjdk|ld.so.cache|localtime|mime.types|nsswitch.conf|passwd|protocols|resolv."
         "conf|services|shells|ssl) ;; "
         "*) echo $i ;; esac; done; ls /etc/ssl | grep -v -e certs -e openssl.cnf",
         "");
    fixture_sh(f,
               "for d in / /usr /usr/bin /etc /etc/ssl /base.git /out /run /home /var /dev; do "
               "touch $d/x 2>/dev/null && echo $d; done; cat /etc/shadow; readlink -f "
               "/proc/self/cwd/../../../../..",
               &r);
    assert_string_equal(buf_str(&r.out), "/\n");
    ran_done(&r);
}

static void only_loopback(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    if (access("/usr/bin/python3", X_OK) < 0)
        skip();
    says(f,
         "/usr/bin/python3 - <<'E'\n"
         "import socket,errno\n"
         "for a in ('1.1.1.1','169.254.169.254'):\n"
         "    try: socket.create_connection((a,80),2)\n"
         "    except OSError as e: print(errno.errorcode[e.errno])\n"
         "try: socket.getaddrinfo('example.org',80)\n"
         "except socket.gaierror: print('no name')\n"
         "s=socket.create_server(('127.0.0.1',0)); c=socket.create_connection(s.getsockname())\n"
         "print([i[1] for i in socket.if_nameindex()])\n"
         "E",
         "ENETUNREACH\nENETUNREACH\nno name\n['lo']\n");
}

/* What an agent's own sandbox does: bubblewrap with everything of its own. It works by policy only, and
 * even then reaches no file, device or network that the jail has not. */
static void sandbox_in_the_jail(void **state)
{
    static const char bwrap[] =
        "bwrap --unshare-all --ro-bind / / --tmpfs /tmp --dev /dev --proc /proc --bind /task /task "
        "--die-with-parent sh -c 'echo in $$; touch /task/out /usr/x 2>/dev/null; ls /proc | grep "
        "-c "
        "^[0-9]; ls /task'";
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    if (access("/usr/bin/bwrap", X_OK) < 0) {
        print_message("SKIPPED: no bubblewrap here (apt-get install bubblewrap)\n");
        skip();
    }
    fixture_sh(f, bwrap, &r);
    assert_string_equal(buf_str(&r.out), "");
    if (!strstr(buf_str(&r.err), "namespace"))
        fail_msg("not stopped as meant: %s", buf_str(&r.err));
    ran_done(&r);
    f->setup.kind.nested = true;
    says(f, bwrap, "in 2\n4\nout\n");
    /* Root of its own namespace is nobody on the host: not the kernel's settings, not its devices. */
    says(f,
         "unshare -Urm sh -c 'id -u; echo x >/proc/sys/kernel/core_pattern; mknod /tmp/d b 8 0; "
         "mount -o remount,rw /usr; touch /usr/x; mount -o remount,suid,dev /task; "
         "mount -t ext4 /dev/vda /tmp; cat /proc/kmsg; head -c 1 /proc/kcore; "
         "echo c >/proc/sysrq-trigger; cat /etc/shadow' 2>/dev/null; echo end",
         "0\nend\n");
    says(f,
         "for i in $(seq 200); do unshare -U sleep 5 2>/dev/null & done; sleep 1; "
         "pgrep -c sleep | { read n; [ $n -le 65 ] && echo few; }",
         "few\n");
    /* Nor many of the other kinds, each held by a descriptor: the kernel counts their memory to nobody. */
    says(f,
         "/usr/bin/python3 -c 'import ctypes, os\n"
         "unshare = ctypes.CDLL(None).unshare\n"
         "unshare(0x10000000)\n"
         "for flag, name in ((1 << 30, \"net\"), (1 << 17, \"mnt\"), (1 << 27, \"ipc\"),\n"
         "                   (1 << 26, \"uts\"), (1 << 25, \"cgroup\")):\n"
         "    held = []\n"
         "    while len(held) < 100 and unshare(flag) == 0:\n"
         "        held.append(os.open(\"/proc/self/ns/\" + name, 0))\n"
         "    print(name, 32 <= len(held) <= 64)'",
         "net True\nmnt True\nipc True\nuts True\ncgroup True\n");
}

#define IMAGE "/tmp/creel-test-image"
#define BUSYBOX                                                                           \
    "rm -rf " IMAGE "; mkdir -p " IMAGE "/bin; cp /bin/busybox " IMAGE "/bin/; cd " IMAGE \
    "; for i in $(busybox --list); do [ $i = busybox ] || ln -s busybox bin/$i; done; "

static void shell(const char *script)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-ec", script, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static bool no_busybox(void)
{
    if (access("/bin/busybox", X_OK) == 0)
        return false;
    print_message("SKIPPED: no static busybox to make an image of (apt-get install "
                  "busybox-static)\n");
    return true;
}

static int image_away(void **state)
{
    shell("rm -rf " IMAGE);
    return fixture_down(state);
}

/* An image is the run's root, read-only; what is ours lies over it. */
static void image_is_the_root(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    if (no_busybox())
        skip();
    shell(BUSYBOX
          "mkdir etc; echo theirs >etc/motd; echo theirs >etc/passwd; chmod -R go=u,go-w .");
    f->setup.kind.image = IMAGE;
    says(f, "cat /etc/motd; id -un; head -n1 /etc/passwd | cut -c1-4; ls /usr 2>/dev/null; pwd",
         "theirs\nagent\nroot\n/task\n");
    says(f,
         "for d in / /bin /etc /var /dev; do touch $d/x 2>/dev/null && echo $d; done; "
         "touch /task/x /tmp/x /home/agent/x && echo work; echo n >/dev/null; "
         "grep ' / ' /proc/self/mountinfo | grep -c ' ro,nosuid,nodev.* overlay '",
         "work\n1\n");
    /* Another attempt on the same image sees nothing of the first, and the image is as it was. */
    says(f, "ls /task /tmp /home/agent", "/home/agent:\n\n/task:\n\n/tmp:\n");
    shell("test ! -e " IMAGE "/task && test ! -e " IMAGE "/proc");
}

/* Its own files cannot lead a mount astray, nor take the place of ours. */
static void hostile_image(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    if (no_busybox())
        skip();
    shell(BUSYBOX "mkdir -p x/null; ln -s x dev; ln -s /etc proc; ln -s /proc etc; ln -s / task; "
                  "ln -s ../../../../../.. home; : >tmp; ln -s /usr var; ln -s /proc/self/fd run; "
                  "ln -s /dev/null root; chmod -R go=u,go-w .");
    f->setup.kind.image = IMAGE;
    says(f,
         "for d in dev proc etc task home home/agent tmp var var/tmp run dev/pts dev/shm; do "
         "[ -h /$d ] && echo link $d; [ -d /$d ] || echo no $d; done; cd /proc/self && "
         "cat /proc/sys/user/max_user_namespaces; stat -c %t.%T /dev/null; ls -l /proc/1/exe "
         ">/dev/null 2>&1; head -c4 /etc/passwd; echo; ls -d /proc/[0-9]* | wc -l",
         "0\n1.3\nroot\n4\n");
    says(f, "for i in kcore keys sysrq-trigger; do cat /proc/$i; done 2>/dev/null; ls /proc/acpi",
         "");
}

#define KEPT "/tmp/creel-test-cache"

static int cache_away(void **state)
{
    shell("rm -rf " KEPT);
    return fixture_down(state);
}

/* A kept cache is there, may be written in every way, and is as it was afterwards. */
static void cache_is_a_layer(void **state)
{
    struct jail_fixture *f = *state;
    char owner[32];
    NEED_JAIL(f);
    if (!cache_mount_on_tmpfs()) {
        print_message(
            "SKIPPED: no attributes on this kernel's tmpfs: there a cache takes a disk image\n");
        skip();
    }
    snprintf(owner, sizeof owner, "%d", f->setup.rooted ? JAIL_UID : (int)geteuid());
    setenv("OWNER", owner, 1);
    shell("rm -rf " KEPT "; mkdir -p " KEPT "/d/e; cd " KEPT
          "; echo 1 >a; echo 2 >d/b; echo 3 >d/e/c; "
          "chmod 0700 .; chown -R $OWNER:$OWNER .");
    f->setup.kind.cache = KEPT;
    says(f,
         "cd ~/.cache && cat a d/b d/e/c && stat -c %u a && echo more >>a && cat a && mv a z && "
         "rm -r d && ls && touch new && rm z && ls",
         "1\n2\n3\n1000\n1\nmore\nz\nnew\n");
    says(f, "cd ~/.cache && cat a d/b d/e/c && ls", "1\n2\n3\na\nd\n");
    shell("cd " KEPT "; test \"$(cat a d/b d/e/c | tr -d '\\n')\" = 123; test ! -e new");
}

static void disk_is_bounded(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    f->task.policy.limits[LIMIT_DISK] = 8u << 20;
    fixture_sh(f,
               "dd if=/dev/zero of=/task/x bs=1M 2>&1 | grep -o 'No space.*'; echo y >/tmp/y; "
               "echo z >/dev/shm/z; wc -c </tmp/y",
               &r);
    assert_string_equal(buf_str(&r.out), "No space left on device\n0\n");
    assert_int_equal(r.end.usage.disk_peak, 8u << 20);
    ran_done(&r);
    /* One inode a page, and some: empty files run out too. */
    fixture_sh(f, "seq 9000 | xargs touch 2>/dev/null; ls | wc -l", &r);
    long files = strtol(buf_str(&r.out), NULL, 10);
    assert_true(files > 2000 && files < 3100);
    ran_done(&r);
    says(f, "mkdir /task/a /task/b; echo 1 >/task/a/f; mv /task/a/f /task/b/ && cat /task/b/f",
         "1\n");
}

static void processes_are_bounded(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    f->task.policy.limits[LIMIT_PIDS] = 40;
    fixture_sh(f, "i=0; while [ $i -lt 100 ]; do sleep 600 & i=$((i+1)); done", &r);
    assert_non_null(strstr(buf_str(&r.err), "fork"));
    assert_true(r.wiped.processes && r.wiped.disk && r.wiped.cgroup && r.wiped.network);
    ran_done(&r);
    strv_add(&f->task.tests, "set -- /proc/[0-9]*; echo $#");
    fixture_run(f, (const char *const[]){"bash", "-c", ":(){ :|:& };:; sleep 0.3", NULL}, &r);
    /* pid 1 and sh: the bomb is gone before the test. */
    assert_string_equal(buf_str(&r.out), "2\n");
    ran_done(&r);
}

static bool may_bind_oom_score(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[2];
    assert_int_equal(syscall(SYS_capget, &head, have), 0);
    return have[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective & CAP_TO_MASK(CAP_SYS_RESOURCE);
}

/* An attempt goes first when the host's memory runs out, and no job changes that. */
static void first_to_go(void **state)
{
    struct jail_fixture *f = *state;
    NEED_JAIL(f);
    says(f, "cat /proc/self/oom_score_adj /proc/1/oom_score_adj", "800\n800\n");
    says(f, "echo 900 >/proc/self/oom_score_adj && cat /proc/self/oom_score_adj", "900\n");
    if (!may_bind_oom_score()) {
        print_message("SKIP: without CAP_SYS_RESOURCE nobody can bind a score\n");
        skip();
    }
    says(f, "echo 799 2>/dev/null >/proc/self/oom_score_adj; cat /proc/self/oom_score_adj",
         "800\n");
}

/* Watchers are counted for whoever made the jail: for root, where the runner is root's. */
static void watchers_are_bounded(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    char script[128];
    int got, instances, watches, host;
    NEED_JAIL(f);
    if (access("/usr/bin/perl", X_OK) < 0)
        skip();
    static const char ceilings[] = "cd /proc/sys; cat user/max_inotify_instances "
                                   "user/max_inotify_watches fs/inotify/max_user_instances";
    strv_add(&f->task.tests, ceilings);
    snprintf(script, sizeof script,
             "my $n = 0; while ($n < 4000 && syscall(%d, 0) >= 0) { $n++ } print \"$n\\n\";",
             SYS_inotify_init1);
    fixture_run(f, (const char *const[]){"perl", "-e", script, NULL}, &r);
    assert_int_equal(sscanf(buf_str(&r.out), "%d %d %d %d", &got, &instances, &watches, &host), 4);
    assert_in_range(instances, 1, 64);
    assert_true(2 * instances <= host);
    assert_true(got <= instances);
    assert_in_range(watches, 1, 65536);
    ran_done(&r);
    /* Several slots have to share what is there, and leave the host a half. */
    f->setup.slots = 16;
    fixture_run(f, (const char *const[]){"true", NULL}, &r);
    assert_int_equal(sscanf(buf_str(&r.out), "%d %d %d", &instances, &watches, &host), 3);
    assert_true(instances <= 64 && 32 * instances <= host);
    ran_done(&r);
}

static size_t entries(const char *path)
{
    size_t n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static size_t mounts(void)
{
    size_t n = 0;
    int c;
    FILE *in = fopen("/proc/self/mountinfo", "re");
    assert_non_null(in);
    while ((c = fgetc(in)) != EOF)
        n += c == '\n';
    fclose(in);
    return n;
}

/* Processes that are copies of this program: keepers and first processes of jails. */
static size_t copies(void)
{
    char self[4096], other[4096], path[64];
    struct dirent *e;
    size_t n = 0;
    DIR *d = opendir("/proc");
    ssize_t len = readlink("/proc/self/exe", self, sizeof self);
    assert_true(d && len > 0);
    while ((e = readdir(d))) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        snprintf(path, sizeof path, "/proc/%.20s/exe", e->d_name);
        n += readlink(path, other, sizeof other) == len && memcmp(self, other, (size_t)len) == 0;
    }
    closedir(d);
    return n;
}

static void nothing_leaks(void **state)
{
    struct jail_fixture *f = *state;
    struct ran r;
    NEED_JAIL(f);
    says(f, "true", "");
    size_t fds = entries("/proc/self/fd"), points = mounts();
    for (int i = 0; i < 200; i++) {
        fixture_run(f, (const char *const[]){"true", NULL}, &r);
        assert_int_equal(r.end.exit, 0);
        assert_true(r.wiped.processes && r.wiped.disk && r.wiped.cgroup && r.wiped.network);
        ran_done(&r);
    }
    assert_int_equal(entries("/proc/self/fd"), fds);
    assert_int_equal(mounts(), points);
    assert_int_equal(copies(), 1);
}

static void status_check(void **state)
{
    static const char good[] = "Name:\tx\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
                               "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
                               "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    struct err err = ERR_INIT;
    char text[sizeof good];
    assert_ok(jail_check_status(good, &err));
    memcpy(text, good, sizeof good);
    *(strstr(text, "CapBnd") + 12) = '4';
    assert_says(jail_check_status(text, &err), "CapBnd");
    memcpy(text, good, sizeof good);
    *(strstr(text, "Privs:\t") + 7) = '0';
    assert_says(jail_check_status(text, &err), "NoNewPrivs");
    memcpy(text, good, sizeof good);
    *strstr(text, "Seccomp") = 'X';
    assert_says(jail_check_status(text, &err), "Seccomp");
    assert_says(jail_check_status("", &err), "CapInh");
}

#define JAIL_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_check),
        JAIL_TEST(identity),
        JAIL_TEST(descriptors),
        JAIL_TEST(environment),
        JAIL_TEST(own_environment),
        JAIL_TEST(files),
        JAIL_TEST(file_in_the_way),
        JAIL_TEST(tools),
        JAIL_TEST(steps),
        JAIL_TEST(failed_setup),
        JAIL_TEST(bad_commands),
        JAIL_TEST(kernel_is_shut),
        JAIL_TEST(first_process_keeps_its_pace),
        JAIL_TEST(first_process_keeps_its_limits),
        JAIL_TEST(no_core_leaves),
        JAIL_TEST(a_token_reaches_a_running_jail),
        JAIL_TEST(host_is_out_of_sight),
        JAIL_TEST(only_loopback),
        JAIL_TEST(sandbox_in_the_jail),
        cmocka_unit_test_setup_teardown(image_is_the_root, fixture_up, image_away),
        cmocka_unit_test_setup_teardown(hostile_image, fixture_up, image_away),
        cmocka_unit_test_setup_teardown(cache_is_a_layer, fixture_up, cache_away),
        JAIL_TEST(disk_is_bounded),
        JAIL_TEST(processes_are_bounded),
        JAIL_TEST(first_to_go),
        JAIL_TEST(watchers_are_bounded),
        JAIL_TEST(nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
