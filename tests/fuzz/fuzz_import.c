/* The importer on what a hostile host may send back, in this process: packs made from a description
 * (so that hashes and checksums are right and the walk over trees is reached), and packs whose bytes are
 * the input's own. A bad pack is a finding (-ERR_REFUSED), never a failure; what is let through is read
 * again by a reader apart: whole, on the true base, with no name that any file system takes for .git.
 *
 * An input is a byte that says which (even: described, odd: raw), then
 *   raw         the pack, without its trailer
 *   described   objects: a byte of type (blob, tree, raw tree, raw commit), two of length, the content.
 *               A tree's content is entries: a byte of mode, one of the object it names, one of length,
 *               the name. The last tree is the commit's, unless a raw commit comes last. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <git2/sys/odb_backend.h>
#include <openssl/evp.h>

#include "common/file.h"
#include "controller/import.h"
#include "tests/fuzz/fuzz.h"

#define OBJECTS_MAX 64
#define BASE        "1111111111111111111111111111111111111111"

enum { T_BLOB, T_TREE, T_RAW_TREE, T_RAW_COMMIT, T_KINDS };

/* The task's directory with its source pack, made once. */
struct bed {
    char dir[64];
    git_oid root, tree, blob, sub;
};

struct object {
    int type;
    git_oid oid;
};

static void path(const struct bed *b, const char *name, char out[static 128])
{
    snprintf(out, 128, "%s/%s", b->dir, name);
}

static void put(struct pack_writer *w, int type, const void *bytes, size_t n, git_oid *oid)
{
    static const enum pack_type types[] = {PACK_BLOB, PACK_TREE, PACK_TREE, PACK_COMMIT};
    static const git_object_t kinds[] = {GIT_OBJECT_BLOB, GIT_OBJECT_TREE, GIT_OBJECT_TREE,
                                         GIT_OBJECT_COMMIT};
    MUST(git_odb_hash(oid, bytes, n, kinds[type]) == 0);
    MUST(pack_writer_put(w, types[type], bytes, n, NULL) == 0);
}

static void add_entry(struct buf *to, const char *mode, const void *name, size_t n,
                      const git_oid *oid)
{
    buf_adds(to, mode);
    buf_addc(to, ' ');
    buf_add(to, name, n);
    buf_addc(to, 0);
    buf_add(to, oid->id, 20);
}

static void add_commit(struct buf *to, const git_oid *tree, const char *parent)
{
    buf_addf(to, "tree %s\n", git_oid_tostr_s(tree));
    if (parent)
        buf_addf(to, "parent %s\n", parent);
    buf_adds(to, "author a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n");
}

/* A tree with what importers compare against: a file, a directory, a link, a submodule. */
static void put_source(struct bed *b, struct pack_writer *w)
{
    struct buf t;
    git_oid link, module;
    buf_init(&t, 4096);
    put(w, T_BLOB, "one\ntwo\n", 8, &b->blob);
    put(w, T_BLOB, "a", 1, &link);
    memset(&module, 0x11, sizeof module);
    add_entry(&t, "100644", "f", 1, &b->blob);
    put(w, T_TREE, t.data, t.len, &b->sub);
    buf_clear(&t);
    add_entry(&t, "100644", "a", 1, &b->blob);
    add_entry(&t, "40000", "d", 1, &b->sub);
    add_entry(&t, "120000", "l", 1, &link);
    add_entry(&t, "160000", "m", 1, &module);
    put(w, T_TREE, t.data, t.len, &b->tree);
    buf_clear(&t);
    add_commit(&t, &b->tree, NULL);
    put(w, T_RAW_COMMIT, t.data, t.len, &b->root);
    MUST(!t.failed);
    buf_done(&t);
}

static struct pack_writer *open_pack(const char *name, int *fd)
{
    struct pack_writer *w = NULL;
    *fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(*fd >= 0 && pack_writer_new(*fd, 64 << 20, &w, NULL) == 0);
    return w;
}

