/* creel host test: one connection, to see that a host still shows its pinned keys. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "controller/cli/verbs.h"
#include "controller/probe.h"

static int look(struct store *s, const struct paths *p, const struct host_row *h, struct err *err)
{
    struct host_target t = {.port = h->port};
    struct probe seen;
    uint64_t began = clock_mono_us();
    int rc;

    snprintf(t.name, sizeof(t.name), "%s", h->name);
    snprintf(t.user, sizeof(t.user), "%s", h->user);
    snprintf(t.addr, sizeof(t.addr), "%s", h->addr);
    memcpy(t.host_key_fpr, h->host_key_fpr, sizeof(t.host_key_fpr));
    rc = paths_ssh_key(p, t.ssh_key, err);
    rc = rc < 0 ? rc : probe_host(&t, &seen, err);
    rc = rc < 0 ? rc : store_host_seen(s, h->name, &seen.welcome, false, err);
    if (rc == 0)
        cli_say("host %s answers: %s, %u ms, %u attempt%s of ours there", h->name,
                seen.welcome.program, (unsigned)((clock_mono_us() - began) / 1000), seen.attempts,
                seen.attempts == 1 ? "" : "s");
    return rc;
}

static int test(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host test NAME", err);

    (void)opts;
    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    rc = rc < 0 ? rc : look(s, &p, &h, err);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_test = {
    .name = "test",
    .args = "NAME",
    .summary = "Connect once and check the pinned keys.",
    .run = test,
};
