/* From command line or task file to one checked description of a run. Reads files and environment,
 * never the network or the repository.
 */
#include "controller/cli/run_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/term.h"
#include "controller/plan.h"
#include "proto/utf8.h"

#define TASK_FILE_MAX (1u << 20)
#define TITLE_BYTES   72

static const struct json_field spec_fields[] = {
    JSON_ROW(struct run_spec, TEXT, repo, .optional = true),
    JSON_ROW(struct run_spec, TEXT, base, .optional = true),
    JSON_ROW(struct run_spec, TEXT, host, .optional = true),
    JSON_ROW(struct run_spec, PROSE, title, .optional = true),
    JSON_ROW(struct run_spec, STRS, setup, .optional = true),
    JSON_ROW(struct run_spec, STRS, command, .optional = true),
    JSON_ROW(struct run_spec, STRS, tests, .optional = true),
    JSON_ROW(struct run_spec, TEXT, limits, .optional = true),
    JSON_ROW(struct run_spec, TEXT, allow_unenforced, .optional = true),
    JSON_ROW(struct run_spec, STRS, egress, .optional = true),
    JSON_ROW(struct run_spec, TEXT, image, .optional = true),
    JSON_ROW(struct run_spec, BOOL, nested_userns, .optional = true),
    JSON_ROW(struct run_spec, TEXT, cache, .optional = true),
    JSON_ROW(struct run_spec, BOOL, trusted, .optional = true),
    JSON_ROW(struct run_spec, TEXT, agent, .optional = true),
    JSON_ROW(struct run_spec, PROSE, prompt, .optional = true),
    JSON_ROW(struct run_spec, TEXT, provider, .optional = true),
    JSON_ROW(struct run_spec, TEXT, budget, .optional = true),
    JSON_ROW(struct run_spec, TEXT, model, .optional = true),
    JSON_ROW(struct run_spec, INT, calls, .optional = true),
    JSON_ROW(struct run_spec, INT, calls_per_minute, .optional = true),
    JSON_ROW(struct run_spec, INT, in_flight, .optional = true),
    JSON_ROW(struct run_spec, INT, output_tokens, .optional = true),
    JSON_ROW(struct run_spec, INT, repeats, .optional = true),
    JSON_ROW(struct run_spec, STRS, hosted_tools, .optional = true),
    JSON_ROW(struct run_spec, ENUM, repo_access, .names = repo_mode_names, .optional = true),
    JSON_ROW(struct run_spec, TEXT, repo_url, .optional = true),
    JSON_END,
};
static const struct json_shape spec_shape = {.size = sizeof(struct run_spec),
                                             .fields = spec_fields};

void run_spec_done(struct run_spec *s)
{
    json_release(&spec_shape, s);
}

/* Were the arguments set off by `--`? The options' parser does not say, the argument's place does. */
static bool after_dashes(const struct cli *cli, const char *first)
{
    for (int i = 1; i < cli->argc; i++)
        if (cli->argv[i] == first)
            return strcmp(cli->argv[i - 1], "--") == 0;
    return false;
}

static int from_file(const char *file, struct run_spec *out, struct err *err)
{
    struct buf text;
    int rc;

    buf_init(&text, TASK_FILE_MAX);
    rc = cli_read(file, &text, err);
    if (rc < 0)
        rc = err_wrap(err, "task file (a command stands after '--')");
    else if (json_decode(&spec_shape, text.data, text.len, out, err) < 0)
        rc = (err->code = ERR_USAGE, err_wrap(err, "%s", file));
    buf_done(&text);
    return rc;
}

static int from_words(char **words, size_t n, struct run_spec *out, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (strv_add(&out->command, words[i]) < 0)
            return err_set(err, ERR_FAIL, "out of memory");
    return 0;
}

/* What the jail's command line takes: text, no bytes that act on a terminal. */
static int prompt_set(const struct buf *text, struct run_spec *out, struct err *err)
{
    size_t n = text->len, line = 1;

    while (n > 0 && text->data[n - 1] == '\n')
        n--;
    if (text->failed || n >= sizeof(out->prompt))
        return err_set(err, ERR_USAGE,
                       "the prompt is longer than %zu bytes: put it into the "
                       "repository as a file and name that",
                       sizeof(out->prompt) - 1);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text->data[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            return err_set(err, ERR_USAGE, "the prompt holds a control byte (0x%02x) in line %zu",
                           c, line);
        line += c == '\n';
    }
    if (!utf8_valid(text->data, n))
        return err_set(err, ERR_USAGE, "the prompt is not UTF-8");
    memcpy(out->prompt, text->data, n);
    out->prompt[n] = 0;
    return 0;
}

/* The words, or a file, or with "-" stdin. */
static int prompt_read(const struct run_opts *o, char **words, size_t n, struct run_spec *out,
                       struct err *err)
{
    const char *file = o->prompt_file                     ? o->prompt_file
                       : n == 1 && !strcmp(words[0], "-") ? "-"
                                                          : "";
    struct buf text;
    int rc = 0;