/* Reads a whole pack into a directory, as git would on approval. */
static void index_pack(const char *pack, const char *into)
{
    uint8_t bytes[4096];
    git_indexer *x = NULL;
    git_indexer_progress stats = {0};
    int fd = open(pack, O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0 && git_indexer_new(&x, into, 0600, NULL, NULL) == 0);
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
        MUST(git_indexer_append(x, bytes, (size_t)n, &stats) == 0);
    MUST(git_indexer_commit(x, &stats) == 0);
    MUST(stats.total_objects == stats.indexed_objects);
    git_indexer_free(x);
    close(fd);
}

/* In memory where that can be: packs are synced. Named by this process's number, for an exit handler gets
 * no argument. */
static void bed_path(char out[static 64])
{
    const char *in = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(out, 64, "%s/creel-fuzz-import.%ld", in, (long)getpid());
}

static void remove_bed(void)
{
    char dir[64];
    bed_path(dir);
    tree_remove(AT_FDCWD, dir, NULL);
}

static void make_bed(struct bed *b)
{
    char name[128], packs[128];
    git_repository *repo = NULL;
    uint64_t size;
    int fd;
    MUST(git_libgit2_init() > 0);
    for (int level = GIT_CONFIG_LEVEL_PROGRAMDATA; level <= GIT_CONFIG_LEVEL_GLOBAL; level++)
        MUST(git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "") == 0);
    MUST(git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0) == 0);
    MUST(git_libgit2_opts(GIT_OPT_SET_PACK_MAX_OBJECTS, (size_t)IMPORT_OBJECTS_MAX) == 0);
    bed_path(b->dir);
    MUST(mkdir(b->dir, 0700) == 0 && atexit(remove_bed) == 0);
    path(b, "quarantine.git", name);
    MUST(git_repository_init(&repo, name, 1) == 0);
    git_repository_free(repo);
    path(b, "source.pack", name);
    struct pack_writer *w = open_pack(name, &fd);
    put_source(b, w);
    MUST(pack_writer_finish(w, &size, NULL) == 0);
    pack_writer_free(w);
    close(fd);
    path(b, "quarantine.git/objects/pack", packs);
    index_pack(name, packs);
}

static void empty_dir(const struct bed *b, const char *name)
{
    char dir[128];
    path(b, name, dir);
    int fd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(fd >= 0 && tree_remove(fd, name, NULL) == 0 && mkdirat(fd, name, 0700) == 0);
    close(fd);
}

/* ---- the pack ---- */

static const git_oid *named(const struct bed *b, const struct object *o, size_t n, uint8_t which,
                            const git_oid *missing)
{
    if (which < n)
        return &o[which].oid;
    switch (which) {
    case 0xff:
        return &b->blob;
    case 0xfe:
        return &b->sub;
    case 0xfd:
        return &b->tree;
    case 0xfc:
        return &b->root;
    default:
        return missing;
    }
}

static void describe_tree(const struct bed *b, const struct object *o, size_t n, const uint8_t *p,
                          size_t len, struct buf *to)
{
    static const char *const modes[] = {"100644",  "100755", "120000", "40000",
                                        "160000",  "100664", "040000", "0",
                                        "1006444", "100600", "",       "10064x"};
    git_oid missing;
    memset(&missing, 0x22, sizeof missing);
    while (len >= 3) {
        size_t name = p[2] < len - 3 ? p[2] : len - 3;
        add_entry(to, modes[p[0] % (sizeof modes / sizeof *modes)], p + 3, name,
                  named(b, o, n, p[1], &missing));
        p += 3 + name;
        len -= 3 + name;
    }
}

