/* OpenAI Responses: POST /v1/responses. */
#include "controller/broker/dialect_internal.h"

#include <inttypes.h>

/* ---- requests */

static int look_tool_list(struct judge *j, struct json_view v);
static int look_parts(struct judge *j, struct json_view v, const char *member);

/* "tool_search" and "shell" exist in two forms; those that the agent runs itself are like functions. */
static int look_search_tool(struct judge *j, struct json_view tool)
{
    struct json_view v;

    if (json_view_get(tool, "execution", &v) && json_view_is(v, "client"))
        return 0;
    return look_hosted(j, tool);
}

static int look_shell_tool(struct judge *j, struct json_view tool)
{
    struct json_view v;

    if (json_view_get(tool, "environment", &v) && look_names(j, v) < 0)
        return -ERR_REFUSED;
    if (json_view_get(tool, "environment", &v) && json_view_get(v, "type", &v) &&
        json_view_is(v, "local"))
        return 0;
    return look_hosted(j, tool);
}

/* Those of a namespace, in which no other one stands: each level is read again. */
static const struct kind inner_tools[] = {{"function", NULL},
                                          {"custom", NULL},
                                          {"local_shell", NULL},
                                          {"apply_patch", NULL},
                                          {"tool_search", look_search_tool},
                                          {"shell", look_shell_tool},
                                          {"*", look_hosted},
                                          {NULL, NULL}};

static int look_namespace(struct judge *j, struct json_view v)
{
    struct json_view list;

    return json_view_get(v, "tools", &list) ? look_kinds(j, list, inner_tools, "a tool") : 0;
}

static int look_found_tools(struct judge *j, struct json_view v)
{
    struct json_view list;

    return json_view_get(v, "tools", &list) ? look_tool_list(j, list) : 0;
}

static const struct kind tools[] = {{"function", NULL},
                                    {"custom", NULL},
                                    {"local_shell", NULL},
                                    {"apply_patch", NULL},
                                    {"namespace", look_namespace},
                                    {"tool_search", look_search_tool},
                                    {"shell", look_shell_tool},
                                    {"*", look_hosted},
                                    {NULL, NULL}};

static int look_tool_list(struct judge *j, struct json_view v)
{
    return look_kinds(j, v, tools, "a tool");
}

static int look_input_image(struct judge *j, struct json_view part)
{
    struct json_view v;

    if (json_view_get(part, "file_id", &v) && !is_nothing(v))
        return refuse(j, "a picture by file_id is not allowed");
    if (!json_view_get(part, "image_url", &v))
        return refuse(j, "a picture without image_url");
    return look_picture_url(j, v);
}

static const struct kind parts[] = {
    {"input_text", NULL}, {"output_text", NULL},       {"text", NULL},
    {"refusal", NULL},    {"summary_text", NULL},      {"reasoning_text", NULL},
    {"", NULL},           {"encrypted_content", NULL}, {"input_image", look_input_image},
    {NULL, NULL}};

static int look_parts(struct judge *j, struct json_view item, const char *member)
{
    struct json_view v;

    if (!json_view_get(item, member, &v))
        return 0;
    return look_text_or_kinds(j, v, parts, "content");
}

static int look_message(struct judge *j, struct json_view item)
{
    return look_parts(j, item, "content");
}

/* Without a type it may be a message, or a reference to what is kept at the provider: this one has no role. */
static int look_untyped(struct judge *j, struct json_view item)
{
    struct json_view v;

    if (!json_view_get(item, "role", &v) || !json_view_get(item, "content", &v))
        return refuse(j, "an item without type, role and content");
    return look_message(j, item);
}

static int look_output(struct judge *j, struct json_view item)
{
    return look_parts(j, item, "output");
}

/* Not among them: item_reference (content kept at the provider), files, what hosted tools made. */
static const struct kind items[] = {{"", look_untyped},
                                    {"message", look_message},
                                    {"agent_message", look_message},
                                    {"function_call", NULL},
                                    {"function_call_output", look_output},
                                    {"custom_tool_call", NULL},
                                    {"custom_tool_call_output", look_output},
                                    {"local_shell_call", NULL},
                                    {"local_shell_call_output", look_output},
                                    {"shell_call", NULL},
                                    {"shell_call_output", NULL},
                                    {"apply_patch_call", NULL},
                                    {"apply_patch_call_output", look_output},
                                    {"tool_search_call", NULL},
                                    {"tool_search_output", look_found_tools},
                                    {"reasoning", NULL},
                                    {"compaction", NULL},
                                    {"compaction_summary", NULL},
                                    {"compaction_trigger", NULL},
                                    {"context_compaction", NULL},
                                    {"web_search_call", NULL},
                                    {NULL, NULL}};

static int look_input(struct judge *j, struct json_view v)
{
    return look_text_or_kinds(j, v, items, "an item");
}

static bool write_false(const struct judge *j, struct json_view v, struct buf *out)
{
    (void)j, (void)v;
    return buf_adds(out, "false") == 0;
}

