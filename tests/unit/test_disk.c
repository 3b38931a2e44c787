/* The attempt's disk, as tmpfs and as encrypted image: limits that are exact, room for the patch, and
 * nothing left, whoever dies when. Images need root, loop devices, dm-crypt and mkfs.ext4. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "tests/unit/cm.h"
#include "common/clock.h"
#include "common/file.h"
#include "proto/task.h"
#include "runner/disk.h"
#include "runner/disk_image.h"

#define MIB       (1024u * 1024u)
#define BYTES     (48ull * MIB)
#define OWNER     0x70000000u
#define WAIT_MS   20000
#define FILES     20000
#define FULL_LESS (256u << 10) /* what outcome.c takes for full */

struct world {
    char dir[64], store[80], at[80];
    struct disk_store s;
    struct disk_image image;
    struct disk disk;
};

/* A mount namespace of our own: nothing stays mounted when the test dies. */
static int world_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    *w = (struct world){.s = DISK_STORE_NONE, .image = DISK_IMAGE_NONE, .disk = DISK_NONE};
    snprintf(w->dir, sizeof w->dir, "/var/tmp/creel-test-disk.XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    snprintf(w->store, sizeof w->store, "%s/store", w->dir);
    snprintf(w->at, sizeof w->at, "%s/at", w->dir);
    if (mkdir(w->at, 0700) < 0)
        return -1;
    if (geteuid() == 0 &&
        (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
        return -1;
    *state = w;
    return 0;
}

static int world_down(void **state)
{
    struct world *w = *state;
    disk_done(&w->disk);
    umount2(w->at, MNT_DETACH);
    if (w->image.name[0])
        disk_image_destroy(&w->image, WAIT_MS);
    disk_store_done(&w->s);
    rmdir(w->at);
    unlink(w->store);
    rmdir(w->store);
    rmdir(w->dir);
    free(w);
    return 0;
}

static void need_root(void)
{
    if (geteuid() == 0)
        return;
    print_message("SKIP: needs root\n");
    skip();
}

static void need_images(struct world *w)
{
    disk_store_open(&w->s, w->store);
    if (w->s.dir >= 0)
        return;
    print_message("SKIP: no encrypted disks here: %s\n", w->s.why);
    if (getenv("CREEL_MUST_WORK_DISKS"))
        fail_msg("CREEL_MUST_WORK_DISKS is set");
    skip();
}

static void attach(struct world *w, uint64_t bytes, bool image)
{
    struct err err = ERR_INIT;
    if (image)
        assert_ok(disk_image_make(&w->s, bytes, OWNER, OWNER, &w->image, &err));
    assert_ok(disk_make(w->at, bytes, image ? w->image.mount : -1, OWNER, OWNER, &w->disk, &err));
    fd_close(&w->image.mount);
}

static int file_at(const struct world *w, const char *name)
{
    int fd = openat(w->disk.root, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* Writes until the disk says that it is full, by ENOSPC and nothing else; how much there was. */
static uint64_t fill(int fd)
{
    char block[65536];
    uint64_t total = 0;
    ssize_t n;
    memset(block, 'x', sizeof block);
    while ((n = write(fd, block, sizeof block)) > 0)
        total += (uint64_t)n;
    assert_int_equal(errno, ENOSPC);
    for (size_t i = 0; i < sizeof block && write(fd, block, 1) == 1; i++)
        total++;
    return total;
}

static void limit_is_exact(struct world *w, bool image)
{
    attach(w, BYTES, image);
    assert_int_equal(disk_used(&w->disk), 0);
    int fd = file_at(w, "task/fill");
    uint64_t written = fill(fd);
    assert_true(written <= BYTES);
    assert_true(written + FULL_LESS >= BYTES);
    assert_true(disk_used(&w->disk) + FULL_LESS >= BYTES);
    assert_true(disk_used(&w->disk) <= BYTES);
    /* All of it comes back. */
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_true(fill(fd) + FULL_LESS >= 2 * BYTES - written);
    fd_close(&fd);
}

/* With every byte and every inode taken, the patch of all of it still has its room. */
static void room_for_patch(struct world *w, bool image)
{
    char name[32];
    attach(w, BYTES, image);
    int fd = file_at(w, "task/fill"), last = 0;
    fill(fd);
    fd_close(&fd);
    for (int i = 0; last >= 0; i++) {
        snprintf(name, sizeof name, "task/%d", i);
        last = openat(w->disk.root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (last >= 0)
            close(last);
        assert_true((uint64_t)i <= disk_inodes(BYTES));
    }
    assert_int_equal(errno, ENOSPC);
    disk_yield(&w->disk);
    fd = file_at(w, "out/patch.pack");
    assert_true(fill(fd) >= BYTES);
    fd_close(&fd);
}

/* Out of inodes is full, and is said so, although hardly a byte is used. */
static void inodes_are_counted(struct world *w, bool image)
{
    char name[32];
    attach(w, BYTES, image);
    for (int i = 0, fd = 0; fd >= 0; i++) {
        snprintf(name, sizeof name, "task/%d", i);
        fd = openat(w->disk.root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    assert_int_equal(errno, ENOSPC);
    assert_true(disk_used(&w->disk) + FULL_LESS >= BYTES);
    assert_true(disk_used(&w->disk) <= BYTES);
}

/* Sizes that are only promised cost nothing, and promises over the limit are not made. */
static void sparse_and_reserved(struct world *w, bool image)
{
    attach(w, BYTES, image);
    int fd = file_at(w, "task/sparse");
    assert_int_equal(ftruncate(fd, 1ll << 40), 0);
    assert_true(disk_used(&w->disk) < MIB);
    assert_int_equal(pwrite(fd, "x", 1, 1ll << 39), 1);
    assert_true(disk_used(&w->disk) < MIB);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)(BYTES + MIB)), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)(BYTES / 2)), 0);
    fd_close(&fd);
}

static void tmpfs_limit(void **state)
{
    need_root();
    limit_is_exact(*state, false);
}

static void tmpfs_patch(void **state)
{
    need_root();
    room_for_patch(*state, false);
}

static void tmpfs_sparse(void **state)
{
    need_root();
    sparse_and_reserved(*state, false);
}

static void image_limit(void **state)
{
    need_images(*state);
    limit_is_exact(*state, true);
}

static void image_patch(void **state)
{
    need_images(*state);
    room_for_patch(*state, true);
}

static void image_sparse(void **state)
{
    need_images(*state);
    sparse_and_reserved(*state, true);
}

static void tmpfs_inodes(void **state)
{
    need_root();
    inodes_are_counted(*state, false);
}

static void image_inodes(void **state)
{
    need_images(*state);
    inodes_are_counted(*state, true);
}

static void image_sizes(void **state)
{
    static const uint64_t sizes[] = {1, 4096, 1 * MIB, 100 * MIB, 1000ull * MIB};
    struct world *w = *state;
    need_images(w);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        attach(w, sizes[i], true);
        disk_done(&w->disk);
        assert_int_equal(umount2(w->at, 0), 0);
        assert_true(disk_image_destroy(&w->image, WAIT_MS));
    }
}

static void many_entries(void **state)
{
    struct world *w = *state;
    char name[64];
    need_images(w);
    attach(w, 256ull * MIB, true);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "task/a-name-as-long-as-names-of-modules-are-%d", i);
        int fd = openat(w->disk.root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
}

static void belongs_to_owner(void **state)
{
    struct world *w = *state;
    struct stat st;
    struct statvfs fs;
    need_images(w);
    attach(w, BYTES, true);
    assert_int_equal(fstat(w->disk.root, &st), 0);
    assert_int_equal(st.st_uid, OWNER);
    assert_int_equal(fstatat(w->disk.root, "task", &st, 0), 0);
    assert_int_equal(st.st_uid, OWNER);
    assert_int_equal(fstatvfs(w->disk.root, &fs), 0);
    assert_int_equal(fs.f_flag & (ST_NOSUID | ST_NODEV), ST_NOSUID | ST_NODEV);
}

/* A file still open is not gone, and said so; when it is closed everything goes by itself. */
static void open_file_is_not_gone(void **state)
{
    struct world *w = *state;
    need_images(w);
    attach(w, BYTES, true);
    struct disk_image copy = w->image;
    int fd = file_at(w, "task/held");
    disk_done(&w->disk);
    umount2(w->at, MNT_DETACH);
    assert_false(disk_image_destroy(&w->image, 50));
    assert_false(loop_gone(&copy.loop));
    fd_close(&fd);
    assert_true(disk_image_destroy(&copy, WAIT_MS));
}

/* Whoever held the image dies: the kernel takes all of it away, with nobody asking. */
static void crash_after_mount(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct disk_image image;
    int ends[2], status;
    need_images(w);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = disk_image_make(&w->s, BYTES, OWNER, OWNER, &image, &err);
        rc = rc < 0 ? rc : (int)write(ends[1], &image, sizeof image);
        _exit(rc != (int)sizeof image);
    }
    assert_int_equal(read(ends[0], &image, sizeof image), sizeof image);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (uint64_t end = clock_mono_us() + WAIT_MS * 1000ull; !loop_gone(&image.loop); usleep(2000))
        assert_true(clock_mono_us() < end);
    assert_true(crypt_map_remove(image.name));
    close(ends[0]);
    close(ends[1]);
}

