/* The operator's repository through libgit2, see the header. libgit2 runs no hook, no filter of the
 * configuration and no monitor, so looking is safe whoever owns what is looked at. */
#include "controller/repo.h"

#include <string.h>

int repo_err(struct err *err, enum err_code code, const char *what)
{
    const git_error *e = git_error_last();
    return err_set(err, code, "%s: %s", what,
                   e != NULL && e->message != NULL ? e->message : "unknown error of libgit2");
}

int repo_start(struct err *err)
{
    /* Extensions that change nothing for a reader of objects and references. */
    static const char *extensions[] = {"worktreeconfig", "partialclone", "preciousobjects",
                                       "relativeworktrees"};
    if (git_libgit2_init() < 0) {
        return repo_err(err, ERR_FAIL, "cannot start libgit2");
    }
    int rc = git_libgit2_opts(GIT_OPT_SET_EXTENSIONS, extensions,
                              sizeof(extensions) / sizeof(extensions[0]));
    rc |= git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    return rc < 0 ? repo_err(err, ERR_FAIL, "cannot configure libgit2") : 0;
}

int repo_open(const char *dir, bool exact, git_repository **ret, struct err *err)
{
    int rc = git_repository_open_ext(ret, dir, exact ? GIT_REPOSITORY_OPEN_NO_SEARCH : 0, NULL);
    if (rc >= 0) {
        return 0;
    }
    const git_error *e = git_error_last();
    const char *why = e != NULL && e->message != NULL ? e->message : "";
    if (rc == GIT_ENOTFOUND) {
        return err_set(err, ERR_USAGE, "%s: no git repository here%s", dir,
                       exact ? "" : " or above");
    }
    if (strstr(why, "objectformat") != NULL) {
        return err_set(err, ERR_USAGE,
                       "%s: the repository uses SHA-256 objects, which creel cannot carry yet",
                       dir);
    }
    return err_set(err, ERR_USAGE, "%s: cannot open the git repository: %s", dir, why);
}
