/* Remote, push and the forge's process, see the header. */
#include "controller/pull_request.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/broker/forge_call.h"
#include "controller/git_child.h"
#include "controller/repo.h"

#define PULL_FILE "pr.json"

/* The address as the operator wrote it: libgit2 would give it rewritten. */
static int configured(git_repository *repo, struct remote *r, struct err *err)
{
    static const char *const keys[] = {"pushurl", "url"};
    git_config *config = NULL;
    char key[REMOTE_NAME_SIZE + 32];
    const char *value = NULL;
    int rc = 0;
    if (git_repository_config_snapshot(&config, repo) < 0)
        return repo_err(err, ERR_FAIL, "cannot read the repository's configuration");
    for (size_t i = 0; i < 2 && !value; i++) {
        snprintf(key, sizeof key, "remote.%s.%s", r->name, keys[i]);
        if (git_config_get_string(&value, config, key) < 0)
            value = NULL;
    }
    if (!value)
        rc = err_set(err, ERR_USAGE, "remote %s has no address", r->name);
    else if (strlen(value) >= sizeof r->url)
        rc = err_set(err, ERR_USAGE, "remote %s: its address is too long", r->name);
    else
        memcpy(r->url, value, strlen(value) + 1);
    git_config_free(config);
    return rc;
}

static int choose(git_repository *repo, const char *name, struct remote *r, struct err *err)
{
    git_strarray names = {0};
    const char *found = NULL;
    int rc = 0;
    if (git_remote_list(&names, repo) < 0)
        return repo_err(err, ERR_FAIL, "cannot read the repository's remotes");
    for (size_t i = 0; i < names.count && !found; i++)
        if (strcmp(names.strings[i], name ? name : "origin") == 0)
            found = names.strings[i];
    if (!found && !name && names.count == 1)
        found = names.strings[0];
    /* A name is an argument of git push. */
    if (!found || found[0] == '-' || strlen(found) >= sizeof r->name)
        rc = name ? err_set(err, ERR_USAGE, "the repository has no remote %.100s", name)
                  : err_set(err, ERR_USAGE, "the repository has no remote origin: say --remote");
    else
        snprintf(r->name, sizeof r->name, "%s", found);
    git_strarray_dispose(&names);
    return rc;
}

/* refs/remotes/<name>/HEAD, which git clone makes. */
static void remembered_base(git_repository *repo, struct remote *r)
{
    char ref[REMOTE_NAME_SIZE + 32], prefix[REMOTE_NAME_SIZE + 32];
    git_reference *head = NULL;
    snprintf(ref, sizeof ref, "refs/remotes/%s/HEAD", r->name);
    snprintf(prefix, sizeof prefix, "refs/remotes/%s/", r->name);
    if (git_reference_lookup(&head, repo, ref) == 0) {
        const char *to = git_reference_symbolic_target(head);
        if (to && strncmp(to, prefix, strlen(prefix)) == 0 &&
            forge_branch_valid(to + strlen(prefix)))
            snprintf(r->base, sizeof r->base, "%s", to + strlen(prefix));
    }
    git_reference_free(head);
}

int remote_find(const char *repo_path, const char *name, struct remote *out, struct err *err)
{
    git_repository *repo = NULL;
    struct remote r = {0};
    int rc = repo_start(err);
    if (rc == 0)
        rc = repo_open(repo_path, true, &repo, err);
    if (rc == 0)
        rc = choose(repo, name, &r, err);
    if (rc == 0)
        rc = configured(repo, &r, err);
    if (rc == 0) {
        remembered_base(repo, &r);
        *out = r;
    }
    git_repository_free(repo);
    return rc;
}

/* The line of --porcelain that says why a ref was not taken. */
static const char *rejection(const char *out, size_t *ret_n)
{
    const char *at = out[0] == '!' ? out : strstr(out, "\n!");
    at = at ? strchr(at, '\t') : NULL;
    at = at ? strchr(at + 1, '\t') : NULL;
    if (!at)
        return NULL;
    *ret_n = strcspn(at + 1, "\n");
    return at + 1;
}

