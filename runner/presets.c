/* Presets of egress rules: what is documented as a table, what the host's tools say by asking them. */
#include "runner/presets.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 8

/* Presets that a tool answers for: how it is asked, and which of its lines name registries. */
static const struct source {
    const char *argv[ARGS_MAX];    /* none: nobody is asked */
    const char *line;              /* lines without this are not looked at */
    const char *builtin[ARGS_MAX]; /* what holds without a tool */
    const char *instead;           /* and beside its answer, unless that has this */
} sources[PRESET_COUNT] = {
    [PRESET_NPM] = {.argv = {"npm", "config", "list", "--json"}, .line = "registry\": \""},
    /* Without --no-release-info it is silent until lists were fetched. */
    [PRESET_APT] = {.argv = {"apt-get", "indextargets", "--no-release-info", "--format",
                             "$(REPO_URI)"},
                    .line = ""},
    /* pip's user guide, "Configuration", and PyPI's documentation of its two hosts */
    [PRESET_PIP] = {.argv = {"python3", "-m", "pip", "config", "list"},
                    .line = "index-url=",
                    .instead = ".index-url=",
                    .builtin = {"pypi.org:443", "files.pythonhosted.org:443"}},
    /* The Cargo Book, "Registry Index"; index.crates.io/config.json */
    [PRESET_CARGO] = {.builtin = {"index.crates.io:443", "static.crates.io:443", "crates.io:443"}},
    /* Go Modules Reference, "Environment variables": GOPROXY, GOSUMDB */
    [PRESET_GO] = {.builtin = {"proxy.golang.org:443", "sum.golang.org:443"}},
    /* GitHub Docs, "About GitHub's IP addresses" and the hosts that releases and raw files come from */
    [PRESET_GITHUB] = {.builtin = {"github.com", "api.github.com:443", "codeload.github.com:443",
                                   "raw.githubusercontent.com:443",
                                   "objects.githubusercontent.com:443",
                                   "release-assets.githubusercontent.com:443"}},
};

static bool same_rule(const struct egress_rule *a, const struct egress_rule *b)
{
    return a->kind == b->kind && a->port == b->port && strcmp(a->name, b->name) == 0;
}

static bool add_rule(struct egress_rule *rules, size_t *n, size_t max, const struct egress_rule *r)
{
    for (size_t i = 0; i < *n; i++)
        if (same_rule(&rules[i], r))
            return true;
    if (*n == max)
        return false;
    rules[(*n)++] = *r;
    return true;
}

/* The host and port of the URL behind "//", of which user and password are dropped. */
static void add_url(struct preset *p, const char *authority, size_t n, const char *scheme_port)
{
    char text[DNS_NAME_SIZE + 8];
    struct egress_rule r;
    for (const char *at; (at = memchr(authority, '@', n));) {
        n -= (size_t)(at + 1 - authority);
        authority = at + 1;
    }
    int len = snprintf(text, sizeof text, "%.*s%s", (int)n, authority,
                       memchr(authority, ':', n) ? "" : scheme_port);
    for (int i = 0; i < len && i < (int)sizeof text; i++)
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] - 'A' + 'a');
    /* An address, a local name or an unheard-of port is nothing a rule can allow. */
    if (n <= DNS_NAME_MAX && egress_parse(text, &r, NULL) == 0 && r.kind == EGRESS_EXACT)
        add_rule(p->rules, &p->n, PRESET_RULES_MAX, &r);
}

/* Every http and https URL of one line of a tool's answer. */
static void add_line(struct preset *p, const char *line)
{
    for (const char *at = line; (at = strstr(at, "://"));) {
        const char *authority = at + 3;
        size_t n = strcspn(authority, "/?#\\\"' \t,;)");
        if (at - line >= 5 && memcmp(at - 5, "https", 5) == 0)
            add_url(p, authority, n, ":443");
        else if (at - line >= 4 && memcmp(at - 4, "http", 4) == 0)
            add_url(p, authority, n, ":80");
        at = authority + strcspn(authority, "\\\"' \t,;"); /* not into the URL's own path */
    }
}

static void read_answer(struct preset *p, char *text, const char *wanted)
{
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));)
        if (strstr(line, wanted))
            add_line(p, line);
}

static void add_builtin(struct preset *p, const char *const *names)
{
    struct egress_rule r;
    for (; *names; names++)
        if (egress_parse(*names, &r, NULL) == 0)
            add_rule(p->rules, &p->n, PRESET_RULES_MAX, &r);
}

