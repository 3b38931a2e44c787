/* Codex: `codex exec --json`. A thread has turns, a turn has items; an item is told when it begins, when
 * it changes and when it is done. Commands show when they begin, everything else when it is done. */
#include "controller/events/event_view.h"
#include "proto/json.h"

#define ERROR_BYTES 65536

static bool command(struct event_view *e, struct event_value item, bool done)
{
    if (!done)
        return event_words(e, "runs", event_at(item, "command"));
    event_output(e, event_at(item, "aggregated_output"));
    event_exit(e, event_at(item, "exit_code"));
    return true;
}

static bool changes(struct event_view *e, struct event_value item)
{
    bool failed = event_is(event_at(item, "status"), "failed");
    struct event_value list = event_at(item, "changes"), it = {0};

    while (event_next(list, &it))
        event_pair(e, failed ? "failed" : "edits", event_at(it, "kind"), event_at(it, "path"));
    return list.at != NULL;
}

static bool todo(struct event_view *e, struct event_value item)
{
    struct event_value list = event_at(item, "items"), it = {0};

    while (event_next(list, &it))
        event_words(e, event_true(event_at(it, "completed")) ? "done" : "plans",
                    event_at(it, "text"));
    return list.at != NULL;
}

static bool tool(struct event_view *e, struct event_value item, bool done)
{
    if (done)
        return event_words(e, "error", event_at(item, "error.message")) || true;
    event_call(e, event_at(item, "tool"), event_at(item, "arguments"));
    return true;
}

static bool show_item(struct event_view *e, struct event_value item, bool begun, bool done)
{
    struct event_value type = event_at(item, "type");

    if (event_is(type, "command_execution"))
        return begun || done ? command(e, item, done) : true;
    if (event_is(type, "mcp_tool_call") || event_is(type, "collab_tool_call"))
        return begun || done ? tool(e, item, done) : true;
    if (event_is(type, "todo_list"))
        return done || todo(e, item);
    if (!done)
        return event_is(type, "file_change") || event_is(type, "agent_message") ||
               event_is(type, "reasoning") || event_is(type, "web_search");
    if (event_is(type, "agent_message"))
        return event_words(e, "says", event_at(item, "text"));
    if (event_is(type, "reasoning"))
        return event_words(e, "thinks", event_at(item, "text"));
    if (event_is(type, "file_change"))
        return changes(e, item);
    if (event_is(type, "web_search"))
        return event_words(e, "search", event_at(item, "query"));
    if (event_is(type, "error"))
        return event_words(e, "error", event_at(item, "message"));
    return false;
}

static bool usage(struct event_view *e, struct event_value event)
{
    struct event_usage u = {0};

    if (!event_uint(event_at(event, "usage.input_tokens"), &u.input) ||
        !event_uint(event_at(event, "usage.output_tokens"), &u.output))
        return false;
    event_uint(event_at(event, "usage.cached_input_tokens"), &u.cache_read);
    event_uint(event_at(event, "usage.cache_write_input_tokens"), &u.cache_write);
    event_used(e, &u);
    return true;
}

/* An API's refusal comes as the body that it had: what it says is the message in there. */
static bool error(struct event_view *e, struct event_value message)
{
    struct buf body;
    struct err ignored;
    bool said;

    buf_init(&body, ERROR_BYTES);
    said = event_text(message, &body) && json_check(body.data, body.len, &ignored) == 0 &&
           event_words(e, "error",
                       event_at(event_value_of(buf_str(&body), body.len), "error.message"));
    buf_done(&body);
    return said || event_words(e, "error", message);
}

bool event_codex(struct event_view *e, struct event_value event)
{
    struct event_value type = event_at(event, "type"), it = event_at(event, "item");

    if (event_is(type, "item.started"))
        return show_item(e, it, true, false);
    if (event_is(type, "item.updated"))
        return show_item(e, it, false, false);
    if (event_is(type, "item.completed"))
        return show_item(e, it, false, true);
    if (event_is(type, "turn.completed"))
        return usage(e, event);
    if (event_is(type, "error"))
        return error(e, event_at(event, "message"));
    /* Its words were the error event before it. */
    if (event_is(type, "turn.failed")) {
        event_put(e, "ends", "the turn failed");
        return true;
    }
    return event_is(type, "thread.started") || event_is(type, "turn.started");
}
