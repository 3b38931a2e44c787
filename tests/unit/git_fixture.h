/* For unit tests about git: scripts run in a scratch directory with nobody's configuration, and
 * objects written byte for byte, so that trees which git itself would refuse can be made. */
#ifndef TESTS_UNIT_GIT_FIXTURE_H
#define TESTS_UNIT_GIT_FIXTURE_H

#include "tests/unit/tool.h"

#include <git2.h>
#include <git2/sys/odb_backend.h>

#include "tests/unit/cm.h"

static inline void git_fixture_env(void)
{
    setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
    setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
    setenv("GIT_AUTHOR_NAME", "a", 1);
    setenv("GIT_AUTHOR_EMAIL", "a@example.invalid", 1);
    setenv("GIT_COMMITTER_NAME", "a", 1);
    setenv("GIT_COMMITTER_EMAIL", "a@example.invalid", 1);
    setenv("LC_ALL", "C", 1);
}

/* Runs a script with the scratch directory as its own; it must succeed. What it printed is in
 * t->out, without the last newline. */
static inline const char *sh(struct tool *t, const char *script)
{
    char text[8192];
    snprintf(text, sizeof(text), "cd %s && set -e\n%s", t->dir, script);
    int status = TOOL_RUN(t, NULL, "sh", "-c", text);
    if (status != 0)
        fail_msg("script ended with %d: %s\n%s", status, script, t->out);
    size_t n = strlen(t->out);
    if (n > 0 && t->out[n - 1] == '\n')
        t->out[n - 1] = '\0';
    return t->out;
}

/* As sh(), with the output copied to `to`, which holds an object id. */
static inline void sh_oid(struct tool *t, const char *script, char to[static 41])
{
    const char *out = sh(t, script);
    assert_int_equal(strlen(out), 40);
    memcpy(to, out, 41);
}

/* Puts a line behind the lines in `list`. */
static inline void list_add(char *list, size_t size, const char *line)
{
    size_t n = strlen(list);
    assert_true(n + strlen(line) + 2 <= size);
    snprintf(list + n, size - n, "%s\n", line);
}

/* A raw tree: entries are added as the test says, in any order, with any name and mode. */
struct raw_tree {
    size_t n;
    uint8_t bytes[1 << 16];
};

static inline void raw_add(struct raw_tree *t, const char *mode, const char *name, size_t name_len,
                           const char *oid)
{
    git_oid id;
    assert_int_equal(git_oid_fromstr(&id, oid), 0);
    t->n += (size_t)snprintf((char *)t->bytes + t->n, sizeof(t->bytes) - t->n, "%s ", mode);
    memcpy(t->bytes + t->n, name, name_len);
    t->n += name_len;
    t->bytes[t->n++] = 0;
    memcpy(t->bytes + t->n, id.id, 20);
    t->n += 20;
}

/* Writes any bytes as an object of a repository's object directory. */
static inline void raw_put(struct tool *t, const char *objects, git_object_t type,
                           const void *bytes, size_t n, char oid[static 41])
{
    git_odb *odb = NULL;
    git_oid id;
    assert_int_equal(git_odb_open(&odb, tool_path(t, objects)), 0);
    assert_int_equal(git_odb_write(&id, odb, bytes, n, type), 0);
    git_oid_tostr(oid, 41, &id);
    git_odb_free(odb);
}

/* A commit with that tree; parents: none or one. */
static inline void raw_commit(struct tool *t, const char *objects, const char *tree,
                              const char *parent, char oid[static 41])
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "tree %s\n%s%s%sauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n",
                     tree, parent ? "parent " : "", parent ? parent : "", parent ? "\n" : "");
    raw_put(t, objects, GIT_OBJECT_COMMIT, text, (size_t)n, oid);
}

#endif