/* The first executable of this name in `path`. */
static bool find_tool(const char *path, const char *name, char *out, size_t size)
{
    for (size_t n; *path; path += n + (path[n] == ':')) {
        n = strcspn(path, ":");
        int len = snprintf(out, size, "%.*s/%s", (int)n, path, name);
        if (n > 0 && len > 0 && (size_t)len < size && access(out, X_OK) == 0)
            return true;
    }
    out[0] = 0;
    return false;
}

void presets_load(struct presets *out, const char *path)
{
    *out = (struct presets){0};
    snprintf(out->path, sizeof out->path, "%s", path);
    for (int i = 0; i < PRESET_COUNT; i++) {
        struct preset *p = &out->of[i];
        const struct source *s = &sources[i];
        if (s->argv[0] && find_tool(path, s->argv[0], p->tool, sizeof p->tool))
            continue;
        add_builtin(p, s->builtin);
        if (p->n == 0)
            snprintf(p->why, sizeof p->why, "%s is not installed on this host", s->argv[0]);
    }
}

unsigned presets_known(const struct presets *p)
{
    unsigned bits = 0;
    for (int i = 0; i < PRESET_COUNT; i++)
        if (p->of[i].n > 0 || p->of[i].tool[0])
            bits |= 1u << i;
    return bits;
}

static void ask(struct presets *ps, enum egress_preset which)
{
    struct preset *p = &ps->of[which];
    struct err err = ERR_INIT;
    char words[ARGS_MAX][32] = {{0}}, *argv[ARGS_MAX + 1] = {NULL};
    if (ask_tool_late(&p->ask)) /* asked for a task that ended before it wanted to know */
        ask_tool_stop(&p->ask);
    if (p->n > 0 || !p->tool[0] || p->ask.pid != 0)
        return;
    for (size_t i = 0; i < ARGS_MAX && sources[which].argv[i]; i++) {
        snprintf(words[i], sizeof words[i], "%s", sources[which].argv[i]);
        argv[i] = words[i];
    }
    if (ask_tool_start(&p->ask, p->tool, argv, ps->path, &err) < 0)
        snprintf(p->why, sizeof p->why, "%.120s", err.msg);
}

void presets_ask(struct presets *p, const struct egress_rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rules[i].kind == EGRESS_PRESET)
            ask(p, rules[i].preset);
}

static void hear(struct preset *p, const struct source *s)
{
    struct err err = ERR_INIT;
    struct buf text;
    if (p->ask.pid == 0)
        return;
    buf_init(&text, ASK_TOOL_BYTES);
    int rc = ask_tool_finish(&p->ask, &text, &err);
    if (rc < 0 || !s->instead || !strstr(buf_str(&text), s->instead))
        add_builtin(p, s->builtin);
    if (rc == 0)
        read_answer(p, (char *)text.data, s->line);
    if (p->n == 0)
        snprintf(p->why, sizeof p->why, "%s %.90s", s->argv[0],
                 rc < 0 ? err.msg : "is set up for no http or https host with a name");
    buf_done(&text);
}

int presets_resolve(struct presets *p, const struct egress_rule *in, size_t n,
                    struct egress_rule out[static EGRESS_RULES_MAX], size_t *ret_n, struct err *err)
{
    size_t count = 0;
    bool fits = true;
    presets_ask(p, in, n);
    for (size_t i = 0; i < n; i++) {
        if (in[i].kind != EGRESS_PRESET) {
            fits = add_rule(out, &count, EGRESS_RULES_MAX, &in[i]) && fits;
            continue;
        }
        struct preset *of = &p->of[in[i].preset];
        hear(of, &sources[in[i].preset]);
        if (of->n == 0)
            return err_set(err, ERR_REFUSED, "the preset %s is not known on this host: %s",
                           preset_names[in[i].preset], of->why);
        for (size_t r = 0; r < of->n; r++)
            fits = add_rule(out, &count, EGRESS_RULES_MAX, &of->rules[r]) && fits;
    }
    if (!fits)
        return err_set(err, ERR_REFUSED, "over %d egress rules with the presets' own",
                       EGRESS_RULES_MAX);
    *ret_n = count;
    return 0;
}

void presets_done(struct presets *p)
{
    for (int i = 0; i < PRESET_COUNT; i++)
        ask_tool_stop(&p->of[i].ask);
}