    if (o->prompt_file && n > 0)
        return err_set(err, ERR_USAGE, "a prompt and --prompt-file: one of them");
    buf_init(&text, sizeof(out->prompt) + 4096);
    if (file[0])
        rc = cli_read(file, &text, err);
    for (size_t i = 0; !file[0] && i < n; i++) {
        buf_adds(&text, i ? " " : "");
        buf_adds(&text, words[i]);
    }
    rc = rc < 0 ? rc : prompt_set(&text, out, err);
    buf_done(&text);
    return rc;
}

static int text_over(const char *given, char *to, size_t size, const char *what, struct err *err)
{
    if (!given)
        return 0;
    if (strlen(given) >= size)
        return err_set(err, ERR_USAGE, "%s is too long (at most %zu bytes)", what, size - 1);
    memcpy(to, given, strlen(given) + 1);
    return 0;
}

static int list_over(const struct strv *given, struct strv *to, struct err *err)
{
    if (given->n == 0)
        return 0;
    strv_done(to);
    return strv_copy(to, given) < 0 ? err_set(err, ERR_FAIL, "out of memory") : 0;
}

/* "npm,example.org" is two rules. An empty one is left for the policy's check to refuse. */
static int rules_add(const char *given, struct strv *to, struct err *err)
{
    char rule[DNS_NAME_SIZE + 16];

    for (;; given++) {
        size_t n = strcspn(given, ",");
        if (n >= sizeof(rule))
            return err_set(err, ERR_USAGE, "--egress: '%.64s...' is too long for a host name",
                           given);
        memcpy(rule, given, n);
        rule[n] = 0;
        if (strv_add(to, rule) < 0)
            return err_set(err, ERR_FAIL, "out of memory");
        given += n;
        if (!*given)
            return 0;
    }
}

static int rules_over(const struct strv *given, struct strv *to, struct err *err)
{
    int rc = 0;

    if (given->n > 0)
        strv_done(to);
    for (size_t i = 0; rc == 0 && i < given->n; i++)
        rc = rules_add(given->v[i], to, err);
    return rc;
}

static const char *or_env(const char *given, const char *in_file, const char *name)
{
    const char *v = getenv(name);

    return given ? given : !in_file[0] && v && v[0] ? v : NULL;
}

static int mode_over(const char *given, int *to, struct err *err)
{
    for (int i = 0; given && i < REPO_MODE_COUNT; i++)
        if (strcmp(given, repo_mode_names[i]) == 0) {
            *to = i;
            return 0;
        }
    return given ? err_set(err, ERR_USAGE, "--repo-access %.20s: it is none, read, push or token",
                           given)
                 : 0;
}

static int count_over(unsigned given, int *to, const char *flag, struct err *err)
{
    if (given > INT32_MAX)
        return err_set(err, ERR_USAGE, "%s %u: out of range", flag, given);
    *to = given ? (int)given : *to;
    return 0;
}

static int spend_over(const struct run_opts *o, struct run_spec *s, struct err *err)
{
    int rc = text_over(o->agent, s->agent, sizeof(s->agent), "--agent", err);

    rc = rc < 0 ? rc : text_over(o->provider, s->provider, sizeof(s->provider), "--provider", err);
    rc = rc < 0 ? rc : text_over(o->budget, s->budget, sizeof(s->budget), "--budget", err);
    rc = rc < 0 ? rc : text_over(o->model, s->model, sizeof(s->model), "--model", err);
    rc = rc < 0 ? rc : text_over(o->repo_url, s->repo_url, sizeof(s->repo_url), "--repo-url", err);
    rc = rc < 0 ? rc : list_over(&o->hosted_tools, &s->hosted_tools, err);
    rc = rc < 0 ? rc : count_over(o->calls, &s->calls, "--calls", err);
    rc = rc < 0 ? rc
                : count_over(o->calls_per_minute, &s->calls_per_minute, "--calls-per-minute", err);
    rc = rc < 0 ? rc : count_over(o->in_flight, &s->in_flight, "--in-flight", err);
    rc = rc < 0 ? rc : count_over(o->output_tokens, &s->output_tokens, "--output-tokens", err);
    rc = rc < 0 ? rc : count_over(o->repeats, &s->repeats, "--repeats", err);
    return rc < 0 ? rc : mode_over(o->repo_access, &s->repo_access, err);
}

static int overlay(const struct run_opts *o, struct run_spec *s, struct err *err)
{
    const char *host = or_env(o->host, s->host, "CREEL_HOST");
    const char *allow = or_env(o->allow_unenforced, s->allow_unenforced, "CREEL_ALLOW_UNENFORCED");
    int rc = text_over(o->repo, s->repo, sizeof(s->repo), "--repo", err);

    rc = rc < 0 ? rc : text_over(o->base, s->base, sizeof(s->base), "--base", err);
    rc = rc < 0 ? rc : text_over(host, s->host, sizeof(s->host), "the host's name", err);
    rc = rc < 0 ? rc : text_over(o->title, s->title, sizeof(s->title), "--title", err);
    rc = rc < 0 ? rc : text_over(o->limit, s->limits, sizeof(s->limits), "--limit", err);
    rc = rc < 0 ? rc
                : text_over(allow, s->allow_unenforced, sizeof(s->allow_unenforced),
                            "--allow-unenforced", err);
    s->nested_userns |= o->nested_userns;
    s->trusted |= o->trusted;
    rc = rc < 0 ? rc : text_over(o->image, s->image, sizeof(s->image), "--image", err);
    rc = rc < 0 ? rc : text_over(o->cache, s->cache, sizeof(s->cache), "--cache", err);
    rc = rc < 0 ? rc : spend_over(o, s, err);
    rc = rc < 0 ? rc : rules_over(&o->egress, &s->egress, err);
    rc = rc < 0 ? rc : list_over(&o->setup, &s->setup, err);
    return rc < 0 ? rc : list_over(&o->test, &s->tests, err);
}

