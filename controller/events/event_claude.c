/* Claude Code: `claude -p --output-format stream-json --verbose`. Messages as the model API has them,
 * between a system event at the start and a result at the end. Its own sum of dollars is not shown: what
 * a task has cost is the broker's to say. */
#include "controller/events/event_view.h"

static bool tool_use(struct event_view *e, struct event_value block)
{
    struct event_value name = event_at(block, "name"), input = event_at(block, "input");

    if (event_is(name, "Bash") && event_words(e, "runs", event_at(input, "command")))
        return true;
    if (event_is(name, "Read") && event_words(e, "reads", event_at(input, "file_path")))
        return true;
    if ((event_is(name, "Edit") || event_is(name, "Write") || event_is(name, "MultiEdit")) &&
        event_words(e, "edits", event_at(input, "file_path")))
        return true;
    event_call(e, name, input);
    return true;
}

static bool tool_result(struct event_view *e, struct event_value block)
{
    struct event_value content = event_at(block, "content"), it = {0};

    if (event_true(event_at(block, "is_error")))
        event_put(e, "failed", "");
    event_output(e, content);
    while (event_next(content, &it))
        event_output(e, event_at(it, "text"));
    return true;
}

static bool block(struct event_view *e, struct event_value b)
{
    struct event_value type = event_at(b, "type");

    if (event_is(type, "text"))
        return event_words(e, "says", event_at(b, "text")) || true;
    if (event_is(type, "thinking"))
        return event_words(e, "thinks", event_at(b, "thinking")) || true;
    if (event_is(type, "tool_use") || event_is(type, "server_tool_use"))
        return tool_use(e, b);
    if (event_is(type, "tool_result"))
        return tool_result(e, b);
    return event_is(type, "redacted_thinking");
}

static bool message(struct event_view *e, struct event_value event)
{
    struct event_value content = event_at(event, "message.content"), it = {0};

    /* What a person typed may be one string. */
    if (event_words(e, "told", content))
        return true;
    while (event_next(content, &it))
        if (!block(e, it))
            return false;
    return it.at != NULL;
}

static bool result(struct event_view *e, struct event_value event)
{
    struct event_usage u = {0};

    if (event_true(event_at(event, "is_error")))
        event_words(e, "error", event_at(event, "result"));
    if (!event_uint(event_at(event, "usage.input_tokens"), &u.input) ||
        !event_uint(event_at(event, "usage.output_tokens"), &u.output))
        return false;
    event_uint(event_at(event, "usage.cache_read_input_tokens"), &u.cache_read);
    event_uint(event_at(event, "usage.cache_creation_input_tokens"), &u.cache_write);
    event_used(e, &u);
    return true;
}

bool event_claude(struct event_view *e, struct event_value event)
{
    struct event_value type = event_at(event, "type"), sub = event_at(event, "subtype");

    if (event_is(type, "assistant") || event_is(type, "user"))
        return message(e, event);
    if (event_is(type, "result"))
        return result(e, event);
    if (event_is(type, "system") && event_is(sub, "init"))
        return event_words(e, "begins", event_at(event, "model"));
    return event_is(type, "system") &&
           (event_is(sub, "thinking_tokens") || event_is(sub, "status"));
}
