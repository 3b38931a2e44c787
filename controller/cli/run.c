/* creel run: from a command line to a followed task.
 *
 * Reads the repository, shows the plan, asks, packs the source, writes the task to the store and
 * wakes the engine; the engine does the rest, whether this process lives on or not. Signs nothing and
 * talks to no host.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/file.h"
#include "controller/cli/run_agent.h"
#include "controller/cli/run_spec.h"
#include "controller/cli/run_spend.h"
#include "controller/cli/run_view.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"
#include "controller/plan.h"

static const struct opt options[] = {
    {.name = "repo",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, repo),
     .arg = "DIR",
     .help = "the repository to work on (default: the one around the current directory)"},
    {.name = "base",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, base),
     .arg = "REV",
     .help = "the commit to start from (default: HEAD)"},
    {.name = "host",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, host),
     .arg = "NAME",
     .help =
         "where to run (default: $CREEL_HOST, else the least busy that can enforce the limits)"},
    {.name = "title",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, title),
     .arg = "TEXT",
     .help = "first line of the commit message (default: the command)"},
    {.name = "setup",
     .kind = OPT_MANY,
     .offset = offsetof(struct run_opts, setup),
     .arg = "LINE",
     .help = "shell line to run before the command; may be repeated"},
    {.name = "test",
     .letter = 't',
     .kind = OPT_MANY,
     .offset = offsetof(struct run_opts, test),
     .arg = "LINE",
     .help = "shell line that judges the work after it; may be repeated"},
    {.name = "limit",
     .letter = 'l',
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, limit),
     .arg = "LIMITS",
     .help = "mem=2G,pids=512,wall=30m,cpu=2,disk=4G,log=64M,conns=10000,sent=1G,dns=10000: "
             "the ones to change"},
    {.name = "allow-unenforced",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, allow_unenforced),
     .arg = "LIMITS",
     .help = "mem,pids,...: run although the host cannot enforce these "
             "(default: $CREEL_ALLOW_UNENFORCED)"},
    {.name = "egress",
     .letter = 'e',
     .kind = OPT_MANY,
     .offset = offsetof(struct run_opts, egress),
     .arg = "RULE",
     .help = "what it may reach: NAME, NAME:PORT, *.SUFFIX or a preset (npm, apt, pip, cargo, go, "
             "github); may be repeated, or a list with commas"},
    {.name = "image",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, image),
     .arg = "NAME",
     .help = "root file system to run in, one that the host has (default: the host's own /usr)"},
    {.name = "nested-userns",
     .kind = OPT_FLAG,
     .offset = offsetof(struct run_opts, nested_userns),
     .help = "let it make user namespaces, for agents with a sandbox of their own"},
    {.name = "cache",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, cache),
     .arg = "NAME",
     .help = "dependency cache to start with: what was last kept under NAME on the host"},
    {.name = "trusted",
     .kind = OPT_FLAG,
     .offset = offsetof(struct run_opts, trusted),
     .help = "you trust this task: keep its cache under that NAME for later ones"},
    {.name = "agent",
     .letter = 'a',
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, agent),
     .arg = "NAME|FILE",
     .help =
         "run this coding agent (creel agents lists them); the words are its prompt, '-' reads it"},
    {.name = "prompt-file",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, prompt_file),
     .arg = "FILE",
     .help = "the prompt, instead of the words"},
    {.name = "budget",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, budget),
     .arg = "USD",
     .help = "what all model calls of the task may cost, as \"2.50\""},
    {.name = "provider",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, provider),
     .arg = "NAME",
     .help = "who serves its model calls (default: the only one that the agent can speak to)"},
    {.name = "model",
     .letter = 'm',
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, model),
     .arg = "NAME",
     .help =
         "the model that it may ask for (default: the agent's; for a command: each with a price)"},
    {.name = "calls",
     .kind = OPT_COUNT,
     .offset = offsetof(struct run_opts, calls),
     .arg = "N",
     .help = "how many model calls (500)"},
    {.name = "calls-per-minute",
     .kind = OPT_COUNT,
     .offset = offsetof(struct run_opts, calls_per_minute),
     .arg = "N",
     .help = "how many of them in a minute (60)"},
    {.name = "in-flight",
     .kind = OPT_COUNT,
     .offset = offsetof(struct run_opts, in_flight),
     .arg = "N",
     .help = "how many of them at once (8)"},
    {.name = "output-tokens",
     .kind = OPT_COUNT,
     .offset = offsetof(struct run_opts, output_tokens),
     .arg = "N",
     .help = "how much a model may answer to one call (32000)"},
    {.name = "repeats",
     .kind = OPT_COUNT,
     .offset = offsetof(struct run_opts, repeats),
     .arg = "N",
     .help = "after how many equal calls or answers in a row its log says so; at twice as many it "
             "ends (8)"},
    {.name = "hosted-tool",
     .kind = OPT_MANY,
     .offset = offsetof(struct run_opts, hosted_tools),
     .arg = "TYPE",
     .help = "let it use a tool that runs at the provider, outside the egress gate (web_search); "
             "may be repeated"},
    {.name = "repo-access",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, repo_access),
     .arg = "MODE",
     .help =
         "of the repository's remote while it runs: none (default), read or push by the broker, "
         "or token"},
    {.name = "repo-url",
     .kind = OPT_TEXT,
     .offset = offsetof(struct run_opts, repo_url),
     .arg = "URL",
     .help = "that remote, https://HOST/PATH (default: where origin is)"},
    {.name = "yes",
     .letter = 'y',
     .kind = OPT_FLAG,
     .offset = offsetof(struct run_opts, yes),
     .help = "do not ask whether the plan is right"},
    {.name = "detach",
     .letter = 'd',
     .kind = OPT_FLAG,
     .offset = offsetof(struct run_opts, detach),
     .help = "print the task's id and return; the task goes on"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct run_opts, json),
     .help = "one JSON event a line on stdout"},
    {.name = NULL},
};

struct run {
    struct cli *cli;
    const struct run_opts *o;
    struct run_spec spec;
    struct agent_profile agent; /* empty: none */
    struct spend_books books;   /* opened when there is anything to spend */
    struct paths paths;
    struct store *store;
    struct source source;
    struct host_row *hosts; /* the one asked for, or all: then the engine chooses */
    size_t nhosts;
    struct task_row row;
    struct run_view view;
    int engine; /* connected, or -1 */
    /* The engine starts while the source is packed. */
    pthread_t starter;
    bool starting;
    struct err start_err;
};

