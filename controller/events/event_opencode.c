/* opencode: `opencode run --format json`. One event a finished part; usage step by step. */
#include "controller/events/event_view.h"

static bool tool(struct event_view *e, struct event_value part)
{
    struct event_value name = event_at(part, "tool"), state = event_at(part, "state");
    struct event_value files = event_at(state, "metadata.files"), it = {0};

    if (event_is(name, "bash")) {
        event_words(e, "runs", event_at(state, "input.command"));
    } else if (event_is(name, "read")) {
        event_words(e, "reads", event_at(state, "input.filePath"));
    } else if (event_is(name, "edit") || event_is(name, "write")) {
        event_words(e, "edits", event_at(state, "input.filePath"));
    } else if (event_is(name, "apply_patch")) {
        while (event_next(files, &it))
            event_pair(e, "edits", event_at(it, "type"), event_at(it, "relativePath"));
    } else {
        event_call(e, name, event_at(state, "input"));
    }
    event_output(e, event_at(state, "output"));
    event_exit(e, event_at(state, "metadata.exit"));
    event_words(e, "error", event_at(state, "error"));
    return state.at != NULL;
}

static bool add(struct event_value n, uint64_t *to)
{
    uint64_t more;

    if (!event_uint(n, &more) || *to + more < *to)
        return false;
    *to += more;
    return true;
}

/* The last step is the one that does not stop for its tools' answers. */
static bool step(struct event_view *e, struct event_value part)
{
    if (!add(event_at(part, "tokens.input"), &e->usage.input) ||
        !add(event_at(part, "tokens.output"), &e->usage.output))
        return false;
    add(event_at(part, "tokens.cache.read"), &e->usage.cache_read);
    add(event_at(part, "tokens.cache.write"), &e->usage.cache_write);
    if (!event_is(event_at(part, "reason"), "tool-calls"))
        event_used(e, &e->usage);
    return true;
}

bool event_opencode(struct event_view *e, struct event_value event)
{
    struct event_value type = event_at(event, "type"), part = event_at(event, "part");

    if (event_is(type, "text"))
        return event_words(e, "says", event_at(part, "text"));
    if (event_is(type, "reasoning"))
        return event_words(e, "thinks", event_at(part, "text"));
    if (event_is(type, "tool_use"))
        return tool(e, part);
    if (event_is(type, "step_finish"))
        return step(e, part);
    if (event_is(type, "error"))
        return event_words(e, "error", event_at(event, "error.data.message")) ||
               event_words(e, "error", event_at(event, "error.name"));
    return event_is(type, "step_start");
}
