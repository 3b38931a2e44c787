/* Reads profiles of agents and fills them in; see agent_profile.h. */
#include "controller/agent_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/agent_builtin.h"

#define HOME        "/home/agent"
#define PROMPT_MARK "${PROMPT}"
#define MODEL_MARK  "${MODEL}"
#define HOME_MARK   "${HOME}"

const char *const agent_events_names[AGENT_EVENTS_COUNT + 1] = {
    "text", "codex-json", "claude-stream-json", "opencode-json", "openclaw-json", NULL,
};
const char *const agent_dialect_names[] = {"responses", "chat", "messages", "none", NULL};

static const struct json_field exit_fields[] = {
    JSON_ROW(struct agent_exit, INT, code),
    JSON_ROW(struct agent_exit, TEXT, means),
    JSON_END,
};
static const struct json_shape exit_shape = {sizeof(struct agent_exit), exit_fields};

static const struct json_field profile_fields[] = {
    JSON_ROW(struct agent_profile, TEXT, name),
    JSON_ROW(struct agent_profile, TEXT, about, .optional = true),
    JSON_ROW(struct agent_profile, STRS, argv),
    JSON_ROW(struct agent_profile, LIST, files, .shape = &task_file_shape, .optional = true),
    JSON_ROW(struct agent_profile, STRS, env, .optional = true),
    JSON_ROW(struct agent_profile, ENUM, dialect, .names = agent_dialect_names),
    JSON_ROW(struct agent_profile, TEXT, tool, .optional = true),
    JSON_ROW(struct agent_profile, ENUM, events, .names = agent_events_names, .optional = true),
    JSON_ROW(struct agent_profile, TEXT, limits, .optional = true),
    JSON_ROW(struct agent_profile, TEXT, model, .optional = true),
    JSON_ROW(struct agent_profile, LIST, exits, .shape = &exit_shape, .max = 256, .optional = true),
    JSON_END,
};
static const struct json_shape profile_shape = {sizeof(struct agent_profile), profile_fields};

static bool name_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";

    return name[0] && strchr(first, name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name);
}

