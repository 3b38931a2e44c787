/* The snapshot: a quarantine repository that holds one commit without parents, its tree, and
 * nothing else. A small tree is packed by libgit2 in this process; for a large one `git pack-objects`
 * runs on the quarantine, with its own configuration, and only reads the operator's objects, so
 * nothing that repository configures has any effect. */
#include "controller/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/sha256.h"
#include "controller/git_child.h"
#include "controller/repo.h"

#define DIR_FLAGS     (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define SMALL_ENTRIES 256 /* of a tree that is packed in this process */
#define IDENTITY      "creel <creel@creel.invalid>"

/* Bare, no hooks directory, no alternates; HEAD names a branch that never exists. */
static int make_quarantine(const char *path, int *ret_fd, struct err *err)
{
    static const char *const dirs[] = {"objects", "objects/info", "objects/pack", "refs",
                                       "refs/heads"};
    static const char config[] = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
                                 "\thooksPath = /dev/null\n\tfsmonitor = false\n"
                                 "\tlogAllRefUpdates = false\n[gc]\n\tauto = 0\n";
    static const char head[] = "ref: refs/heads/none\n";
    if (mkdir(path, 0700) < 0) {
        return err_errno(err, ERR_FAIL, "cannot make %s", path);
    }
    int fd = open(path, DIR_FLAGS);
    int rc = fd < 0 ? err_errno(err, ERR_FAIL, "cannot open %s", path) : 0;
    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && rc == 0; i++) {
        if (mkdirat(fd, dirs[i], 0700) < 0) {
            rc = err_errno(err, ERR_FAIL, "cannot make %s/%s", path, dirs[i]);
        }
    }
    const char *const files[][2] = {{"config", config}, {"HEAD", head}};
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        int f = openat(fd, files[i][0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (f < 0 || write_all(f, files[i][1], strlen(files[i][1])) < 0) {
            rc = err_errno(err, ERR_FAIL, "cannot write %s/%s", path, files[i][0]);
        }
        fd_close(&f);
    }
    if (rc < 0) {
        fd_close(&fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

/* Writes the synthetic commit into the quarantine as a loose object. Its time is the base's, so the
 * same base always gives the same root. */
static int write_root(git_repository *repo, const char *base, const char *quarantine,
                      char ret[static TASK_OID_SIZE], struct err *err)
{
    char objects[PATH_MAX + 16], text[512], tree[TASK_OID_SIZE];
    git_commit *commit = NULL;
    git_odb *odb = NULL;
    git_oid oid;
    int rc = 0;
    if (git_oid_fromstr(&oid, base) < 0 || git_commit_lookup(&commit, repo, &oid) < 0) {
        return repo_err(err, ERR_FAIL, "cannot read the base commit");
    }
    git_oid_tostr(tree, sizeof(tree), git_commit_tree_id(commit));
    long long when = (long long)git_commit_time(commit);
    git_commit_free(commit);
    int n = snprintf(text, sizeof(text),
                     "tree %s\nauthor " IDENTITY " %lld +0000\ncommitter " IDENTITY
                     " %lld +0000\n\ncreel: snapshot of %s\n",
                     tree, when, when, base);
    snprintf(objects, sizeof(objects), "%s/objects", quarantine);
    if (git_odb_open(&odb, objects) < 0 ||
        git_odb_write(&oid, odb, text, (size_t)n, GIT_OBJECT_COMMIT) < 0) {
        rc = repo_err(err, ERR_FAIL, "cannot write the root commit");
    } else {
        git_oid_tostr(ret, TASK_OID_SIZE, &oid);
    }
    git_odb_free(odb);
    return rc;
}

/* A descriptor that reads `text`. */
static int text_fd(const char *text, struct err *err)
{
    int fd = memfd_create("creel-stdin", MFD_CLOEXEC);
    if (fd < 0 || write_all(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        err_errno(err, ERR_FAIL, "cannot make a memory file");
        fd_close(&fd);
        return -ERR_FAIL;
    }
    return fd;
}

struct census {
    unsigned entries;
};

static int count_entry(const char *root, const git_tree_entry *entry, void *arg)
{
    struct census *c = arg;
    (void)root;
    (void)entry;
    return ++c->entries > SMALL_ENTRIES ? -1 : 0;
}

/* A tree of few entries; a large blob is no hindrance, it is only compressed once more. */
static bool is_small(git_repository *repo, const char *base)
{
    struct census c = {0};
    git_commit *commit = NULL;
    git_tree *tree = NULL;
    git_oid oid;
    bool small = git_oid_fromstr(&oid, base) == 0 && git_commit_lookup(&commit, repo, &oid) == 0 &&
                 git_commit_tree(&tree, commit) == 0 &&
                 git_tree_walk(tree, GIT_TREEWALK_PRE, count_entry, &c) == 0;
    git_tree_free(tree);
    git_commit_free(commit);
    return small;
}

/* Packs in this process: libgit2 is many times slower at it than git for a large tree, but for a small
 * one starting git costs more than the work. */
static int pack_small(git_repository *repo, const char *quarantine, const char *root,
                      char name[static 64])
{
    char dir[PATH_MAX + 32], objects[PATH_MAX + 16], hex[TASK_OID_SIZE];
    git_packbuilder *pb = NULL;
    git_odb *odb = NULL;
    git_oid oid;
    snprintf(dir, sizeof(dir), "%s/objects/pack", quarantine);
    snprintf(objects, sizeof(objects), "%s/objects", quarantine);
    int rc = git_oid_fromstr(&oid, root);
    if (rc == 0)
        rc = git_repository_odb(&odb, repo);
    if (rc == 0)
        rc = git_odb_add_disk_alternate(odb, objects); /* in memory: where the root commit stands */
    if (rc == 0)
        rc = git_packbuilder_new(&pb, repo);
    if (rc == 0)
        rc = git_packbuilder_insert_commit(pb, &oid);
    if (rc == 0)
        rc = git_packbuilder_write(pb, dir, 0400, NULL, NULL);
    if (rc == 0) {
        git_oid_tostr(hex, sizeof(hex), git_packbuilder_hash(pb));
        snprintf(name, 64, "pack-%s.pack", hex);
    }
    git_packbuilder_free(pb);
    git_odb_free(odb);
    return rc;
}

/* Runs pack-objects; the pack and its index land in objects/pack, and it prints the pack's name. */
static int pack(git_repository *repo, const char *quarantine, const char *root,
                char name[static 64], struct err *err)
{
    char prefix[PATH_MAX + 32], objects[PATH_MAX + 16], line[TASK_OID_SIZE + 1];
    const char *const args[] = {"pack-objects",        "-q",   "--revs",
                                "--delta-base-offset", prefix, NULL};
    struct git_child g = {.git_dir = quarantine, .objects_from = objects, .args = args};
    struct buf out;
    snprintf(prefix, sizeof(prefix), "%s/objects/pack/pack", quarantine);
    snprintf(objects, sizeof(objects), "%sobjects", git_repository_commondir(repo));
    snprintf(line, sizeof(line), "%s\n", root);
    g.in_fd = text_fd(line, err);
    if (g.in_fd < 0) {
        return -ERR_FAIL;
    }
    buf_init(&out, 256);
    int rc = git_child_run(&g, &out, err);
    if (rc == 0 && out.len == 41 && out.data[40] == '\n') {
        out.data[40] = '\0';
        snprintf(name, 64, "pack-%.40s.pack", buf_str(&out));
    }
    if (rc == 0 && !oid_valid(buf_str(&out))) {
        rc = err_set(err, ERR_FAIL, "git pack-objects did not name its pack");
    }
    close(g.in_fd);
    buf_done(&out);
    return rc;
}

/* Size, number of objects and digest of the finished pack. */
static int measure(int dirfd, struct source_pack *p, struct err *err)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "objects/pack/%s", p->name);
    int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 32) {
        fd_close(&fd);
        return err_errno(err, ERR_FAIL, "cannot read the source pack");
    }
    p->bytes = (uint64_t)st.st_size;
    const uint8_t *bytes = mmap(NULL, p->bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED) {
        return err_errno(err, ERR_FAIL, "cannot read the source pack");
    }
    p->objects =
        (uint64_t)bytes[8] << 24 | (uint64_t)bytes[9] << 16 | (uint64_t)bytes[10] << 8 | bytes[11];
    sha256_of(bytes, p->bytes, p->sha256);
    munmap((void *)(uintptr_t)bytes, p->bytes);
    return 0;
}

/* The root commit is in the pack now; the loose copy would only be in the way. */
static void drop_loose(int dirfd, const char *root)
{
    char path[64];
    snprintf(path, sizeof(path), "objects/%.2s/%.38s", root, root + 2);
    unlinkat(dirfd, path, 0);
    snprintf(path, sizeof(path), "objects/%.2s", root);
    unlinkat(dirfd, path, AT_REMOVEDIR);
}

static int snapshot(const struct source *s, const char *quarantine, int dirfd,
                    struct source_pack *p, struct err *err)
{
    git_repository *repo = NULL;
    int rc = repo_open(s->repo, true, &repo, err);
    if (rc == 0) {
        rc = write_root(repo, s->base, quarantine, p->root, err);
    }
    if (rc == 0) {
        /* git also says best why something cannot be packed. */
        bool done = is_small(repo, s->base) && pack_small(repo, quarantine, p->root, p->name) == 0;
        rc = done ? 0 : pack(repo, quarantine, p->root, p->name, err);
    }
    if (rc == 0) {
        drop_loose(dirfd, p->root);
        rc = measure(dirfd, p, err);
    }
    if (rc == 0 && p->bytes > TASK_PACK_MAX) {
        rc = err_set(err, ERR_USAGE, "the source is larger than creel carries (%llu bytes packed)",
                     (unsigned long long)p->bytes);
    }
    git_repository_free(repo);
    return rc;
}

/* Removes what a failed snapshot left, so that it can be tried again. */
static void remove_quarantine(const char *path)
{
    char parent[PATH_MAX];
    struct err ignored = ERR_INIT;
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof(parent)) {
        return;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    int fd = open(parent, DIR_FLAGS);
    if (fd >= 0) {
        tree_remove(fd, slash + 1, &ignored);
        close(fd);
    }
}

int source_snapshot(const struct source *s, const char *quarantine, struct source_pack *ret,
                    struct err *err)
{
    struct source_pack p = {0};
    int dirfd = -1;
    if (quarantine[0] != '/' || strlen(quarantine) >= PATH_MAX - 16) {
        return err_set(err, ERR_FAIL, "quarantine path is not absolute or too long");
    }
    int rc = repo_start(err);
    if (rc < 0) {
        return rc;
    }
    rc = make_quarantine(quarantine, &dirfd, err);
    if (rc == 0) {
        rc = snapshot(s, quarantine, dirfd, &p, err);
        fd_close(&dirfd);
        if (rc < 0) {
            remove_quarantine(quarantine);
        }
    }
    if (rc == 0) {
        *ret = p;
    }
    return rc;
}
