/* The signed task: its table, and what a table cannot say. Decoding trusts nothing, but is only
 * ever called on bytes whose signature held. */
#include "proto/task.h"

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

static const char *const task_types[] = {TASK_TYPE, NULL};

static const struct json_field task_fields[] = {
    JSON_FIXED("_type", task_types),    JSON_GROUP("task", &name_shape),
    JSON_ROW(struct task, TEXT, iss),   JSON_GROUP("aud", &aud_shape),
    JSON_ROW(struct task, U64, iat),    JSON_ROW(struct task, U64, nbf),
    JSON_ROW(struct task, U64, exp),    JSON_ROW(struct task, B64, nonce),
    JSON_ROW(struct task, U64, fence),  JSON_GROUP("repo", &repo_shape),
    JSON_ROW(struct task, STRS, setup), JSON_ROW(struct task, STRS, command),
    JSON_ROW(struct task, STRS, tests), JSON_ROW(struct task, OBJ, policy, .shape = &policy_shape),
    JSON_GROUP("cnf", &cnf_shape),      JSON_END,
};
const struct json_shape task_shape = {sizeof(struct task), task_fields};
