/* The signed task: its table, and what a table cannot say. Decoding trusts nothing, but is only
 * ever called on bytes whose signature held. */
#include "proto/task.h"

#include <stdlib.h>
#include <string.h>

bool oid_valid(const char *oid)
{
    return strspn(oid, "0123456789abcdef") == TASK_OID_SIZE - 1 && oid[TASK_OID_SIZE - 1] == 0;
}

static int check_names(const struct task *t, struct err *err)
{
    char task[ID_SIZE];

    if (!id_valid(t->id))
        return err_set(err, ERR_FAIL, "task.id: not a task id");
    if (!attempt_id_valid(t->attempt))
        return err_set(err, ERR_FAIL, "task.attempt: not an attempt id");
    attempt_id_task(t->attempt, task);
    if (strcmp(task, t->id) != 0)
        return err_set(err, ERR_FAIL, "task.attempt: of another task than task.id");
    if (!key_fingerprint_valid(t->iss))
        return err_set(err, ERR_FAIL, "iss: not a key fingerprint");
    if (t->aud_host[0] == 0)
        return err_set(err, ERR_FAIL, "aud.host: empty");
    if (!key_fingerprint_valid(t->aud_host_key))
        return err_set(err, ERR_FAIL, "aud.host_key: not a key fingerprint");
    return 0;
}

static int check_times(const struct task *t, struct err *err)
{
    if (t->nbf > t->exp || t->iat > t->exp)
        return err_set(err, ERR_FAIL, "exp: before nbf or iat");
    if (t->exp - t->iat > TASK_LIFE_MAX_S)
        return err_set(err, ERR_FAIL, "exp: a life of more than %d s", TASK_LIFE_MAX_S);
    if (t->fence == 0)
        return err_set(err, ERR_FAIL, "fence: zero");
    return 0;
}

static int check_repo(const struct task *t, struct err *err)
{
    if (!oid_valid(t->base))
        return err_set(err, ERR_FAIL, "repo.base: not a commit id");
    if (!oid_valid(t->root))
        return err_set(err, ERR_FAIL, "repo.root: not a commit id");
    if (strncmp(t->branch, "creel/", 6) != 0 || strcmp(t->branch + 6, t->id) != 0)
        return err_set(err, ERR_FAIL, "repo.branch: not creel/<task id>");
    if (t->pack_bytes == 0 || t->pack_bytes > TASK_PACK_MAX)
        return err_set(err, ERR_FAIL, "repo.pack_bytes: out of range");
    return 0;
}

/* Shell lines: an empty one would pass as a test without testing anything. */
static int check_lines(const char *key, const struct strv *lines, struct err *err)
{
    if (lines->n > TASK_TESTS_MAX)
        return err_set(err, ERR_FAIL, "%s: %zu lines, at most %d are possible", key, lines->n,
                       TASK_TESTS_MAX);
    for (size_t i = 0; i < lines->n; i++) {
        if (lines->v[i][strspn(lines->v[i], " \t\n")] == 0)
            return err_set(err, ERR_FAIL, "%s[%zu]: empty", key, i);
    }
    return 0;
}

static int check_command(const struct task *t, struct err *err)
{
    if (t->command.n == 0 || t->command.v[0][0] == 0)
        return err_set(err, ERR_FAIL, "command: empty");
    if (t->command.n > TASK_ARGS_MAX)
        return err_set(err, ERR_FAIL, "command: %zu words, at most %d are possible", t->command.n,
                       TASK_ARGS_MAX);
    return 0;
}

static int check_env(const struct strv *env, struct err *err)
{
    if (env->n > TASK_ENV_MAX)
        return err_set(err, ERR_FAIL, "env: %zu variables, at most %d are possible", env->n,
                       TASK_ENV_MAX);
    for (size_t i = 0; i < env->n; i++) {
        const char *v = env->v[i];
        size_t name = strspn(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
        if (name == 0 || v[name] != '=' || (v[0] >= '0' && v[0] <= '9'))
            return err_set(err, ERR_FAIL, "env[%zu]: '%.40s' is not NAME=value", i, v);
        if (strncmp(v, "CREEL_", 6) == 0 || strncmp(v, "LD_", 3) == 0)
            return err_set(err, ERR_FAIL, "env[%zu]: '%.*s' is not the task's to set", i, (int)name,
                           v);
    }
    return 0;
}

/* Below the home, by a path that means the same to everybody. */
static bool file_path_valid(const char *path)
{
    if (!path[0])
        return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
        if (!*p)
            return true;
    }
}

static int check_files(const struct json_list *files, struct err *err)
{
    const struct task_file *f = files->items;
    if (files->n > TASK_FILES_MAX)
        return err_set(err, ERR_FAIL, "files: %zu, at most %d are possible", files->n,
                       TASK_FILES_MAX);
    for (size_t i = 0; i < files->n; i++) {
        size_t bytes = 0;
        if (!file_path_valid(f[i].path))
            return err_set(err, ERR_FAIL, "files[%zu]: '%.100s' is not a path below the home", i,
                           f[i].path);
        for (size_t k = 0; k < i; k++)
            if (strcmp(f[k].path, f[i].path) == 0)
                return err_set(err, ERR_FAIL, "files[%zu]: '%.100s' for the second time", i,
                               f[i].path);
        for (size_t k = 0; k < f[i].lines.n; k++)
            bytes += strlen(f[i].lines.v[k]) + 1;
        if (bytes > TASK_FILE_BYTES)
            return err_set(err, ERR_FAIL, "files[%zu]: '%.100s' is over %u bytes", i, f[i].path,
                           TASK_FILE_BYTES);
    }
    return 0;
}

