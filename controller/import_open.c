/* First look at what came back: the patch pack is indexed into the import directory (every object
 * hashed, with collision detection), opened beside the source pack, and its commit read. */
#include "controller/import.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <git2/sys/odb_backend.h>
#include <git2/sys/repository.h>

#include "common/file.h"

int import_git_err(struct err *err, const char *what)
{
    const git_error *e = git_error_last();
    /* Out of memory is out of the importer's own limit: their doing. */
    bool system = e == NULL || e->klass == GIT_ERROR_OS;
    return err_set(err, system ? ERR_FAIL : ERR_REFUSED, "%s: %s", what,
                   e != NULL && e->message != NULL ? e->message : "unknown error of libgit2");
}

/* Feeds the pack. What the collector writes holds whole objects only, so a delta is refused before
 * anything is made of it: deltas are how a small pack becomes a huge one. */
static int feed(git_indexer *indexer, int fd, struct err *err)
{
    uint8_t bytes[1u << 16];
    git_indexer_progress stats = {0};
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_errno(err, ERR_FAIL, "cannot read patch.pack");
        }
        if (n == 0) {
            break;
        }
        if (git_indexer_append(indexer, bytes, (size_t)n, &stats) < 0) {
            return import_git_err(err, "damaged patch pack");
        }
        if (stats.total_objects > IMPORT_OBJECTS_MAX) {
            return err_set(err, ERR_REFUSED, "the patch pack holds %u objects, more than %u",
                           stats.total_objects, IMPORT_OBJECTS_MAX);
        }
    }
    if (stats.received_objects < stats.total_objects || stats.total_objects == 0) {
        return err_set(err, ERR_REFUSED, "damaged patch pack: it ends too early");
    }
    if (stats.indexed_objects < stats.total_objects) {
        return err_set(err, ERR_REFUSED, "the patch pack holds deltas, which no collector writes");
    }
    return git_indexer_commit(indexer, &stats) < 0 ? import_git_err(err, "damaged patch pack") : 0;
}

/* Indexes patch.pack; `idx` becomes the path of the index beside its copy. */
static int index_patch(struct import *im, char *idx, size_t size, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    git_indexer *indexer = NULL;
    snprintf(path, sizeof(path), "%s/patch.pack", im->dir);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fd_close(&fd);
        return err_errno(err, ERR_FAIL, "cannot open patch.pack");
    }
    snprintf(path, sizeof(path), "%s/%s", im->dir, im->out);
    int rc;
    if (st.st_size > (off_t)TASK_PACK_MAX) {
        rc = err_set(err, ERR_REFUSED, "the patch pack is larger than creel imports");
    } else if (git_indexer_new(&indexer, path, 0600, NULL, NULL) < 0) {
        rc = import_git_err(err, "cannot index the patch pack");
    } else {
        rc = feed(indexer, fd, err);
    }
    if (rc == 0) {
        snprintf(idx, size, "%s/%s/pack-%s.idx", im->dir, im->out, git_indexer_name(indexer));
    }
    git_indexer_free(indexer);
    close(fd);
    return rc;
}

/* Gives the backend to the database, or frees it. */
static int add_backend(git_odb *odb, git_odb_backend *backend, struct err *err)
{
    if (git_odb_add_backend(odb, backend, 1) < 0) {
        backend->free(backend);
        return import_git_err(err, "cannot open a pack");
    }
    return 0;
}

/* Adds the source pack (`idx` NULL) or the patch pack to a database. */
static int add_pack(struct import *im, git_odb *odb, const char *idx, struct err *err)
{
    char objects[PATH_MAX + 64];
    git_odb_backend *backend = NULL;
    snprintf(objects, sizeof(objects), "%s/quarantine.git/objects", im->dir);
    int rc = idx != NULL ? git_odb_backend_one_pack(&backend, idx)
                         : git_odb_backend_pack(&backend, objects);
    return rc < 0 ? import_git_err(err, "cannot open a pack") : add_backend(odb, backend, err);
}

static int open_odbs(struct import *im, const char *idx, struct err *err)
{
    char path[PATH_MAX + 64];
    if (git_odb_new(&im->source) < 0 || git_odb_new(&im->patch) < 0 || git_odb_new(&im->odb) < 0) {
        return import_git_err(err, "cannot open the packs");
    }
    int rc = add_pack(im, im->source, NULL, err);
    if (rc == 0) {
        rc = add_pack(im, im->patch, idx, err);
    }
    if (rc == 0) {
        rc = add_pack(im, im->odb, NULL, err);
    }
    if (rc == 0) {
        rc = add_pack(im, im->odb, idx, err);
    }
    if (rc < 0) {
        return rc;
    }
    snprintf(path, sizeof(path), "%s/quarantine.git", im->dir);
    if (git_repository_open_bare(&im->repo, path) < 0 ||
        git_repository_set_odb(im->repo, im->odb) < 0) {
        git_error_clear();
        return err_set(err, ERR_FAIL, "cannot open the quarantine repository");
    }
    return 0;
}

/* The commit must be one on ROOT, in the patch pack. ROOT itself is ours. */
static int open_trees(struct import *im, struct err *err)
{
    git_oid root, commit;
    git_commit *source = NULL;
    if (git_oid_fromstr(&root, im->root) < 0 || git_oid_fromstr(&commit, im->commit) < 0 ||
        git_commit_lookup(&source, im->repo, &root) < 0 ||
        git_commit_tree(&im->old_tree, source) < 0) {
        git_commit_free(source);
        return err_set(err, ERR_FAIL, "cannot read the source commit %.40s", im->root);
    }
    git_commit_free(source);
    if (!git_odb_exists_ext(im->patch, &commit, GIT_ODB_LOOKUP_NO_REFRESH) ||
        git_commit_lookup(&im->result, im->repo, &commit) < 0) {
        return err_set(err, ERR_REFUSED, "the patch pack does not hold commit %s", im->commit);
    }
    if (git_commit_parentcount(im->result) != 1 ||
        git_oid_cmp(git_commit_parent_id(im->result, 0), &root) != 0) {
        return err_set(err, ERR_REFUSED, "commit %s is not one commit on what was sent",
                       im->commit);
    }
    return 0;
}

int import_open(struct import *im, struct err *err)
{
    char idx[PATH_MAX + 128];
    int rc = index_patch(im, idx, sizeof(idx), err);
    if (rc == 0) {
        rc = open_odbs(im, idx, err);
    }
    return rc < 0 ? rc : open_trees(im, err);
}
