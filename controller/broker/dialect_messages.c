/* Anthropic Messages: POST /v1/messages. */
#include "controller/broker/dialect_internal.h"

#include <inttypes.h>

/* ---- requests */

/* Those without a type, and those that Anthropic describes but the agent runs. */
static const struct kind tools[] = {
    {"", NULL},          {"custom", NULL},         {"bash_2*", NULL},  {"text_editor_2*", NULL},
    {"memory_2*", NULL}, {"tool_reference", NULL}, {"*", look_hosted}, {NULL, NULL}};

static int look_tool_list(struct judge *j, struct json_view v)
{
    return look_kinds(j, v, tools, "a tool");
}

static int look_image(struct judge *j, struct json_view block)
{
    struct json_view source, type;

    if (json_view_get(block, "source", &source) && json_view_get(source, "type", &type) &&
        json_view_is(type, "base64"))
        return look_names(j, source) < 0 ? -ERR_REFUSED : look_picture(j);
    return refuse(j, "a picture by address is not allowed");
}

/* What stands inside of a block, which has a block inside of it no more: each level is read again. */
static const struct kind innermost[] = {{"text", NULL}, {"image", look_image}, {NULL, NULL}};

static int look_innermost(struct judge *j, struct json_view block)
{
    struct json_view content;

    return json_view_get(block, "content", &content)
               ? look_text_or_kinds(j, content, innermost, "content")
               : 0;
}

/* A document that is text costs its bytes; what a PDF costs cannot be told from them. */
static int look_document(struct judge *j, struct json_view block)
{
    struct json_view source, type;

    if (!json_view_get(block, "source", &source) || !json_view_get(source, "type", &type))
        return refuse(j, "a document without a source");
    if (look_names(j, source) < 0)
        return -ERR_REFUSED;
    if (json_view_is(type, "text"))
        return 0;
    if (json_view_is(type, "content"))
        return look_innermost(j, source);
    return refuse(j, "only documents of plain text are allowed");
}

static const struct kind inner[] = {{"text", NULL},
                                    {"image", look_image},
                                    {"document", look_document},
                                    {"search_result", look_innermost},
                                    {"tool_reference", NULL},
                                    {NULL, NULL}};

static int look_inner(struct judge *j, struct json_view block)
{
    struct json_view content;

    return json_view_get(block, "content", &content)
               ? look_text_or_kinds(j, content, inner, "content")
               : 0;
}

/* A tool that is made known in the middle of a conversation. */
static int look_addition(struct judge *j, struct json_view block)
{
    struct json_view tool, type, definition;

    if (!json_view_get(block, "tool", &tool) || !json_view_get(tool, "type", &type))
        return refuse(j, "a tool_addition without a tool");
    if (look_names(j, tool) < 0)
        return -ERR_REFUSED;
    if (json_view_is(type, "tool_reference"))
        return 0;
    if (json_view_is(type, "tool_definition") && json_view_get(tool, "definition", &definition))
        return look_kind(j, definition, tools, "a tool");
    return refuse(j, "a tool_addition of an unknown form");
}

/* What tools at the provider left in the conversation. */
static int look_hosted_block(struct judge *j, struct json_view block)
{
    (void)block;
    if (j->rules->hosted_tools && j->rules->hosted_tools->n > 0)
        return 0;
    return refuse(j, "what a tool at the provider did stands in it, and the task's policy allows "
                     "none");
}

static const struct kind blocks[] = {{"text", NULL},
                                     {"thinking", NULL},
                                     {"redacted_thinking", NULL},
                                     {"tool_use", NULL},
                                     {"tool_result", look_inner},
                                     {"tool_reference", NULL},
                                     {"tool_addition", look_addition},
                                     {"tool_removal", NULL},
                                     {"search_result", look_innermost},
                                     {"image", look_image},
                                     {"document", look_document},
                                     {"server_tool_use", look_hosted_block},
                                     {"web_search_tool_result", look_hosted_block},
                                     {"web_fetch_tool_result", look_hosted_block},
                                     {"code_execution_tool_result", look_hosted_block},
                                     {"bash_code_execution_tool_result", look_hosted_block},
                                     {"text_editor_code_execution_tool_result", look_hosted_block},
                                     {"tool_search_tool_result", look_hosted_block},
                                     {NULL, NULL}};

static int look_block_list(struct judge *j, struct json_view v)
{
    return look_text_or_kinds(j, v, blocks, "content");
}

