/* The judgement at the end: which fact wins, and the words for it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "runner/outcome.h"

static struct task task;
static struct step_result steps[5];
static struct warden_usage usage;
static char reason[OUTCOME_REASON_SIZE];

static struct outcome_facts facts(void)
{
    return (struct outcome_facts){
        .task = &task, .steps = steps, .nsteps = 5, .usage = &usage, .error = ""};
}

static int setup(void **state)
{
    static const int kinds[5] = {STEP_CHECKOUT, STEP_SETUP, STEP_COMMAND, STEP_TEST, STEP_COLLECT};
    (void)state;
    policy_init(&task.policy);
    memset(&usage, 0, sizeof usage);
    memset(steps, 0, sizeof steps);
    for (int i = 0; i < 5; i++) {
        steps[i].kind = kinds[i];
        steps[i].ran = true;
        snprintf(steps[i].name, sizeof steps[i].name, "step%d", i);
    }
    return 0;
}

static void every_exit_zero_succeeds(void **state)
{
    struct outcome_facts f = facts();
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_SUCCEEDED);
    assert_string_equal(reason, "");
    usage.oom_kills = 3; /* it survived */
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_SUCCEEDED);
}

static void the_first_failure_is_named(void **state)
{
    struct outcome_facts f = facts();
    steps[3].exit = 1;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_FAILED);
    assert_string_equal(reason, "test 'step3' exited with 1");
    steps[2].exit = -1;
    steps[2].signal = 11;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_FAILED);
    assert_string_equal(reason, "command 'step2' was ended by signal 11");
    usage.pids_hits = 4;
    outcome_judge(&f, reason);
    assert_non_null(strstr(reason, "; process limit 512 reached, 4 forks refused"));
    steps[2].ran = steps[3].ran = false; /* skipped steps judge nothing */
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_ERROR);
}

static void the_order_holds(void **state)
{
    struct outcome_facts f = facts();
    steps[2].exit = 1;
    f.error = "the pipe broke";
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_ERROR);
    assert_string_equal(reason, "the pipe broke");
    usage.oom_kills = 1;
    usage.mem_peak = 2ull << 30;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_LIMIT);
    assert_string_equal(
        reason, "memory limit 2 GiB reached, peak 2 GiB, 1 process group killed; the pipe broke");
    f.timed_out = true;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_TIMED_OUT);
    assert_string_equal(reason, "wall limit 30 min reached; the pipe broke");
    f.cancelled = true;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_CANCELLED);
    assert_string_equal(reason, "cancelled by the operator; the pipe broke");
}

static void a_full_disk_is_a_limit(void **state)
{
    struct outcome_facts f = facts();
    usage.disk_peak = 4ull << 30;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_SUCCEEDED);
    steps[2].exit = 1;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_LIMIT);
    assert_string_equal(reason, "disk limit 4 GiB reached, peak 4 GiB");
    usage.disk_peak = 3ull << 30;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_FAILED);
}

static void memory_may_also_end_the_collecting(void **state)
{
    struct outcome_facts f = facts();
    f.error = "collect: the memory limit ended it";
    f.collect_oom = true;
    f.collect_mem_peak = 1ull << 30;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_LIMIT);
    assert_string_equal(reason,
                        "memory limit 2 GiB reached, peak 1 GiB, 1 process group killed, while "
                        "collecting; collect: the memory limit ended it");
    f.cancelled = true;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_CANCELLED);
    assert_non_null(strstr(reason, "; collect: the memory limit ended it"));
}

static void the_job_s_peak_is_its_own(void **state)
{
    struct outcome_facts f = facts();
    usage.oom_kills = 1;
    usage.mem_peak = 2ull << 30;
    f.run_signal = 9;
    f.error = "collect: the patch is too large";
    f.collect_mem_peak = 3ull << 30;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_LIMIT);
    assert_non_null(strstr(reason, "memory limit 2 GiB reached, peak 2 GiB"));
}

static void a_broken_jail_is_no_success(void **state)
{
    struct outcome_facts f = facts();
    f.run_signal = 9;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_ERROR);
    f.run_signal = 0;
    steps[2].ran = false; /* a jail that ran nothing proves nothing */
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_ERROR);
    steps[2].ran = true;
    steps[3].ran = false; /* nor does one whose tests were never heard of */
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_ERROR);
    assert_string_equal(reason, "the jail ended well, but test 'step3' never ran");
    steps[2].exit = 1;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_ERROR);
    f.run_exit = 1; /* a setup line that fails ends the run: then the rest does not run */
    steps[2].exit = 0;
    steps[1].exit = 2;
    assert_int_equal(outcome_judge(&f, reason), OUTCOME_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_exit_zero_succeeds, setup),
        cmocka_unit_test_setup(the_first_failure_is_named, setup),
        cmocka_unit_test_setup(the_order_holds, setup),
        cmocka_unit_test_setup(a_full_disk_is_a_limit, setup),
        cmocka_unit_test_setup(memory_may_also_end_the_collecting, setup),
        cmocka_unit_test_setup(the_job_s_peak_is_its_own, setup),
        cmocka_unit_test_setup(a_broken_jail_is_no_success, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