static int spec_check(const struct run_spec *s, struct err *err)
{
    if (s->agent[0] && s->command.n > 0)
        return err_set(err, ERR_USAGE, "an agent and a command: one of them");
    if (!s->agent[0] && s->prompt[0])
        return err_set(err, ERR_USAGE, "a prompt is for an agent: say which, --agent NAME");
    if (!s->agent[0] && (s->command.n == 0 || !s->command.v[0][0]))
        return err_set(err, ERR_USAGE, "no command: creel run [options] -- COMMAND...");
    if (s->calls < 0 || s->calls_per_minute < 0 || s->in_flight < 0 || s->output_tokens < 0 ||
        s->repeats < 0)
        return err_set(
            err, ERR_USAGE,
            "calls, calls_per_minute, in_flight, output_tokens and repeats are not negative");
    if (s->repo_access == REPO_NONE && s->repo_url[0])
        return err_set(err, ERR_USAGE, "--repo-url is for --repo-access read, push or token");
    if (s->command.n > TASK_ARGS_MAX)
        return err_set(err, ERR_USAGE, "the command has over %d words", TASK_ARGS_MAX);
    if (s->tests.n > TASK_TESTS_MAX || s->setup.n > TASK_TESTS_MAX)
        return err_set(err, ERR_USAGE, "over %d setup or test lines", TASK_TESTS_MAX);
    if (s->cache[0] && !store_cache_name_valid(s->cache))
        return err_set(err, ERR_USAGE,
                       "'%s' is not a cache's name: small letters, digits, '.', '_', '-'",
                       s->cache);
    if (s->trusted && !s->cache[0])
        return err_set(
            err, ERR_USAGE,
            "--trusted keeps what the task leaves in its cache: say which, --cache NAME");
    return 0;
}

int run_spec_make(const struct cli *cli, const struct run_opts *o, char **args, size_t nargs,
                  struct run_spec *out, struct err *err)
{
    int rc;

    *out = (struct run_spec){0};
    if (o->agent)
        rc = prompt_read(o, args, nargs, out, err);
    else if (o->prompt_file)
        rc = err_set(err, ERR_USAGE, "--prompt-file is for an agent: say which, --agent NAME");
    else if (nargs == 0)
        rc = err_set(err, ERR_USAGE, "nothing to run: creel run [options] -- COMMAND...");
    else if (after_dashes(cli, args[0]))
        rc = from_words(args, nargs, out, err);
    else if (nargs == 1)
        rc = from_file(args[0], out, err);
    else
        rc = err_set(err, ERR_USAGE,
                     "put '--' before the command: creel run [options] -- %.60s ...", args[0]);
    rc = rc < 0 ? rc : overlay(o, out, err);
    return rc < 0 ? rc : spec_check(out, err);
}

int run_spec_policy(const struct run_spec *s, const char *limits, struct policy *out,
                    struct err *err)
{
    int rc = 0;

    policy_init(out);
    if (limits[0])
        rc = policy_set_limits(out, limits, err);
    if (rc == 0 && s->limits[0])
        rc = policy_set_limits(out, s->limits, err);
    if (rc == 0 && s->allow_unenforced[0])
        rc = policy_allow_unenforced(out, s->allow_unenforced, err);
    if (rc == 0 && strv_copy(&out->egress, &s->egress) < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    memcpy(out->image, s->image, sizeof(out->image));
    out->nested_userns = s->nested_userns;
    out->cache_keep = s->trusted;
    out->repo.mode = s->repo_access;
    memcpy(out->repo.url, s->repo_url, sizeof(out->repo.url));
    return rc < 0 ? rc : policy_check(out, err);
}

void run_spec_title(const struct run_spec *s, char out[static 201])
{
    struct buf words, line;
    size_t n;

    buf_init(&words, JSON_BYTES_MAX);
    buf_init(&line, 8u << 20);
    if (s->agent[0])
        buf_add(&words, s->prompt, strcspn(s->prompt, "\n"));
    else
        plan_words(&s->command, &words);
    term_line(buf_str(&words), &line);
    n = line.len;
    if (n > TITLE_BYTES) {
        for (n = TITLE_BYTES; n > 0 && (line.data[n] & 0xc0) == 0x80; n--)
            ;
    }
    memcpy(out, line.data, n);
    out[n] = 0;
    buf_done(&words);
    buf_done(&line);
}