/* Writes patch.pack as described; the commit that is named is the last raw one, or one made here. */
static void describe(const struct bed *b, const uint8_t *p, size_t len, git_oid *commit)
{
    struct object o[OBJECTS_MAX];
    char name[128];
    size_t n = 0;
    uint64_t size;
    int fd, last = -1;
    struct buf body;
    path(b, "patch.pack", name);
    struct pack_writer *w = open_pack(name, &fd);
    git_oid tree = b->tree;
    for (; len >= 3 && n < OBJECTS_MAX; n++) {
        size_t want = (size_t)p[1] << 8 | p[2], some = want < len - 3 ? want : len - 3;
        o[n].type = p[0] % T_KINDS;
        buf_init(&body, 1 << 20);
        if (o[n].type == T_TREE)
            describe_tree(b, o, n, p + 3, some, &body);
        else
            buf_add(&body, p + 3, some);
        put(w, o[n].type, body.data, body.len, &o[n].oid);
        buf_done(&body);
        if (o[n].type == T_TREE || o[n].type == T_RAW_TREE)
            tree = o[n].oid;
        last = o[n].type;
        p += 3 + some;
        len -= 3 + some;
    }
    if (last == T_RAW_COMMIT) {
        *commit = o[n - 1].oid;
    } else {
        char root[GIT_OID_HEXSZ + 1];
        git_oid_tostr(root, sizeof root, &b->root);
        buf_init(&body, 4096);
        add_commit(&body, &tree, root);
        put(w, T_RAW_COMMIT, body.data, body.len, commit);
        buf_done(&body);
    }
    MUST(pack_writer_finish(w, &size, NULL) == 0);
    pack_writer_free(w);
    close(fd);
}

/* The input's own bytes with a right trailer. */
static void raw(const struct bed *b, const uint8_t *p, size_t len, git_oid *commit)
{
    char name[128];
    uint8_t sum[EVP_MAX_MD_SIZE];
    path(b, "patch.pack", name);
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(EVP_Digest(p, len, sum, NULL, EVP_sha1(), NULL) == 1);
    MUST(fd >= 0 && write_all(fd, p, len) == 0 && write_all(fd, sum, 20) == 0);
    close(fd);
    *commit = b->root; /* the reading ends before anybody looks for another one */
}

/* ---- what was let through ---- */