static const struct member members[] = {
    {"model", look_model, NULL, true},
    {"input", look_input, NULL, true},
    {"instructions", NULL, NULL, true},
    {"stream", look_stream, NULL, false},
    {"max_output_tokens", look_cap, write_cap, false},
    {"tools", look_tool_list, NULL, true},
    {"store", NULL, write_false, false}, /* nothing of the task stays at the provider */
    {"service_tier", look_tier, NULL, false},
    {"tool_choice", NULL, NULL, false},
    {"parallel_tool_calls", NULL, NULL, false},
    {"max_tool_calls", NULL, NULL, false},
    {"reasoning", NULL, NULL, false},
    {"text", NULL, NULL, false},
    {"include", NULL, NULL, false},
    {"stream_options", NULL, NULL, false},
    {"prompt_cache_key", NULL, NULL, false},
    {"prompt_cache_retention", NULL, NULL, false},
    {"temperature", NULL, NULL, false},
    {"top_p", NULL, NULL, false},
    {"top_logprobs", NULL, NULL, false},
    {"truncation", NULL, NULL, false},
    {"client_metadata", NULL, write_nothing, false}, /* tell of the machine and its user */
    {"metadata", NULL, write_nothing, false},
    {"user", NULL, write_nothing, false},
    {"safety_identifier", NULL, write_nothing, false},
    {"background", look_nothing, write_nothing, false},
    {"previous_response_id", look_nothing, write_nothing, false},
    {"conversation", look_nothing, write_nothing, false},
    {"prompt", look_nothing, write_nothing, false},
    {"context_management", look_nothing, write_nothing, false},
    {NULL, NULL, NULL, false}};

static void add(const struct judge *j, struct json_view request, struct buf *out)
{
    struct json_view v;

    if (!j->has_cap)
        buf_addf(out, ",\"max_output_tokens\":%" PRIu64, j->ask->output_cap);
    if (!json_view_get(request, "store", &v)) /* the provider's default is true */
        buf_adds(out, ",\"store\":false");
}

/* ---- answers */

void openai_error(const char *message, struct buf *to)
{
    buf_adds(to, "{\"error\":{\"message\":");
    json_quotes(to, message);
    buf_adds(to, ",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"creel_refused\"}}");
}

static void failure(const char *message, struct buf *to)
{
    buf_adds(to, "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":"
                 "2147483647,\"response\":{\"id\":\"resp_creel\",\"object\":\"response\","
                 "\"created_at\":0,\"status\":\"failed\",\"error\":{\"code\":\"invalid_prompt\","
                 "\"message\":");
    json_quotes(to, message);
    buf_adds(to, "},\"incomplete_details\":null,\"output\":[],\"usage\":null}}\n\n");
}

/* A finished item: what it says or calls. */
static void say_item(struct reading *r, struct json_view item)
{
    static const char *const arguments[] = {"arguments", "input", "action", "operation", NULL};
    struct json_view v, text;
    struct json_walk w;

    if (json_view_get(item, "name", &v))
        said(r, SAID_NAMES, v);
    for (size_t i = 0; arguments[i]; i++) {
        if (json_view_get(item, arguments[i], &v))
            said(r, SAID_ARGUMENTS, v);
    }
    if (!json_view_get(item, "type", &v) || !json_view_is(v, "message") ||
        !json_view_get(item, "content", &v))
        return;
    w = json_walk_into(v);
    while (json_walk_next(&w)) {
        if (json_view_get(w.value, "text", &text) || json_view_get(w.value, "refusal", &text))
            said(r, SAID_TEXT, text);
    }
}

static const struct openai_usage_names names = {"input_tokens", "output_tokens",
                                                "input_tokens_details"};

/* A response object that may be the final one: its status and usage. */
static void read_response(struct reading *r, struct json_view response)
{
    struct json_view v;

    if (json_view_get(response, "status", &v)) {
        bool failed = json_view_is(v, "failed") || json_view_is(v, "cancelled");

        if (failed || json_view_is(v, "completed") || json_view_is(v, "incomplete"))
            r->complete = true;
        if (failed)
            r->failed = true;
    }
    if (json_view_get(response, "usage", &v))
        read_openai_usage(r, v, &names);
}

static void event(struct reading *r, struct json_view data, bool done)
{
    struct json_view type, v;

    if (done || !json_view_get(data, "type", &type))
        return;
    if (json_view_is(type, "response.output_item.done")) {
        if (json_view_get(data, "item", &v))
            say_item(r, v);
    } else if (json_view_is(type, "error")) {
        r->complete = r->failed = true;
    } else if (json_view_is(type, "response.completed") ||
               json_view_is(type, "response.incomplete") || json_view_is(type, "response.failed")) {
        r->complete = true;
        r->failed |= json_view_is(type, "response.failed");
        if (json_view_get(data, "response", &v))
            read_response(r, v);
    }
}

static void whole(struct reading *r, struct json_view answer)
{
    struct json_view v;
    struct json_walk w;

    if (json_view_get(answer, "error", &v) && !is_nothing(v))
        r->complete = r->failed = true;
    read_response(r, answer);
    if (!json_view_get(answer, "output", &v))
        return;
    w = json_walk_into(v);
    while (json_walk_next(&w))
        say_item(r, w.value);
}

static const char *const sends[] = {NULL};
static const char *const returns[] = {"x-request-id", "x-ratelimit-*", NULL};

const struct dialect dialect_responses = {
    .id = DIALECT_RESPONSES,
    .path = "/v1/responses",
    .sends = sends,
    .returns = returns,
    .members = members,
    .add = add,
    .refusal = openai_error,
    .failure = failure,
    .event = event,
    .whole = whole,
};
