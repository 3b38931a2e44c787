/* States: the whole transition table against an independent listing, and the names. */
#include "tests/unit/cm.h"

#include <string.h>

#include "proto/state.h"

/* "from to" for every legal move that is not staying. Written out: the table itself is code. */
static const char *const legal[] = {
    "queued leased",      "queued failed",      "queued cancelled",   "queued refused",
    "leased queued",      "leased sending",     "leased failed",      "leased cancelled",
    "leased refused",     "sending queued",     "sending running",    "sending collecting",
    "sending failed",     "sending stuck",      "sending cancelled",  "sending refused",
    "sending lost",       "running collecting", "running failed",     "running stuck",
    "running cancelled",  "running refused",    "running lost",       "collecting imported",
    "collecting failed",  "collecting refused", "collecting stuck",   "collecting lost",
    "imported succeeded", "imported failed",    "imported timed-out", "imported cancelled",
    "imported refused",
};

static bool listed(int from, int to)
{
    size_t n = strlen(task_state_names[from]);

    for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
        if (strncmp(legal[i], task_state_names[from], n) == 0 && legal[i][n] == ' ' &&
            strcmp(legal[i] + n + 1, task_state_names[to]) == 0)
            return true;
    }
    return from == to;
}

static void every_pair(void **state)
{
    for (int from = 0; from < TASK_STATE_COUNT; from++) {
        for (int to = 0; to < TASK_STATE_COUNT; to++) {
            bool may = task_state_may((enum task_state)from, (enum task_state)to);
            if (may != listed(from, to))
                fail_msg("%s -> %s is %s", task_state_names[from], task_state_names[to],
                         may ? "allowed" : "refused");
        }
    }
    assert_false(task_state_may((enum task_state) - 1, TASK_QUEUED));
    assert_false(task_state_may(TASK_STATE_COUNT, TASK_STATE_COUNT));
}

static void final_states_lead_nowhere_and_are_reached(void **state)
{
    for (int s = 0; s < TASK_STATE_COUNT; s++) {
        bool leaves = false, reached = s == TASK_QUEUED;
        for (int t = 0; t < TASK_STATE_COUNT; t++) {
            leaves |= s != t && task_state_may((enum task_state)s, (enum task_state)t);
            reached |= s != t && task_state_may((enum task_state)t, (enum task_state)s);
        }
        assert_int_equal(leaves, !task_state_final((enum task_state)s));
        assert_true(reached);
    }
}

static void cancel_is_possible_until_collecting(void **state)
{
    for (int s = TASK_QUEUED; s <= TASK_RUNNING; s++)
        assert_true(task_state_may((enum task_state)s, TASK_CANCELLED));
}

static void names_round_trip(void **state)
{
    for (int s = 0; s < TASK_STATE_COUNT; s++)
        assert_int_equal(task_state_parse(task_state_names[s]), s);
    assert_null(task_state_names[TASK_STATE_COUNT]);
    assert_int_equal(task_state_parse("Queued"), -1);
    assert_int_equal(task_state_parse(""), -1);
    for (int i = 0; i < REVIEW_STATE_COUNT; i++)
        assert_non_null(review_state_names[i]);
    for (int i = 0; i < ATTEMPT_STATE_COUNT; i++)
        assert_non_null(attempt_state_names[i]);
    for (int i = 0; i < OUTCOME_COUNT; i++)
        assert_non_null(outcome_names[i]);
}

static void an_outcome_may_follow_imported(void **state)
{
    for (int o = 0; o < OUTCOME_COUNT; o++) {
        enum task_state s = outcome_state((enum outcome)o);
        assert_true(task_state_final(s) && task_state_may(TASK_IMPORTED, s));
        assert_int_equal(s == TASK_SUCCEEDED, o == OUTCOME_SUCCEEDED);
    }
    assert_int_equal(outcome_state(OUTCOME_LIMIT), TASK_FAILED);
    assert_int_equal(outcome_state(OUTCOME_ERROR), TASK_FAILED);
    assert_int_equal(outcome_state(OUTCOME_TIMED_OUT), TASK_TIMED_OUT);
    assert_int_equal(outcome_state(OUTCOME_CANCELLED), TASK_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair),
        cmocka_unit_test(final_states_lead_nowhere_and_are_reached),
        cmocka_unit_test(cancel_is_possible_until_collecting),
        cmocka_unit_test(names_round_trip),
        cmocka_unit_test(an_outcome_may_follow_imported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