int task_extras_check(const struct strv *env, const struct json_list *files, struct err *err)
{
    int rc = check_env(env, err);
    return rc < 0 ? rc : check_files(files, err);
}

int task_check(const struct task *t, struct err *err)
{
    int rc = check_names(t, err);

    if (rc == 0)
        rc = check_times(t, err);
    if (rc == 0)
        rc = check_repo(t, err);
    if (rc == 0)
        rc = check_lines("setup", &t->setup, err);
    if (rc == 0)
        rc = check_command(t, err);
    if (rc == 0)
        rc = check_lines("tests", &t->tests, err);
    if (rc == 0)
        rc = task_extras_check(&t->env, &t->files, err);
    if (rc == 0 && (rc = policy_check(&t->policy, err)) < 0)
        err_wrap(err, "policy");
    return rc;
}

int task_decode(const void *bytes, size_t len, struct task *out, struct err *err)
{
    int rc = json_decode(&task_shape, bytes, len, out, err);

    if (rc < 0)
        return rc;
    rc = task_check(out, err);
    if (rc < 0)
        task_done(out);
    return rc;
}

int task_encode(const struct task *t, struct buf *to, struct err *err)
{
    int rc = task_check(t, err);

    return rc < 0 ? rc : json_encode(&task_shape, t, to, err);
}

int task_files_copy(struct json_list *to, const struct json_list *from)
{
    const struct task_file *f = from->items;
    struct json_list made = {0};

    for (size_t i = 0; i < from->n; i++) {
        struct task_file *file = json_list_push(&made, &task_file_shape);
        if (!file || strv_copy(&file->lines, &f[i].lines) < 0) {
            task_files_done(&made);
            return -1;
        }
        memcpy(file->path, f[i].path, sizeof(file->path));
    }
    *to = made;
    return 0;
}

void task_files_done(struct json_list *files)
{
    struct task_file *f = files->items;

    for (size_t i = 0; i < files->n; i++)
        strv_done(&f[i].lines);
    free(f);
    *files = (struct json_list){0};
}

void task_done(struct task *t)
{
    json_release(&task_shape, t);
}

static const struct json_field name_fields[] = {
    JSON_ROW(struct task, TEXT, id),
    JSON_ROW(struct task, TEXT, attempt),
    JSON_ROW(struct task, PROSE, title),
    JSON_END,
};
static const struct json_shape name_shape = {sizeof(struct task), name_fields};

static const struct json_field aud_fields[] = {
    JSON_ROW_AS(struct task, TEXT, aud_host, "host"),
    JSON_ROW_AS(struct task, TEXT, aud_host_key, "host_key"),
    JSON_END,
};
static const struct json_shape aud_shape = {sizeof(struct task), aud_fields};

static const struct json_field repo_fields[] = {
    JSON_ROW(struct task, TEXT, base),       JSON_ROW(struct task, TEXT, root),
    JSON_ROW(struct task, TEXT, branch),     JSON_ROW(struct task, U64, pack_bytes),
    JSON_ROW(struct task, HEX, pack_sha256), JSON_END,
};
static const struct json_shape repo_shape = {sizeof(struct task), repo_fields};

static const struct json_field cnf_fields[] = {
    JSON_ROW(struct task, HEX, token_sha256),
    JSON_ROW(struct task, B64, token_sealed),
    JSON_END,
};
static const struct json_shape cnf_shape = {sizeof(struct task), cnf_fields};

static const struct json_field file_fields[] = {
    JSON_ROW(struct task_file, TEXT, path),
    JSON_ROW(struct task_file, STRS, lines),
    JSON_END,
};
const struct json_shape task_file_shape = {sizeof(struct task_file), file_fields};

static const char *const task_types[] = {TASK_TYPE, NULL};

static const struct json_field task_fields[] = {
    JSON_FIXED("_type", task_types),
    JSON_GROUP("task", &name_shape),
    JSON_ROW(struct task, TEXT, iss),
    JSON_GROUP("aud", &aud_shape),
    JSON_ROW(struct task, U64, iat),
    JSON_ROW(struct task, U64, nbf),
    JSON_ROW(struct task, U64, exp),
    JSON_ROW(struct task, B64, nonce),
    JSON_ROW(struct task, U64, fence),
    JSON_GROUP("repo", &repo_shape),
    JSON_ROW(struct task, STRS, setup),
    JSON_ROW(struct task, STRS, command),
    JSON_ROW(struct task, STRS, tests),
    JSON_ROW(struct task, OBJ, policy, .shape = &policy_shape),
    JSON_ROW(struct task, TEXT, agent, .optional = true),
    JSON_ROW(struct task, STRS, env, .optional = true),
    JSON_ROW(struct task, LIST, files, .shape = &task_file_shape, .optional = true),
    JSON_GROUP("cnf", &cnf_shape),
    JSON_END,
};
const struct json_shape task_shape = {sizeof(struct task), task_fields};