int pull_request_push(const struct task_row *t, const struct remote *remote, struct err *err)
{
    char spec[TASK_OID_SIZE + TASK_BRANCH_SIZE + 16];
    /* A tree of the agent's must not make git read its .gitmodules. */
    const char *const args[] = {"-c",
                                "advice.pushUpdateRejected=false",
                                "push",
                                "--porcelain",
                                "--no-verify",
                                "--no-follow-tags",
                                "--recurse-submodules=no",
                                remote->name,
                                spec,
                                NULL};
    git_repository *repo = NULL;
    struct buf out;
    snprintf(spec, sizeof spec, "%s:refs/heads/%s", t->commit, t->branch);
    int rc = repo_start(err);
    if (rc == 0)
        rc = repo_open(t->repo, true, &repo, err);
    if (rc < 0)
        return rc;
    struct git_child g = {
        .git_dir = git_repository_commondir(repo), .args = args, .in_fd = -1, .as_operator = true};
    buf_init(&out, 65536);
    rc = git_child_run(&g, &out, err);
    size_t n = 0;
    const char *why = rc < 0 ? rejection(buf_str(&out), &n) : NULL;
    if (why)
        rc = err_set(err, ERR_FAIL, "remote %s did not take branch %s: %.*s", remote->name,
                     t->branch, n > 200 ? 200 : (int)n, why);
    buf_done(&out);
    git_repository_free(repo);
    return rc;
}

/* The process: our own program, what to do on its standard input. */
static int start(const char *dir, int in, int out, pid_t *ret, struct err *err)
{
    char self[] = "creel", verb[] = "forge-call";
    char *argv[] = {self, verb, (char *)(uintptr_t)dir, NULL}; /* posix_spawn only reads them */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    int e = posix_spawn(ret, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    errno = e;
    return e ? err_errno(err, ERR_FAIL, "cannot start creel forge-call") : 0;
}

static int read_all(int fd, struct buf *to)
{
    for (;;) {
        uint8_t *room = buf_room(to, 8192);
        ssize_t n = room ? read(fd, room, 8192) : -1;
        if (n < 0 && room && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? 0 : -1;
        buf_wrote(to, (size_t)n);
    }
}

static int read_told(const struct buf *text, int status, struct pull *out, struct err *err)
{
    struct forge_told told;
    if (text->failed || !WIFEXITED(status) || text->len == 0)
        return err_set(err, ERR_FAIL, "creel forge-call ended without an answer");
    int rc = json_decode(&forge_told_shape, text->data, text->len, &told, err);
    if (rc < 0)
        return err_wrap(err, "creel forge-call");
    if (told.code != ERR_NONE) {
        bool known = told.code > ERR_NONE && told.code <= ERR_REFUSED;
        return err_set(err, known ? (enum err_code)told.code : ERR_FAIL, "%s", told.message);
    }
    *out = told.pull;
    return 0;
}

int pull_request_open(const char *dir, const struct pull_ask *ask, struct pull *out,
                      struct err *err)
{
    int in[2] = {-1, -1}, back[2] = {-1, -1}, status = 0;
    struct buf text, told;
    pid_t pid = -1;
    buf_init(&text, JSON_BYTES_MAX);
    buf_init(&told, 65536);
    int rc = json_encode(&pull_ask_shape, ask, &text, err);
    if (rc == 0 && (pipe2(in, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0))
        rc = err_errno(err, ERR_FAIL, "cannot make a pipe");
    if (rc == 0)
        rc = start(dir, in[0], back[1], &pid, err);
    fd_close(&in[0]);
    fd_close(&back[1]);
    /* It reads all before it says anything; one that dies meanwhile has no answer. */
    if (rc == 0)
        (void)!write_all(in[1], text.data, text.len);
    fd_close(&in[1]);
    if (rc == 0)
        (void)!read_all(back[0], &told);
    fd_close(&back[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (rc == 0)
        rc = read_told(&told, status, out, err);
    buf_done(&text);
    buf_done(&told);
    return rc;
}

int pull_request_save(const struct paths *p, const char *id, const struct pull *pull,
                      struct err *err)
{
    struct buf text;
    int fd = paths_task_dir(p, id, false, err);
    if (fd < 0)
        return fd;
    buf_init(&text, 65536);
    int rc = json_encode(&pull_shape, pull, &text, err);
    if (rc == 0)
        rc = file_replace(fd, PULL_FILE, text.data, text.len, 0600, err);
    buf_done(&text);
    fd_close(&fd);
    return rc;
}

bool pull_request_load(const struct paths *p, const char *id, struct pull *out)
{
    struct err ignored = ERR_INIT;
    struct buf text;
    int fd = paths_task_dir(p, id, false, &ignored);
    if (fd < 0)
        return false;
    buf_init(&text, 65536);
    bool read_it = file_read(fd, PULL_FILE, &text, &ignored) == 0 &&
                   json_decode(&pull_shape, text.data, text.len, out, &ignored) == 0;
    buf_done(&text);
    fd_close(&fd);
    return read_it;
}