/* In a file such a name stands within quotes of its own. */
static bool model_valid(const char *model)
{
    return model[0] && strspn(model, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789._:/@+-") == strlen(model);
}

static bool any_has(const struct strv *words, const char *mark)
{
    for (size_t i = 0; i < words->n; i++)
        if (strstr(words->v[i], mark))
            return true;
    return false;
}

static bool files_have(const struct json_list *files, const char *mark)
{
    const struct task_file *f = files->items;

    for (size_t i = 0; i < files->n; i++)
        if (any_has(&f[i].lines, mark))
            return true;
    return false;
}

bool agent_wants_prompt(const struct agent_profile *p)
{
    return any_has(&p->argv, PROMPT_MARK);
}

static bool wants_model(const struct agent_profile *p)
{
    return any_has(&p->argv, MODEL_MARK) || any_has(&p->env, MODEL_MARK) ||
           files_have(&p->files, MODEL_MARK);
}

static int check(const struct agent_profile *p, struct err *err)
{
    struct policy limits;
    int rc = 0;

    if (!name_valid(p->name))
        return err_set(err, ERR_USAGE,
                       "name: '%.64s' is not of small letters, digits, '.', '_', '-'", p->name);
    if (p->tool[0] && !name_valid(p->tool))
        return err_set(err, ERR_USAGE, "tool: '%.64s' is not a program's name", p->tool);
    if (p->argv.n == 0 || !p->argv.v[0][0])
        return err_set(err, ERR_USAGE, "argv: empty");
    if (p->argv.n > TASK_ARGS_MAX)
        return err_set(err, ERR_USAGE, "argv: over %d words", TASK_ARGS_MAX);
    /* Whoever reads the process list of the jail reads these. */
    if (any_has(&p->argv, TASK_TOKEN_MARK))
        return err_set(err, ERR_USAGE, "argv: the task's token stands in env or files only");
    if (any_has(&p->env, PROMPT_MARK) || files_have(&p->files, PROMPT_MARK))
        return err_set(err, ERR_USAGE, PROMPT_MARK " may stand in argv only");
    if (p->model[0] && !model_valid(p->model))
        return err_set(err, ERR_USAGE, "model: '%.100s' is not a model's name", p->model);
    policy_init(&limits);
    if (p->limits[0] && (rc = policy_set_limits(&limits, p->limits, err)) < 0)
        err_wrap(err, "limits");
    policy_done(&limits);
    if (rc == 0 && (rc = task_extras_check(&p->env, &p->files, err)) < 0)
        err->code = ERR_USAGE;
    return rc < 0 ? -ERR_USAGE : 0;
}

int agent_profile_parse(const void *bytes, size_t len, const char *source,
                        struct agent_profile *out, struct err *err)
{
    int rc = json_decode(&profile_shape, bytes, len, out, err);

    if (rc == 0 && (rc = check(out, err)) < 0)
        agent_profile_done(out);
    if (rc == 0)
        return 0;
    err->code = ERR_USAGE;
    err_wrap(err, "agent %s", source);
    return -ERR_USAGE;
}

void agent_profile_done(struct agent_profile *p)
{
    json_release(&profile_shape, p);
}

const char *agent_builtin_text(size_t i, size_t *ret_len)
{
    const char *text = i < agent_builtins_n ? agent_builtins[i].text : NULL;

    if (text)
        *ret_len = strlen(text);
    return text;
}

static int unknown(const char *name, struct err *err)
{
    struct buf names;
    int rc;

    buf_init(&names, 1024);
    for (size_t i = 0; i < agent_builtins_n; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", agent_builtins[i].name);
    rc = err_set(err, ERR_USAGE,
                 "no agent '%.64s' is known; there are: %s; for one of your own name its file "
                 "(./my.json)",
                 name, buf_str(&names));
    buf_done(&names);
    return rc;
}

int agent_profile_builtin(const char *name, struct agent_profile *out, struct err *err)
{
    for (size_t i = 0; i < agent_builtins_n; i++)
        if (strcmp(agent_builtins[i].name, name) == 0)
            return agent_profile_parse(agent_builtins[i].text, strlen(agent_builtins[i].text), name,
                                       out, err);
    return unknown(name, err);
}

void agent_exit_means(const char *name, int code, char out[static 201])
{
    struct agent_profile p = {0};
    struct err ignored = ERR_INIT;

    out[0] = 0;
    if (!name[0] || agent_profile_builtin(name, &p, &ignored) < 0)
        return;
    const struct agent_exit *e = p.exits.items;
    for (size_t i = 0; i < p.exits.n; i++)
        if (e[i].code == code)
            memcpy(out, e[i].means, sizeof(e[i].means));
    agent_profile_done(&p);
}

/* ---- filling in ---- */

struct marks {
    const char *prompt, *model;
};

/* What is put in is not looked at again: a prompt may hold a mark. */
static void fill(const char *text, const struct marks *m, struct buf *to)
{
    const struct {
        const char *mark, *value;
    } all[] = {{PROMPT_MARK, m->prompt}, {MODEL_MARK, m->model}, {HOME_MARK, HOME}};

    while (*text) {
        size_t i = 0;

        for (; i < sizeof(all) / sizeof(*all); i++)
            if (all[i].value && strncmp(text, all[i].mark, strlen(all[i].mark)) == 0)
                break;
        if (i < sizeof(all) / sizeof(*all)) {
            buf_adds(to, all[i].value);
            text += strlen(all[i].mark);
        } else {
            buf_addc(to, *text++);
        }
    }
}

static int fill_all(const struct strv *from, const struct marks *m, struct strv *to,
                    struct err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < from->n; i++) {
        struct buf b;

        buf_init(&b, JSON_STR_MAX + 1);
        fill(from->v[i], m, &b);
        if (b.failed || b.len > JSON_STR_MAX)
            rc = err_set(err, ERR_USAGE, "'%.40s...' gets longer than %u bytes", from->v[i],
                         JSON_STR_MAX);
        else if (strv_add(to, buf_str(&b)) < 0)
            rc = err_set(err, ERR_FAIL, "out of memory");
        buf_done(&b);
    }
    return rc;
}

static int fill_files(const struct json_list *from, const struct marks *m, struct json_list *to,
                      struct err *err)
{
    const struct task_file *f = from->items;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < from->n; i++) {
        struct task_file *file = json_list_push(to, &task_file_shape);

        if (!file)
            return err_set(err, ERR_FAIL, "out of memory");
        memcpy(file->path, f[i].path, sizeof(file->path));
        rc = fill_all(&f[i].lines, m, &file->lines, err);
    }
    return rc;
}

int agent_profile_expand(const struct agent_profile *p, const char *prompt, const char *model,
                         struct strv *command, struct strv *env, struct json_list *files,
                         struct err *err)
{
    struct marks in_argv = {prompt, model}, elsewhere = {NULL, model};
    int rc;

    if (agent_wants_prompt(p) && (!prompt || !prompt[0]))
        return err_set(err, ERR_USAGE, "agent %s wants a prompt: creel run --agent %s \"...\"",
                       p->name, p->name);
    if (wants_model(p) && !model_valid(model))
        return err_set(err, ERR_USAGE, "agent %s wants a model, and %s%.100s%s: --model NAME",
                       p->name, model[0] ? "'" : "none was said", model,
                       model[0] ? "' is not a model's name" : "");
    rc = fill_all(&p->argv, &in_argv, command, err);
    rc = rc < 0 ? rc : fill_all(&p->env, &elsewhere, env, err);
    return rc < 0 ? rc : fill_files(&p->files, &elsewhere, files, err);
}
