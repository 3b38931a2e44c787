/* libgit2, started so that nothing outside of our own arguments has a say in what it does. */
#include <git2.h>

#include "runner/tree.h"

int tree_git_err(struct err *err, const char *what)
{
    const git_error *e = git_error_last();
    return err_set(err, ERR_FAIL, "%s: %s", what,
                   e != NULL && e->message != NULL ? e->message : "unknown error of libgit2");
}

int tree_start(struct err *err)
{
    static const int levels[] = {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
                                 GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA};
    if (git_libgit2_init() < 0) {
        return tree_git_err(err, "cannot start libgit2");
    }
    int rc = 0;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        rc |= git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
    }
    rc |= git_libgit2_opts(GIT_OPT_SET_PACK_MAX_OBJECTS, (size_t)TREE_PACK_OBJECTS_MAX);
    /* Ours is the only repository in sight, and the jail's ids are not those that made it. */
    rc |= git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    /* The indexer has hashed every object already; reading one again need not. */
    rc |= git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 0);
    rc |= git_libgit2_opts(GIT_OPT_DISABLE_PACK_KEEP_FILE_CHECKS, 1);
    return rc < 0 ? tree_git_err(err, "cannot configure libgit2") : 0;
}
