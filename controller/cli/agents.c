/* creel agents: the profiles that are part of the program, and one of them as a start for one's own. */
#include <stdlib.h>
#include <string.h>

#include "controller/agent_profile.h"
#include "controller/cli/verbs.h"

struct agents_opts {
    bool json;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct agents_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

static void one_json(const struct agent_profile *p, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_text(b, "name", p->name);
    emit_text(b, "about", p->about);
    emit_text(b, "dialect", agent_dialect_names[p->dialect]);
    emit_text(b, "tool", p->tool);
    emit_text(b, "events", agent_events_names[p->events]);
    emit_text(b, "limits", p->limits);
    emit_text(b, "model", p->model);
    emit_close(b, '}');
}

static void one_text(const struct agent_profile *p, struct buf *b)
{
    buf_addf(b, "%-10s %-10s %-10s %-20s %s\n", p->name, agent_dialect_names[p->dialect],
             p->tool[0] ? p->tool : "-", p->model[0] ? p->model : "-", p->about);
}

static int each(void (*add)(const struct agent_profile *p, struct buf *b), struct buf *b,
                struct err *err)
{
    const char *text;
    size_t len;

    for (size_t i = 0; (text = agent_builtin_text(i, &len)); i++) {
        struct agent_profile p;
        int rc = agent_profile_parse(text, len, "of the program", &p, err);

        if (rc < 0)
            return rc;
        add(&p, b);
        agent_profile_done(&p);
    }
    return 0;
}

static int list(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct agents_opts *o = opts;
    struct buf b;
    int rc = cli_nargs(nargs, 0, "agents takes options, or: show NAME", err);

    (void)cli;
    (void)args;
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    if (o->json) {
        emit_open(&b, NULL, '{');
        emit_int(&b, "version", 1);
        emit_open(&b, "agents", '[');
        rc = each(one_json, &b, err);
        emit_close(&b, ']');
        emit_close(&b, '}');
        buf_addc(&b, '\n');
    } else {
        buf_addf(&b, "%-10s %-10s %-10s %-20s %s\n", "NAME", "SPEAKS", "TOOL", "MODEL", "ABOUT");
        rc = each(one_text, &b, err);
    }
    rc = rc < 0 ? rc : cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int show(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct agent_profile p;
    struct buf b;
    const char *text;
    size_t len;
    int rc = cli_nargs(nargs, 1, "agents show NAME", err);

    (void)cli;
    (void)opts;
    rc = rc < 0 ? rc : agent_profile_builtin(args[0], &p, err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    for (size_t i = 0; (text = agent_builtin_text(i, &len)); i++) {
        struct agent_profile q;

        if (agent_profile_parse(text, len, "of the program", &q, err) < 0)
            break;
        if (strcmp(q.name, p.name) == 0)
            buf_add(&b, text, len);
        agent_profile_done(&q);
    }
    agent_profile_done(&p);
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int agents(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    if (nargs > 0 && strcmp(args[0], "show") == 0)
        return show(cli, opts, args + 1, nargs - 1, err);
    return list(cli, opts, args, nargs, err);
}

const struct cmd cmd_agents = {
    .name = "agents",
    .args = "[--json] | show NAME",
    .summary = "The coding agents that run --agent knows.",
    .help = "TOOL is what the host must have among its tools (deploy/tools installs them there);\n"
            "creel doctor says which of them each host has. To start a profile of one's own:\n\n"
            "  creel agents show codex >my.json\n"
            "  creel run --agent ./my.json --budget 1 'a task'\n",
    .opts = options,
    .opts_size = sizeof(struct agents_opts),
    .run = agents,
};
