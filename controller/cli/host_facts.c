/* Findings about a host, from the row that its last WELCOME filled. Connects to nothing. */
#include "controller/cli/host_facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct facts {
    host_fact_cb *cb;
    void *arg;
};

static void __attribute__((format(printf, 3, 4)))
fact(const struct facts *f, const char *fix, const char *fmt, ...)
{
    char text[4600]; /* an image list as long as the wire lets it be */
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    f->cb(f->arg, text, fix);
}

static void limits(const struct facts *f, const struct host_row *h)
{
    struct buf names;

    buf_init(&names, 256);
    limit_list(h->unenforceable, &names);
    if (h->unenforceable)
        fact(f,
             "give the runner cgroup v2 (systemd unit with Delegate=yes, as root), or run with "
             "--allow-unenforced",
             "cannot enforce %s: %s", buf_str(&names), h->unenforceable_why);
    else
        fact(f, NULL, "every limit holds (%s)", h->program);
    buf_done(&names);
}

static void jail(const struct facts *f, const struct host_row *h)
{
    if (!h->rooted)
        fact(f, "run creel-runner as root, as deploy/creel-runner.service does",
             "its runner has no root: jails share its user id, disks are memory");
    if (h->landlock_abi == 0)
        fact(f, "a kernel from 5.13 with landlock in its lsm= list (see /sys/kernel/security/lsm)",
             "its kernel has no Landlock: jails go without their second fence");
    else
        fact(f, NULL, "jails are fenced by Landlock ABI %u", h->landlock_abi);
    if (!h->memory_cleared)
        fact(f, "boot it with init_on_free=1 on the kernel's command line",
             "memory that a task frees keeps its content until it is used again");
}

static void disks(const struct facts *f, const struct host_row *h)
{
    if (h->disk_images)
        fact(f, NULL, "disks that memory cannot hold are encrypted, their key only in the kernel");
    else if (h->rooted)
        fact(f, "load the kernel modules loop and dm_crypt there, then restart creel-runner",
             "a task's disk cannot be larger than what memory holds: %s",
             h->disk_images_why[0] ? h->disk_images_why : "its runner did not say why");
    if (h->images[0])
        fact(f, NULL, "images: %s", h->images);
    if (h->tools[0])
        fact(f, NULL, "tools for agents: %s", h->tools);
}

static void egress(const struct facts *f, const struct host_row *h)
{
    char names[128] = "";
    size_t n = 0;

    for (int i = 0; i < PRESET_COUNT; i++)
        if (h->presets & 1u << i)
            n += (size_t)snprintf(names + n, sizeof(names) - n, " %s", preset_names[i]);
    if (h->presets)
        fact(f, NULL, "presets of --egress that it resolves:%s", names);
    if (h->reach[0])
        fact(f, "restart creel-runner there without --reach unless that is meant",
             "its gate lets the names of --egress lead into private networks: %s", h->reach);
}

void host_facts(const struct host_row *h, host_fact_cb *cb, void *arg)
{
    struct facts f = {cb, arg};

    limits(&f, h);
    jail(&f, h);
    disks(&f, h);
    egress(&f, h);
}
