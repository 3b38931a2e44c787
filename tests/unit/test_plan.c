/* The plan: what a person sees before anything is signed, and which hosts will do. */
#include "tests/unit/cm.h"

#include <string.h>

#include "controller/plan.h"
#include "tests/unit/doc_samples.h"

static struct err err;

static void host(struct host_row *h, const char *name)
{
    *h = (struct host_row){.port = 22, .presets = 1u << PRESET_NPM};
    memcpy(h->name, name, strlen(name) + 1);
    SET(h->user, "creel");
    SET(h->addr, "192.0.2.7");
    SET(h->host_key_fpr, SAMPLE_FPR_B);
    SET(h->images, "debian-12 ");
}

static void has(const struct buf *b, const char *part)
{
    if (!strstr(buf_str(b), part))
        fail_msg("not found: %s\nin: %s", part, buf_str(b));
}

static void everything_unusual_is_shown(void **state)
{
    static struct source source;
    static struct task_row task;
    struct host_row h;
    struct plan plan = {&source, &h, 1, &task};
    struct buf b;

    host(&h, "box");
    SET(h.reach, "10.0.0.0/8 ");
    h.unenforceable = LIMIT_BIT(LIMIT_MEM);
    SET(h.unenforceable_why, "no cgroup \x1b[2J");
    SET(source.repo, "/r");
    policy_init(&task.policy);
    strv_add(&task.command, "true");
    strv_add(&task.policy.egress, "npm");
    strv_add(&task.policy.egress, "apt");
    strv_add(&task.policy.egress, "*.example.org:8443");
    SET(task.policy.image, "alpine");
    SET(task.cache, "deps");
    task.policy.cache_keep = task.policy.nested_userns = true;
    memset(task.policy.cache, 'a', 64);
    SET(task.agent, "codex");
    SET(task.tool, "codex");
    strv_add(&task.env, "A=\x1b[2J");
    struct task_file *file = json_list_push(&task.files, &task_file_shape);
    SET(file->path, ".codex/config.toml");
    strv_add(&file->lines, "x");
    SET(task.policy.spend.provider, "openai");
    task.policy.spend.usd_micros = 2500000;
    task.policy.spend.calls = 500;
    strv_add(&task.policy.spend.models, "gpt-5.5");
    strv_add(&task.policy.spend.hosted_tools, "web_search");
    task.policy.repo.mode = REPO_PUSH;
    SET(task.policy.repo.url, "https://forge.example/o/r");
    buf_init(&b, 1u << 20);
    plan_text(&plan, &b);
    has(&b, "network       npm  (preset: what the host's npm is set up to use)\n");
    has(&b,
        "apt  (preset: what the host's apt is set up to use); not set up there when last seen\n");
    has(&b, "*.example.org:8443  (every name below it, port 8443)\n");
    has(&b, "box lets such names lead into private networks: 10.0.0.0/8");
    has(&b, "image         alpine; the host did not have it when last seen\n");
    has(&b, "cache         deps (sha256 aaaaaaaaaaaa...), read-only below its own writes; TRUSTED");
    has(&b, "namespaces    it may make user namespaces");
    has(&b, "not enforced  mem on this host: no cgroup ");
    has(&b, "agent         codex\n");
    has(&b, "no 'codex' among its tools when last seen (deploy/tools makes them): it must be in "
            "the image");
    has(&b, "files         ~/.codex/config.toml  (1 lines)\n");
    has(&b, "model calls   $2.50 at openai, for the whole task\n");
    has(&b, "at most 500 calls, ");
    has(&b, "models: gpt-5.5\n");
    has(&b, "OUTSIDE the egress gate: web_search\n");
    has(&b,
        "remote        it may read, and push to its own branch of, https://forge.example/o/r\n");
    assert_null(strchr(buf_str(&b), 0x1b));
    assert_int_equal(plan_check(&plan, &err), -ERR_REFUSED);
    assert_non_null(strstr(err.msg, "--allow-unenforced mem"));
    task.policy.allow_unenforced = LIMIT_BIT(LIMIT_MEM);
    assert_ok(plan_check(&plan, &err));
    buf_done(&b);
    task_row_done(&task);
}

static void one_of_several_hosts_is_enough(void **state)
{
    static struct source source;
    static struct task_row task;
    struct host_row hosts[2];
    struct plan plan = {&source, hosts, 2, &task};
    struct buf b;

    host(&hosts[0], "one");
    host(&hosts[1], "two");
    policy_init(&task.policy);
    strv_add(&task.command, "true");
    hosts[0].unenforceable = LIMIT_BIT(LIMIT_PIDS);
    assert_ok(plan_check(&plan, &err));
    buf_init(&b, 1u << 20);
    plan_text(&plan, &b);
    has(&b, "the least busy of 2 that can enforce the limits: one, two\n");
    has(&b, "not enforced  pids on one: ");
    buf_done(&b);
    hosts[1].unenforceable = LIMIT_BIT(LIMIT_CPU);
    assert_int_equal(plan_check(&plan, &err), -ERR_REFUSED);
    assert_non_null(strstr(err.msg, "none of the hosts"));
    task_row_done(&task);
}

static void what_a_host_lacks(void **state)
{
    struct host_row h;
    struct policy p;

    host(&h, "box");
    policy_init(&p);
    assert_true(plan_host_fits(&h, &p));
    strv_add(&p.egress, "example.org");
    strv_add(&p.egress, "npm");
    SET(p.image, "debian-12");
    assert_true(plan_host_fits(&h, &p));
    strv_add(&p.egress, "cargo");
    assert_false(plan_host_fits(&h, &p));
    h.presets |= 1u << PRESET_CARGO;
    assert_true(plan_host_fits(&h, &p));
    SET(p.image, "debian-1");
    assert_false(plan_host_fits(&h, &p));
    p.image[0] = 0;
    h.unenforceable = LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_CPU);
    p.allow_unenforced = LIMIT_BIT(LIMIT_MEM);
    assert_false(plan_host_fits(&h, &p));
    p.allow_unenforced |= LIMIT_BIT(LIMIT_CPU);
    assert_true(plan_host_fits(&h, &p));
    policy_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_unusual_is_shown),
        cmocka_unit_test(one_of_several_hosts_is_enough),
        cmocka_unit_test(what_a_host_lacks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