static bool looks_like_git(const char *name)
{
    return strcasecmp(name, ".git") == 0 || strcasecmp(name, "git~1") == 0 ||
           strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Every object is there, and every name is one. Depth is bounded by what import_clean lets through. */
static void judge_tree(git_odb *odb, const git_oid *oid)
{
    git_odb_object *o = NULL;
    git_object_t type;
    size_t size;
    MUST(git_odb_read(&o, odb, oid) == 0 && git_odb_object_type(o) == GIT_OBJECT_TREE);
    const uint8_t *p = git_odb_object_data(o), *end = p + git_odb_object_size(o);
    while (p < end) {
        const uint8_t *space = memchr(p, ' ', (size_t)(end - p));
        const uint8_t *nul = space ? memchr(space, 0, (size_t)(end - space)) : NULL;
        MUST(nul && end - nul > 20);
        const char *mode = (const char *)p, *name = (const char *)space + 1;
        git_oid child;
        git_oid_fromraw(&child, nul + 1);
        MUST(name[0] && !strchr(name, '/') && !looks_like_git(name));
        /* As old writers padded it: such a tree may stand in a source. */
        if (strncmp(mode + (*mode == '0'), "40000 ", 6) == 0)
            judge_tree(odb, &child);
        else if (strncmp(mode, "160000 ", 7) == 0)
            MUST(strcmp(name, "m") == 0 && child.id[0] == 0x11); /* as it was */
        else
            MUST(git_odb_read_header(&size, &type, odb, &child) == 0 && type == GIT_OBJECT_BLOB);
        p = nul + 21;
    }
    git_odb_object_free(o);
}

static void add_packs(git_odb *odb, const char *objects)
{
    git_odb_backend *backend = NULL;
    MUST(git_odb_backend_pack(&backend, objects) == 0);
    MUST(git_odb_add_backend(odb, backend, 1) == 0);
}

static void judge_clean(const struct bed *b, const struct import *im)
{
    char clean[128], dir[128], source[128];
    const char *commit = im->record.summary.commit;
    git_odb *odb = NULL;
    git_odb_object *o = NULL;
    git_oid oid, tree;
    empty_dir(b, "check");
    path(b, "check/pack", dir);
    MUST(mkdir(dir, 0700) == 0);
    path(b, "import/" IMPORT_PACK, clean);
    index_pack(clean, dir);
    path(b, "check", dir);
    path(b, "quarantine.git/objects", source);
    MUST(git_odb_new(&odb) == 0);
    add_packs(odb, source);
    add_packs(odb, dir);
    MUST(git_oid_fromstr(&oid, commit) == 0 && git_odb_read(&o, odb, &oid) == 0);
    const char *text = git_odb_object_data(o);
    MUST(git_odb_object_size(o) > 94 && memcmp(text, "tree ", 5) == 0);
    static const char after[] = "\nparent " BASE "\nauthor creel agent <";
    MUST(memcmp(text + 45, after, sizeof after - 1) == 0);
    MUST(git_oid_fromstrn(&tree, text + 5, 40) == 0);
    judge_tree(odb, &tree);
    git_odb_object_free(o);
    git_odb_free(odb);
}

static void judge_record(const struct import *im)
{
    struct err err = ERR_INIT;
    struct review_record again = {0};
    struct buf text;
    buf_init(&text, JSON_BYTES_MAX);
    MUST(json_encode(&review_record_shape, &im->record, &text, &err) == 0);
    MUST(json_decode(&review_record_shape, text.data, text.len, &again, &err) == 0);
    MUST(again.changes.n == im->record.changes.n && again.flags.n == im->record.flags.n);
    json_release(&review_record_shape, &again);
    buf_done(&text);
}

static void release(struct import *im)
{
    git_commit_free(im->result);
    git_tree_free(im->old_tree);
    git_tree_free(im->new_tree);
    git_repository_free(im->repo);
    git_odb_free(im->odb);
    git_odb_free(im->source);
    git_odb_free(im->patch);
    json_release(&review_record_shape, &im->record);
    fd_close(&im->outfd);
}

static void import(const struct bed *b, const git_oid *commit)
{
    char root[GIT_OID_HEXSZ + 1], id[GIT_OID_HEXSZ + 1], out[128];
    struct err err = ERR_INIT;
    struct import im = {.dir = b->dir,
                        .out = "import",
                        .base = BASE,
                        .root = git_oid_tostr(root, sizeof root, &b->root),
                        .commit = git_oid_tostr(id, sizeof id, commit),
                        .branch = "creel/01jd0000000000000000000001",
                        .title = "Do it",
                        .changes_left = IMPORT_CHANGES_BYTES,
                        .flags_left = IMPORT_FLAGS_BYTES};
    path(b, "import", out);
    im.outfd = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(im.outfd >= 0);
    int rc = import_open(&im, &err);
    if (rc == 0)
        rc = import_clean(&im, &err);
    if (rc == 0) {
        judge_clean(b, &im);
        rc = import_compare(&im, &err);
    }
    if (rc == 0)
        judge_record(&im);
    MUST(rc == 0 || (rc == -ERR_REFUSED && err.msg[0]));
    release(&im);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct bed bed; /* libFuzzer gives a target no place of its own */
    git_oid commit;
    if (!bed.dir[0])
        make_bed(&bed);
    if (len < 1)
        return 0;
    empty_dir(&bed, "import");
    if (bytes[0] & 1)
        raw(&bed, bytes + 1, len - 1, &commit);
    else
        describe(&bed, bytes + 1, len - 1, &commit);
    import(&bed, &commit);
    return 0;
}
