/* Profiles of agents: the ones that come with the program are sound, others are read strictly, and what a
 * task gets of one is exactly what stands in it. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/cm.h"

#include "controller/agent_profile.h"

static struct err err;

#define TOP "{\"name\":\"mine\",\"argv\":[\"a\",\"${PROMPT}\"],\"dialect\":\"chat\""

static int parse(const char *text, struct agent_profile *out)
{
    err = (struct err)ERR_INIT;
    return agent_profile_parse(text, strlen(text), "x.json", out, &err);
}

static void builtins_are_sound(void **state)
{
    static const char *const names[] = {"codex", "claude", "opencode", "openclaw", "sh"};
    size_t n = 0, len;

    for (const char *text; (text = agent_builtin_text(n, &len)); n++) {
        struct strv command = {0}, env = {0};
        struct json_list files = {0};
        struct agent_profile p;

        assert_ok(agent_profile_parse(text, len, "builtin", &p, &err));
        assert_true(n < 5);
        assert_string_equal(p.name, names[n]);
        assert_true(agent_wants_prompt(&p) && p.about[0]);
        assert_ok(agent_profile_expand(&p, "-x ${MODEL}", p.model, &command, &env, &files, &err));
        assert_ok(task_extras_check(&env, &files, &err));
        /* The prompt is one word, taken as it is, and no option: its own or the last after "--". */
        assert_string_equal(command.v[command.n - 1], "-x ${MODEL}");
        assert_true(strcmp(command.v[command.n - 2], "--") == 0 ||
                    strcmp(command.v[command.n - 2], "-c") == 0);
        strv_done(&command);
        strv_done(&env);
        task_files_done(&files);
        agent_profile_done(&p);
    }
    assert_int_equal(n, 5);
}

static void marks_are_filled(void **state)
{
    struct strv command = {0}, env = {0};
    struct json_list files = {0};
    struct agent_profile p;

    assert_ok(parse("{\"name\":\"mine\",\"argv\":[\"a\",\"m=${MODEL} ${HOME}\",\"${PROMPT}\"],"
                    "\"files\":[{\"path\":\"d/f\",\"lines\":[\"k=${MODEL}\",\"" TASK_TOKEN_MARK
                    "${OTHER}\"]}],\"env\":[\"A=${HOME}/x\",\"K=" TASK_TOKEN_MARK "\"],"
                    "\"dialect\":\"messages\",\"model\":\"m/1\",\"limits\":\"mem=4G\"}",
                    &p));
    assert_ok(agent_profile_expand(&p, "${HOME} $(x)", "q:2", &command, &env, &files, &err));
    assert_int_equal(command.n, 3);
    assert_string_equal(command.v[1], "m=q:2 /home/agent");
    assert_string_equal(command.v[2], "${HOME} $(x)");
    assert_string_equal(env.v[0], "A=/home/agent/x");
    assert_string_equal(env.v[1], "K=" TASK_TOKEN_MARK);
    const struct task_file *f = files.items;
    assert_int_equal(files.n, 1);
    assert_string_equal(f->path, "d/f");
    assert_string_equal(f->lines.v[0], "k=q:2");
    assert_string_equal(f->lines.v[1], TASK_TOKEN_MARK "${OTHER}");
    strv_done(&command);
    strv_done(&env);
    task_files_done(&files);
    /* A model's name stands within quotes of files: it may not end them. */
    static const char *const bad[] = {"", "a\"b", "a b", "a\\", "a\nb", "${HOME}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(agent_profile_expand(&p, "x", bad[i], &command, &env, &files, &err),
                         -ERR_USAGE);
        assert_int_equal(command.n, 0);
    }
    assert_int_equal(agent_profile_expand(&p, "", "m", &command, &env, &files, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "wants a prompt"));
    agent_profile_done(&p);
}

static void others_are_read_strictly(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "x.json"},
        {"{}", "name"},
        {TOP "} ", NULL},
        {TOP ",\"more\":1}", "more"},
        {TOP ",\"events\":\"xml\"}", "events"},
        {"{\"name\":\"A b\",\"argv\":[\"a\"],\"dialect\":\"chat\"}", "name"},
        {"{\"name\":\"a\",\"argv\":[],\"dialect\":\"chat\"}", "argv"},
        {"{\"name\":\"a\",\"argv\":[\"a\"],\"dialect\":\"smoke\"}", "dialect"},
        {"{\"name\":\"a\",\"argv\":[\"" TASK_TOKEN_MARK "\"],\"dialect\":\"chat\"}", "token"},
        {TOP ",\"env\":[\"CREEL_X=1\"]}", "not the task's to set"},
        {TOP ",\"env\":[\"LD_PRELOAD=1\"]}", "not the task's to set"},
        {TOP ",\"env\":[\"X=${PROMPT}\"]}", "argv only"},
        {TOP ",\"files\":[{\"path\":\"../x\",\"lines\":[]}]}", "path below the home"},
        {TOP ",\"files\":[{\"path\":\"/x\",\"lines\":[]}]}", "path below the home"},
        {TOP ",\"limits\":\"mem=1\"}", "limits"},
        {TOP ",\"limits\":\"speed=1\"}", "limits"},
        {TOP ",\"model\":\"a b\"}", "model"},
        {TOP ",\"tool\":\"../x\"}", "tool"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct agent_profile p;
        int rc = parse(bad[i].text, &p);

        if (!bad[i].says) {
            assert_ok(rc);
            agent_profile_done(&p);
            continue;
        }
        assert_int_equal(rc, -ERR_USAGE);
        if (!strstr(err.msg, bad[i].says) || !strstr(err.msg, "x.json"))
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
}

static void unknown_names_are_told(void **state)
{
    struct agent_profile p;
    char means[201];

    assert_int_equal(agent_profile_builtin("cod", &p, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "codex, claude, opencode, openclaw, sh"));
    agent_exit_means("codex", 1, means);
    assert_string_not_equal(means, "");
    agent_exit_means("codex", 77, means);
    assert_string_equal(means, "");
    agent_exit_means("mine", 1, means);
    assert_string_equal(means, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtins_are_sound),
        cmocka_unit_test(marks_are_filled),
        cmocka_unit_test(others_are_read_strictly),
        cmocka_unit_test(unknown_names_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
