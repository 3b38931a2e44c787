/* What `creel run` was asked to do: flags, or a task file with the same fields, in one struct. */
#ifndef CONTROLLER_CLI_RUN_SPEC_H
#define CONTROLLER_CLI_RUN_SPEC_H

#include "controller/cli/cmd.h"

struct run_opts {
    const char *repo, *base, *host, *title, *limit, *allow_unenforced, *image, *cache;
    const char *agent, *prompt_file, *provider, *budget, *model, *repo_access, *repo_url;
    unsigned calls, calls_per_minute, in_flight, output_tokens, repeats;
    struct strv setup, test, egress, hosted_tools;
    bool json, yes, detach, trusted, nested_userns;
};

struct run_spec {
    char repo[PATH_MAX], base[1024], host[HOST_NAME_SIZE], title[201];
    char limits[256], allow_unenforced[256]; /* text forms, as the flags take them */
    char image[65], cache[CACHE_NAME_SIZE];
    bool trusted, nested_userns;
    struct strv setup, command, tests, egress;
    char agent[PATH_MAX]; /* a profile's name or file; then `prompt` and no command */
    char prompt[JSON_STR_MAX + 1];
    char provider[PROVIDER_NAME_SIZE], budget[33], model[MODEL_NAME_SIZE];
    int calls, calls_per_minute, in_flight, output_tokens, repeats; /* 0: the default */
    struct strv hosted_tools;
    int repo_access; /* enum repo_mode */
    char repo_url[REPO_URL_SIZE];
};

/* Fills from the task file or the words after `--`, which with --agent are the prompt; a flag that is given wins over the file, the
 * environment gives what neither says. run_spec_done() frees, also after failure. */
int run_spec_make(const struct cli *cli, const struct run_opts *o, char **args, size_t nargs,
                  struct run_spec *out, struct err *err);
void run_spec_done(struct run_spec *s);
/* The policy that a spec asks for, on top of `limits` ("mem=2G", may be empty), but for what it may spend;
 * which digest its cache has, only the store knows. */
int run_spec_policy(const struct run_spec *s, const char *limits, struct policy *out,
                    struct err *err);
/* A title when none was given: the prompt's or the command's words, cut. */
void run_spec_title(const struct run_spec *s, char out[static 201]);

#endif
