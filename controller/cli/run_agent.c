/* What an agent's task is made of; see run_agent.h. */
#include "controller/cli/run_agent.h"

#include <stdio.h>
#include <string.h>

static bool is_file(const char *agent)
{
    size_t n = strlen(agent);

    return strchr(agent, '/') || (n > 5 && strcmp(agent + n - 5, ".json") == 0);
}

int run_agent_load(const struct run_spec *s, struct agent_profile *out, struct err *err)
{
    struct buf text;
    int rc;

    *out = (struct agent_profile){0};
    if (!s->agent[0])
        return 0;
    if (!is_file(s->agent))
        return agent_profile_builtin(s->agent, out, err);
    buf_init(&text, AGENT_BYTES_MAX);
    rc = cli_read(s->agent, &text, err);
    if (rc < 0)
        err_wrap(err, "--agent");
    else
        rc = agent_profile_parse(text.data, text.len, s->agent, out, err);
    buf_done(&text);
    return rc;
}

const char *run_agent_model(const struct run_spec *s, const struct agent_profile *p)
{
    return s->model[0] ? s->model : p->model;
}

int run_agent_fill(const struct run_spec *s, const struct agent_profile *p, struct task_row *row,
                   struct err *err)
{
    if (!s->agent[0])
        return strv_copy(&row->command, &s->command) < 0 ? err_set(err, ERR_FAIL, "out of memory")
                                                         : 0;
    memcpy(row->agent, p->name, sizeof(row->agent));
    memcpy(row->tool, p->tool, sizeof(row->tool));
    row->events = p->events;
    return agent_profile_expand(p, s->prompt, run_agent_model(s, p), &row->command, &row->env,
                                &row->files, err);
}

/* ---- git in the jail ---- */

#define DOOR "http://127.0.0.1:4100/"

struct git_config {
    char lines[6][2 * REPO_URL_SIZE];
    size_t n;
};

/* git(1) reads GIT_CONFIG_COUNT, _KEY_<n> and _VALUE_<n> as if they stood in a file. */
static void config_add(struct git_config *c, const char *key, const char *value)
{
    size_t i = c->n / 2;

    snprintf(c->lines[c->n++], sizeof(c->lines[0]), "GIT_CONFIG_KEY_%zu=%s", i, key);
    snprintf(c->lines[c->n++], sizeof(c->lines[0]), "GIT_CONFIG_VALUE_%zu=%s", i, value);
}

static const char *after_host(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;

    return path ? path + 1 : "";
}

/* Through the broker's git door: the address is what it always is, and the task's token goes to the door
 * alone. */
static void through_door(const struct repo_access *repo, struct git_config *c)
{
    char key[REPO_URL_SIZE + 64];

    snprintf(key, sizeof(key), "url." DOOR "git/%s.insteadOf", after_host(repo->url));
    config_add(c, key, repo->url);
    config_add(c, "http." DOOR ".extraHeader", "Authorization: Bearer " TASK_TOKEN_MARK);
}

/* The forge's own address, and a token that is renewed in its file while the task runs. */
static void by_token(const struct repo_access *repo, struct git_config *c)
{
    char key[REPO_URL_SIZE + 64];

    snprintf(key, sizeof(key), "credential.%s.helper", repo->url);
    config_add(c, key,
               "!f() { test \"$1\" = get && printf 'username=x-access-token\\npassword=%s\\n' "
               "\"$(cat /run/creel/repo-token)\"; }; f");
}

int run_repo_env(const struct repo_access *repo, struct strv *env, struct err *err)
{
    struct git_config c = {0};
    char count[48], url[REPO_URL_SIZE + 16];
    int rc = 0;

    if (repo->mode == REPO_NONE)
        return 0;
    if (repo->mode == REPO_TOKEN)
        by_token(repo, &c);
    else
        through_door(repo, &c);
    snprintf(count, sizeof(count), "GIT_CONFIG_COUNT=%zu", c.n / 2);
    snprintf(url, sizeof(url), "REPO_URL=%s", repo->url);
    rc = strv_add(env, url) | strv_add(env, count);
    for (size_t i = 0; i < c.n; i++)
        rc |= strv_add(env, c.lines[i]);
    return rc < 0 ? err_set(err, ERR_FAIL, "out of memory") : 0;
}