static int hosts_load(struct run *r, struct err *err)
{
    int rc;

    if (r->spec.host[0]) {
        r->hosts = calloc(1, sizeof(*r->hosts));
        r->nhosts = 1;
        return r->hosts ? store_host_get(r->store, r->spec.host, r->hosts, err)
                        : err_set(err, ERR_FAIL, "out of memory");
    }
    rc = store_host_list(r->store, &r->hosts, &r->nhosts, err);
    if (rc == 0 && r->nhosts == 0)
        rc = err_set(err, ERR_USAGE, "no host is enrolled: creel host add NAME USER@ADDRESS ...");
    return rc;
}

/* A cache is what one host has: its digest is part of what is shown and signed. */
static int cache_choose(struct run *r, struct err *err)
{
    struct task_row *t = &r->row;

    if (!r->spec.cache[0])
        return 0;
    if (r->nhosts > 1)
        return err_set(err, ERR_USAGE,
                       "caches are kept per host, and %zu are enrolled: say which, --host NAME",
                       r->nhosts);
    memcpy(t->cache, r->spec.cache, sizeof(t->cache));
    return store_cache_get(r->store, r->hosts[0].name, t->cache, t->policy.cache, err);
}

static int lists_copy(struct run *r, struct err *err)
{
    if (strv_copy(&r->row.setup, &r->spec.setup) < 0 ||
        strv_copy(&r->row.tests, &r->spec.tests) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    return 0;
}

static int row_fill(struct run *r, struct err *err)
{
    struct task_row *t = &r->row;
    uint8_t rnd[10];

    randombytes_buf(rnd, sizeof(rnd));
    id_make(clock_wall_ms(), rnd, t->id);
    if (r->spec.title[0])
        memcpy(t->title, r->spec.title, sizeof(t->title));
    else
        run_spec_title(&r->spec, t->title);
    memcpy(t->repo, r->source.repo, sizeof(t->repo));
    memcpy(t->base, r->source.base, sizeof(t->base));
    if (r->nhosts == 1)
        memcpy(t->host, r->hosts[0].name, sizeof(t->host));
    snprintf(t->branch, sizeof(t->branch), "creel/%s", t->id);
    t->state = TASK_QUEUED;
    t->outcome = -1;
    int rc = lists_copy(r, err);
    rc = rc < 0 ? rc : run_agent_fill(&r->spec, &r->agent, t, err);
    return rc < 0 ? rc : run_repo_env(&t->policy.repo, &t->env, err);
}

/* Without --repo-url it is where the repository itself came from. */
static int remote_choose(struct run *r, struct err *err)
{
    if (r->spec.repo_access == REPO_NONE || r->spec.repo_url[0])
        return 0;
    if (!r->source.remote[0])
        return err_set(err, ERR_USAGE,
                       "--repo-access: say where the remote is, --repo-url https://HOST/PATH (its "
                       "origin has no such address)");
    memcpy(r->spec.repo_url, r->source.remote, sizeof(r->spec.repo_url));
    return 0;
}

static int prepare(struct run *r, struct err *err)
{
    int rc = source_open(r->spec.repo[0] ? r->spec.repo : ".",
                         r->spec.base[0] ? r->spec.base : NULL, &r->source, err);

    rc = rc < 0 ? rc : remote_choose(r, err);
    rc = rc < 0 ? rc : hosts_load(r, err);
    rc = rc < 0 ? rc : run_spec_policy(&r->spec, r->agent.limits, &r->row.policy, err);
    rc = rc < 0 ? rc
                : run_spend(&r->spec, &r->agent, &r->paths, &r->books, &r->row.policy.spend, err);
    rc = rc < 0 ? rc : cache_choose(r, err);
    return rc < 0 ? rc : row_fill(r, err);
}

/* ---- the plan ---- */

static int plan_event(struct run *r, struct err *err)
{
    struct buf *b = &r->view.out;

    run_event(&r->view, "plan");
    emit_text(b, "id", r->row.id);
    emit_text(b, "repo", r->row.repo);
    emit_text(b, "base", r->row.base);
    emit_text(b, "base_name", r->source.base_name);
    emit_bool(b, "dirty", r->source.dirty);
    emit_text(b, "branch", r->row.branch);
    emit_text(b, "host", r->row.host);
    emit_strs(b, "setup", &r->row.setup);
    emit_strs(b, "command", &r->row.command);
    emit_strs(b, "tests", &r->row.tests);
    emit_open(b, "limits", '{');
    for (int i = 0; i < LIMIT_COUNT; i++)
        emit_uint(b, limit_names[i], r->row.policy.limits[i]);
    emit_close(b, '}');
    if (r->nhosts == 1)
        emit_limit_names(b, "unenforceable", r->hosts[0].unenforceable);
    emit_limit_names(b, "allow_unenforced", r->row.policy.allow_unenforced);
    emit_strs(b, "egress", &r->row.policy.egress);
    emit_text(b, "image", r->row.policy.image);
    emit_bool(b, "nested_userns", r->row.policy.nested_userns);
    emit_text(b, "cache", r->row.cache);
    emit_text(b, "cache_sha256", r->row.policy.cache);
    emit_bool(b, "trusted", r->row.policy.cache_keep);
    emit_text(b, "agent", r->row.agent);
    emit_text(b, "provider", r->row.policy.spend.provider);
    emit_uint(b, "usd_micros", r->row.policy.spend.usd_micros);
    emit_strs(b, "models", &r->row.policy.spend.models);
    emit_text(b, "repo_access", repo_mode_names[r->row.policy.repo.mode]);
    emit_text(b, "repo_url", r->row.policy.repo.url);
    return run_event_end(&r->view, err);
}

static int plan_show(struct run *r, const struct plan *plan, struct err *err)
{
    struct buf text;

    if (r->o->json)
        return plan_event(r, err);
    buf_init(&text, CLI_OUT_MAX);
    plan_text(plan, &text);
    (void)!write_all(STDERR_FILENO, text.data, text.len);
    buf_done(&text);
    return 0;
}

static int ask(const struct run *r, struct err *err)
{
    static const char question[] = "run this? [y/N] ";
    char answer[16] = "";

    if (r->o->yes)
        return 0;
    if (!r->cli->tty_in || !r->cli->tty_err)
        return err_set(err, ERR_USAGE, "not a terminal: add --yes");
    (void)!write_all(STDERR_FILENO, question, sizeof(question) - 1);
    if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return 0;
    return err_set(err, ERR_CANCELLED, "not confirmed: nothing was signed or sent");
}

/* ---- the engine, started while we pack ---- */

static void *engine_start(void *arg)
{
    struct run *r = arg;

    r->engine = engine_poke(&r->paths, true, &r->start_err);
    return NULL;
}

static void engine_begin(struct run *r)
{
    r->engine = engine_poke(&r->paths, false, NULL);
    if (r->engine < 0)
        r->starting = pthread_create(&r->starter, NULL, engine_start, r) == 0;
}

/* The task is in the store by now, so an engine that does not start loses nothing. */
static int engine_wake(struct run *r, struct err *err)
{
    if (r->starting)
        pthread_join(r->starter, NULL);
    else if (r->engine < 0)
        engine_start(r);
    r->starting = false;
    if (r->engine < 0) {
        *err = r->start_err;
        return err_wrap(err, "task %s is queued, but nothing works on it", r->row.id);
    }
    /* A socket that broke meanwhile is found and mended by whoever follows. */
    (void)!send(r->engine, ".", 1, MSG_NOSIGNAL);
    return 0;
}

/* ---- the source ---- */

static void task_dir_remove(struct run *r)
{
    char rel[sizeof("tasks/") + ID_SIZE];

    snprintf(rel, sizeof(rel), "tasks/%s", r->row.id);
    tree_remove(r->paths.rootfd, rel, NULL);
}

static int pack(struct run *r, struct err *err)
{
    char quarantine[PATH_MAX];
    struct source_pack got;
    int rc = paths_task(&r->paths, r->row.id, "quarantine.git", quarantine, err);

    run_progress(&r->view, "packing %.12s of %s", r->source.base, r->source.repo);
    rc = rc < 0 ? rc : source_snapshot(&r->source, quarantine, &got, err);
    if (rc == 0 && follow_interrupted())
        rc = err_set(err, ERR_CANCELLED, "interrupted");
    if (rc < 0)
        return rc;
    memcpy(r->row.root, got.root, sizeof(r->row.root));
    memcpy(r->row.pack, got.name, sizeof(r->row.pack));
    memcpy(r->row.pack_sha256, got.sha256, sizeof(r->row.pack_sha256));
    r->row.pack_bytes = got.bytes;
    return 0;
}

static int queue(struct run *r, struct err *err)
{
    int rc, dirfd = paths_task_dir(&r->paths, r->row.id, true, err);

    if (dirfd < 0)
        return dirfd;
    fd_close(&dirfd);
    rc = pack(r, err);
    if (rc == 0) {
        r->row.created_ms = clock_wall_ms();
        rc = store_task_add(r->store, &r->row, err);
    }
    if (rc < 0)
        task_dir_remove(r);
    if (rc < 0 && follow_interrupted()) {
        r->cli->status = 130;
        rc = err_set(err, ERR_CANCELLED, "interrupted: nothing was signed or sent");
    }
    return rc;
}

/* ---- following ---- */

/* By Ctrl-C, or because nobody reads our stdout any more. */
static int detached(struct run *r, struct err *err)
{
    int rc = run_view_finish(&r->view, NULL);

    if (rc == 0 && r->o->json) {
        run_event(&r->view, "detached");
        emit_text(&r->view.out, "id", r->row.id);
        run_event_end(&r->view, err);
    }
    cli_say("detached: the task goes on");
    cli_say("  creel logs -f %s     to watch it again", r->row.id);
    cli_say("  creel cancel %s      to end it", r->row.id);
    r->cli->status = 130;
    return 0;
}

static int end_event(struct run *r, const struct report *report, struct err *err)
{
    run_event(&r->view, "end");
    report_row_json(report->row, &r->view.out);
    report_result_json(report, &r->view.out);
    return run_event_end(&r->view, err);
}

/* The exit status is the outcome; the summary has said why, so no message is added. */
static int ended(struct run *r, const struct task_row *row, struct err *err)
{
    struct report report;
    struct buf text;
    int rc = run_view_finish(&r->view, err);

    if (rc < 0)
        return rc;
    report_load(&r->paths, r->store, row, &report);
    if (r->o->json) {
        rc = end_event(r, &report, err);
    } else {
        buf_init(&text, CLI_OUT_MAX);
        report_text(&report, &text);
        (void)!write_all(STDERR_FILENO, text.data, text.len);
        buf_done(&text);
    }
    report_done(&report);
    if (rc == 0 && row->code != 0)
        rc = err_set(err, (enum err_code)row->code, "%s", "");
    return rc;
}

static int follow(struct run *r, struct err *err)
{
    struct follow f = {.paths = &r->paths,
                       .store = r->store,
                       .id = r->row.id,
                       .engine = r->engine,
                       .detachable = true};
    struct task_row last;
    int rc;

    run_view_follow(&r->view, &f);
    rc = follow_task(&f, &last, err);
    r->engine = f.engine;
    if (rc < 0)
        return err->msg[0] ? rc : detached(r, err);
    rc = rc == 1 ? detached(r, err) : ended(r, &last, err);
    task_row_done(&last);
    return rc;
}

static int print_id(struct run *r, struct err *err)
{
    run_progress_clear(&r->view);
    if (r->o->json) {
        run_event(&r->view, "queued");
        emit_text(&r->view.out, "id", r->row.id);
        return run_event_end(&r->view, err);
    }
    buf_addf(&r->view.out, "%s\n", r->row.id);
    return cli_out(&r->view.out, err);
}

static int go(struct run *r, struct err *err)
{
    int rc = prepare(r, err);
    struct plan plan = {&r->source, r->hosts, r->nhosts, &r->row, &r->books};

    rc = rc < 0 ? rc : plan_check(&plan, err);
    rc = rc < 0 ? rc : plan_show(r, &plan, err);
    rc = rc < 0 ? rc : ask(r, err);
    if (rc < 0)
        return rc;
    follow_catch_interrupt();
    engine_begin(r);
    rc = queue(r, err);
    rc = rc < 0 ? rc : engine_wake(r, err);
    if (rc < 0)
        return rc;
    return r->o->detach ? print_id(r, err) : follow(r, err);
}

static int run(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct run *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return err_set(err, ERR_FAIL, "out of memory");
    r->cli = cli;
    r->o = opts;
    r->engine = -1;
    r->paths.rootfd = -1;
    run_view_init(&r->view, cli, r->o->json);
    rc = run_spec_make(cli, r->o, args, nargs, &r->spec, err);
    rc = rc < 0 ? rc : run_agent_load(&r->spec, &r->agent, err);
    rc = rc < 0 ? rc : cli_open(cli, &r->paths, &r->store, err);
    if (rc == 0) {
        rc = go(r, err);
        if (r->starting)
            pthread_join(r->starter, NULL);
        run_progress_clear(&r->view);
        cli_close(&r->paths, r->store);
    }
    fd_close(&r->engine);
    run_view_done(&r->view);
    task_row_done(&r->row);
    free(r->hosts);
    spend_books_done(&r->books);
    agent_profile_done(&r->agent);
    run_spec_done(&r->spec);
    free(r);
    return rc;
}

const struct cmd cmd_run = {
    .name = "run",
    .args = "[options] -- COMMAND...  |  creel run --agent NAME [options] PROMPT...  |\n"
            "       creel run [options] TASK.json",
    .summary = "Run a command on a host and bring back its patch.",
    .help =
        "The command runs in a jail on the host, in a copy of the repository's commit, with no\n"
        "network but loopback unless --egress names what it may reach. Its words are taken as\n"
        "they are; for a shell line say sh -c '...'.\n"
        "The plan is shown first and asked about; Ctrl-C later detaches, the task goes on.\n"
        "The task's stdout comes to stdout, its stderr and all else to stderr.\n\n"
        "With --agent the words are the agent's prompt, and --budget bounds what its model calls\n"
        "may cost: they go through this machine, which alone has the provider's key.\n\n"
        "TASK.json: {\"command\":[...]} or {\"agent\":\"..\",\"prompt\":\"..\"} and, as wanted, "
        "\"repo\", \"base\", \"host\", \"title\",\n"
        "\"setup\":[...], \"tests\":[...], \"limits\":\"mem=4G\", \"allow_unenforced\":\"cpu\",\n"
        "\"egress\":[...], \"image\", \"cache\", \"trusted\":true, \"nested_userns\":true,\n"
        "\"provider\", \"budget\":\"2.50\", \"model\", \"calls\":N, \"calls_per_minute\":N,\n"
        "\"in_flight\":N, \"output_tokens\":N, \"repeats\":N,\n"
        "\"hosted_tools\":[...], \"repo_access\":\"read\", \"repo_url\". Flags win over it; no "
        "other\n"
        "keys are taken.\n\n"
        "A rule is a host's name (ports 80 and 443), NAME:PORT, *.SUFFIX, or a preset, which the\n"
        "host resolves from its package managers' own configuration. Every connection is\n"
        "recorded: creel show ID --egress lists them, with the flag that would allow each\n"
        "denied one.\n\n"
        "  creel run --test 'make check' -- sh -c 'sed -i s/teh/the/ README'\n"
        "  creel run --agent codex --budget 2.50 --test 'make check' 'fix the failing test'\n"
        "  creel run --limit mem=8G,wall=2h --host big -- ./agent.sh\n"
        "  creel run --egress npm,api.example.org --cache npm -- npm test\n\n"
        "exit status: 0 succeeded, 5 command or tests failed, 3 cancelled or timed out, 7 "
        "refused,\n"
        "6 host unreachable or lost, 4 keys or signatures wrong, 130 detached\n",
    .opts = options,
    .opts_size = sizeof(struct run_opts),
    .run = run,
};