static int look_messages(struct judge *j, struct json_view v)
{
    struct json_walk w = json_walk_into(v);
    struct json_view content;
    int rc = 0;

    if (json_view_type(v) != '[')
        return refuse(j, "is not a list");
    while (rc == 0 && json_walk_next(&w)) {
        if (json_view_type(w.value) != '{')
            return refuse(j, "a message is not an object");
        if (look_names(j, w.value) < 0)
            return -ERR_REFUSED;
        if (json_view_get(w.value, "content", &content))
            rc = look_block_list(j, content);
    }
    return rc;
}

/* Edits that take something out of the conversation cost nothing; others (a summary) do. */
static const struct kind edits[] = {
    {"clear_tool_uses_*", NULL}, {"clear_thinking_*", NULL}, {NULL, NULL}};

static int look_context_management(struct judge *j, struct json_view v)
{
    struct json_walk w = json_walk_into(v);
    int rc = 0;

    if (json_view_type(v) != '{' && json_view_type(v) != 'n')
        return refuse(j, "is not an object");
    while (rc == 0 && json_walk_next(&w))
        rc = json_view_is(w.key, "edits") ? look_kinds(j, w.value, edits, "an edit")
                                          : refuse(j, "only edits are allowed in it");
    return rc;
}

/* Fast answers have a price of their own. */
static int look_speed(struct judge *j, struct json_view v)
{
    if (is_nothing(v) || json_view_is(v, "standard"))
        return 0;
    return refuse(j, "only the usual speed has a price here");
}

/* A budget of thought must be below the cap, or the provider refuses the call: with the cap lowered, it
 * is lowered too; where nothing of it is left, there is no such thinking. */
#define THINKING_LEAST 1024

static bool write_thinking(const struct judge *j, struct json_view v, struct buf *out)
{
    struct json_walk w = json_walk_into(v);
    struct json_view budget;
    const char *comma = "";
    uint64_t tokens;

    if (!json_view_get(v, "budget_tokens", &budget) || !json_view_u64(budget, &tokens) ||
        j->cap_asked <= j->ask->output_cap || tokens < j->ask->output_cap)
        return buf_add(out, v.p, v.n) == 0;
    if (j->ask->output_cap <= THINKING_LEAST)
        return false;
    buf_addc(out, '{');
    while (json_walk_next(&w)) {
        buf_adds(out, comma);
        buf_add(out, w.key.p, w.key.n);
        buf_addc(out, ':');
        if (json_view_is(w.key, "budget_tokens"))
            buf_addf(out, "%" PRIu64, j->ask->output_cap - 1);
        else
            buf_add(out, w.value.p, w.value.n);
        comma = ",";
    }
    return buf_addc(out, '}') == 0;
}

static const struct member members[] = {
    {"model", look_model, NULL, true},
    {"messages", look_messages, NULL, true},
    {"system", look_block_list, NULL, false}, /* Claude Code counts its calls in it */
    {"stream", look_stream, NULL, false},
    {"max_tokens", look_cap, write_cap, false},
    {"tools", look_tool_list, NULL, true},
    {"service_tier", look_tier, NULL, false},
    {"thinking", NULL, write_thinking, false},
    {"context_management", look_context_management, NULL, false},
    {"tool_choice", NULL, NULL, false},
    {"output_config", NULL, NULL, false},
    {"output_format", NULL, NULL, false},
    {"cache_control", NULL, NULL, false},
    {"stop_sequences", NULL, NULL, false},
    {"temperature", NULL, NULL, false},
    {"top_k", NULL, NULL, false},
    {"top_p", NULL, NULL, false},
    {"metadata", NULL, write_nothing, false}, /* device, account and session */
    {"speed", look_speed, write_nothing, false},
    {"inference_geo", look_nothing, write_nothing, false}, /* costs more */
    {"mcp_servers", look_nothing, write_nothing, false},
    {"container", look_nothing, write_nothing, false},
    {"fallbacks", look_nothing, write_nothing, false}, /* other models */
    {NULL, NULL, NULL, false}};

static void add(const struct judge *j, struct json_view request, struct buf *out)
{
    (void)request;
    if (!j->has_cap)
        buf_addf(out, ",\"max_tokens\":%" PRIu64, j->ask->output_cap);
}

/* ---- answers */

/* With "billing_error" Claude Code stops at once; after any other type it tries again, with less of its
 * optional features each time (6 calls). */
