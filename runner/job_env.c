/* What programs in a jail find in their environment; see job_env.h. */
#include "runner/job_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define PROXY "http://127.0.0.1:3128" /* GATE_PROXY_PORT */
#define CACHE "/home/agent/.cache"
#define MARK  (sizeof TASK_TOKEN_MARK - 1)

/* The tools come last: nothing of them stands in for a program of the system's. */
static const char *const fixed[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" JOB_TOOLS_PATH "/bin",
    "HOME=/home/agent",
    "USER=agent",
    "LANG=C.UTF-8",
    "TERM=dumb",
    "CI=1",
    "GIT_TERMINAL_PROMPT=0",
    "http_proxy=" PROXY,
    "https_proxy=" PROXY,
    "all_proxy=" PROXY,
    "HTTP_PROXY=" PROXY,
    "HTTPS_PROXY=" PROXY,
    "ALL_PROXY=" PROXY,
    "NO_PROXY=localhost,127.0.0.1",
    "no_proxy=localhost,127.0.0.1",
    /* The leak check of address sanitizers traces its own process, which is denied in here, and then
     * fails the program. All other checks work. */
    "LSAN_OPTIONS=detect_leaks=0",
    /* Downloads of package managers that do not go to ~/.cache by themselves. */
    "npm_config_cache=" CACHE "/npm",
    "GOMODCACHE=" CACHE "/go-mod",
    "CARGO_HOME=" CACHE "/cargo",
    "GRADLE_USER_HOME=" CACHE "/gradle",
};
#define FIXED (sizeof fixed / sizeof *fixed)
_Static_assert(FIXED + 2 <= JOB_ENV_MAX, "JOB_ENV_MAX is too small");

void job_token(const struct cell_order *o, char out[static JOB_TOKEN_DIGITS + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < TASK_TOKEN_BYTES; i++) {
        out[2 * i] = digits[o->token[i] >> 4];
        out[2 * i + 1] = digits[o->token[i] & 15];
    }
    out[JOB_TOKEN_DIGITS] = 0;
}

/* A name that is there already gets the new value: with two of a name programs disagree which counts. */
static size_t put(struct job_env *env, size_t n, char *var)
{
    size_t name = strcspn(var, "=") + 1;
    for (size_t i = 0; i < n; i++)
        if (strncmp(env->vars[i], var, name) == 0) {
            env->vars[i] = var;
            return n;
        }
    env->vars[n] = var;
    return n + 1;
}

static size_t grown(const char *var)
{
    size_t n = strlen(var) + 1;
    for (const char *at = var; (at = strstr(at, TASK_TOKEN_MARK)); at += MARK)
        n += JOB_TOKEN_DIGITS;
    return n;
}

/* Writes the variable with the token for each mark; returns what is behind its NUL. */
static char *write_marked(const char *var, const char *token, char *to)
{
    for (const char *mark; (mark = strstr(var, TASK_TOKEN_MARK)); var = mark + MARK) {
        memcpy(to, var, (size_t)(mark - var));
        to += mark - var;
        memcpy(to, token, JOB_TOKEN_DIGITS);
        to += JOB_TOKEN_DIGITS;
    }
    size_t n = strlen(var) + 1;
    memcpy(to, var, n);
    return to + n;
}

static int put_own(const struct cell_order *o, struct job_env *env, size_t *n, struct err *err)
{
    char *strings[CELL_ORDER_ARGS_MAX + 1], *at;
    const char *token = env->token + sizeof "CREEL_TASK_TOKEN=" - 1;
    size_t bytes = 1;
    if (o->nenv > TASK_ENV_MAX)
        return err_set(err, ERR_FAIL, "the order's environment is too long");
    cell_order_strings(o, o->nsetup + o->ncommand + o->ntests, o->nenv, strings);
    for (uint32_t i = 0; i < o->nenv; i++)
        bytes += grown(strings[i]);
    at = env->own = malloc(bytes);
    env->own_bytes = at ? bytes : 0;
    if (!at)
        return err_set(err, ERR_FAIL, "no memory for the task's environment");
    for (uint32_t i = 0; i < o->nenv; i++) {
        char *var = at;
        at = write_marked(strings[i], token, var);
        *n = put(env, *n, var);
    }
    return 0;
}

int job_env_make(const struct cell_order *o, bool job, struct job_env *out, struct err *err)
{
    size_t n = 0;
    int rc = 0;
    *out = (struct job_env){0};
    for (; n < FIXED; n++)
        out->vars[n] = (char *)(uintptr_t)fixed[n];
    snprintf(out->id, sizeof out->id, "CREEL_TASK_ID=%s", o->id);
    out->vars[n++] = out->id;
    if (job) {
        static const char name[] = "CREEL_TASK_TOKEN=";
        memcpy(out->token, name, sizeof name);
        job_token(o, out->token + sizeof name - 1);
        out->vars[n++] = out->token;
        rc = put_own(o, out, &n, err);
    }
    out->vars[n] = NULL;
    return rc;
}

void job_env_done(struct job_env *env)
{
    if (env->own)
        sodium_memzero(env->own, env->own_bytes);
    free(env->own);
    sodium_memzero(env, sizeof *env);
}