/* Killed between making the mapping and mounting it: the next start removes what is left. */
static void crash_while_making(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct loop loop;
    char name[CRYPT_NAME_SIZE], path[CRYPT_PATH_SIZE];
    int fd = -1;
    need_images(w);
    int file = openat(w->s.dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(file, MIB), 0);
    assert_ok(loop_attach(file, &loop, &fd, &err));
    snprintf(name, sizeof name, "%sleft", w->s.prefix);
    assert_ok(crypt_map_make(name, 7, loop.number, MIB, path, &err));
    fd_close(&fd);
    fd_close(&file);
    assert_false(loop_gone(&loop));
    disk_store_done(&w->s);
    disk_store_open(&w->s, w->store);
    assert_true(w->s.dir >= 0);
    for (uint64_t end = clock_mono_us() + WAIT_MS * 1000ull; !loop_gone(&loop); usleep(2000))
        assert_true(clock_mono_us() < end);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void no_room(void **state)
{
    struct world *w = *state;
    struct err err = ERR_INIT;
    need_images(w);
    assert_says(disk_image_make(&w->s, 1ull << 50, OWNER, OWNER, &w->image, &err), "on this host");
    assert_int_equal(w->image.mount, -1);
}

/* The directory lies in one that serve owns. */
static void store_is_not_tricked(void **state)
{
    struct world *w = *state;
    need_root();
    assert_int_equal(mkdir(w->store, 0755), 0);
    disk_store_open(&w->s, w->store);
    assert_int_equal(w->s.dir, -1);
    assert_non_null(strstr(w->s.why, "root's alone"));
    assert_int_equal(chmod(w->store, 0700), 0);
    assert_int_equal(chown(w->store, 1, 1), 0);
    disk_store_open(&w->s, w->store);
    assert_non_null(strstr(w->s.why, "root's alone"));
    assert_int_equal(rmdir(w->store), 0);
    assert_int_equal(symlink("/root", w->store), 0);
    disk_store_open(&w->s, w->store);
    assert_int_equal(w->s.dir, -1);
    assert_non_null(strstr(w->s.why, "cannot be opened"));
    assert_int_equal(mount("x", w->at, "tmpfs", 0, "mode=0700"), 0);
    disk_store_open(&w->s, w->at);
    assert_int_equal(w->s.dir, -1);
    assert_non_null(strstr(w->s.why, "in memory"));
}

static void choice(void **state)
{
    assert_false(disk_fits_memory(4096ull * MIB, 2048ull * MIB));
    assert_true(disk_fits_memory(1024ull * MIB, 2048ull * MIB));
    assert_false(disk_fits_memory(1024ull * MIB + 1, 2048ull * MIB));
    assert_true(disk_patch_room(UINT64_MAX) < 2 * TASK_PACK_MAX);
}

#define WORLD(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choice), WORLD(tmpfs_limit),
        WORLD(tmpfs_patch),       WORLD(tmpfs_sparse),
        WORLD(tmpfs_inodes),      WORLD(store_is_not_tricked),
        WORLD(image_limit),       WORLD(image_inodes),
        WORLD(image_patch),       WORLD(image_sparse),
        WORLD(image_sizes),       WORLD(many_entries),
        WORLD(belongs_to_owner),  WORLD(open_file_is_not_gone),
        WORLD(crash_after_mount), WORLD(crash_while_making),
        WORLD(no_room),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