static void refusal(const char *message, struct buf *to)
{
    buf_adds(to, "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\",\"message\":");
    json_quotes(to, message);
    buf_adds(to, "}}");
}

static void failure(const char *message, struct buf *to)
{
    buf_adds(to, "event: error\ndata: ");
    refusal(message, to);
    buf_adds(to, "\n\n");
}

static bool read_cache_split(struct json_view usage, struct usage *u, uint64_t written)
{
    uint64_t five = 0, hour = 0;
    struct json_view v;

    if (json_view_get(usage, "cache_creation", &v) && json_view_type(v) == '{' &&
        (!usage_number(v, "ephemeral_5m_input_tokens", false, &five) ||
         !usage_number(v, "ephemeral_1h_input_tokens", false, &hour)))
        return false;
    u->cache_write_1h = hour;
    u->cache_write = written > hour && written - hour > five ? written - hour : five;
    return true;
}

/* Every number is optional here: the beginning of a stream tells the input, its end the output (`last`). */
static void read_messages_usage(struct reading *r, struct json_view usage, bool last)
{
    struct usage u = {0};
    uint64_t written;

    if (json_view_type(usage) == 'n')
        return;
    if (!usage_number(usage, "input_tokens", false, &u.input) ||
        !usage_number(usage, "output_tokens", false, &u.output) ||
        !usage_number(usage, "cache_read_input_tokens", false, &u.cache_read) ||
        !usage_number(usage, "cache_creation_input_tokens", false, &written) ||
        !read_cache_split(usage, &u, written))
        r->bad_usage = true;
    else
        read_usage(r, &u, last);
}

/* A block as it begins (`of` a stream, where its input is still empty) or as it is. */
static void say_block(struct reading *r, struct json_view block, bool of_stream)
{
    struct json_view v;

    if (json_view_get(block, "name", &v))
        said(r, SAID_NAMES, v);
    if (json_view_get(block, "text", &v))
        said(r, SAID_TEXT, v);
    if (!of_stream && json_view_get(block, "input", &v))
        said(r, SAID_ARGUMENTS, v);
}

static void say_delta(struct reading *r, struct json_view delta)
{
    struct json_view v;

    if (json_view_get(delta, "text", &v))
        said(r, SAID_TEXT, v);
    if (json_view_get(delta, "partial_json", &v))
        said(r, SAID_ARGUMENTS, v);
}

static void event(struct reading *r, struct json_view data, bool done)
{
    struct json_view type, v, usage;

    if (done || !json_view_get(data, "type", &type))
        return;
    if (json_view_is(type, "message_stop")) {
        r->complete = true;
    } else if (json_view_is(type, "error")) {
        r->complete = r->failed = true;
    } else if (json_view_is(type, "message_start")) {
        if (json_view_get(data, "message", &v) && json_view_get(v, "usage", &usage))
            read_messages_usage(r, usage, false);
    } else if (json_view_is(type, "message_delta")) {
        if (json_view_get(data, "usage", &usage))
            read_messages_usage(r, usage, true);
    } else if (json_view_is(type, "content_block_start")) {
        if (json_view_get(data, "content_block", &v))
            say_block(r, v, true);
    } else if (json_view_is(type, "content_block_delta")) {
        if (json_view_get(data, "delta", &v))
            say_delta(r, v);
    }
}

static void whole(struct reading *r, struct json_view answer)
{
    struct json_view v;
    struct json_walk w;

    if (!json_view_get(answer, "type", &v))
        return;
    r->failed = json_view_is(v, "error");
    r->complete = r->failed || json_view_is(v, "message");
    if (json_view_get(answer, "usage", &v))
        read_messages_usage(r, v, true);
    if (!json_view_get(answer, "content", &v))
        return;
    w = json_walk_into(v);
    while (json_walk_next(&w))
        say_block(r, w.value, false);
}

static const char *const sends[] = {"anthropic-version", "anthropic-beta", NULL};
static const char *const returns[] = {"request-id", "anthropic-ratelimit-*", NULL};

const struct dialect dialect_messages = {
    .id = DIALECT_MESSAGES,
    .path = "/v1/messages",
    .query = "beta=true",
    .sends = sends,
    .returns = returns,
    .members = members,
    .add = add,
    .refusal = refusal,
    .failure = failure,
    .event = event,
    .whole = whole,
};
