/* OpenAI Chat Completions: POST /v1/chat/completions; what many other providers speak too. */
#include "controller/broker/dialect_internal.h"

#include <inttypes.h>

/* ---- requests */

static const struct kind tools[] = {
    {"function", NULL}, {"custom", NULL}, {"*", look_hosted}, {NULL, NULL}};

static int look_tool_list(struct judge *j, struct json_view v)
{
    return look_kinds(j, v, tools, "a tool");
}

static int look_image_url(struct judge *j, struct json_view part)
{
    struct json_view v;

    if (!json_view_get(part, "image_url", &v))
        return refuse(j, "a picture without image_url");
    if (look_names(j, v) < 0)
        return -ERR_REFUSED;
    if (json_view_type(v) == '{' && !json_view_get(v, "url", &v))
        return refuse(j, "a picture without url");
    return look_picture_url(j, v);
}

/* Not among them: files and sound. */
static const struct kind parts[] = {
    {"text", NULL}, {"refusal", NULL}, {"image_url", look_image_url}, {NULL, NULL}};

static int look_message(struct judge *j, struct json_view message)
{
    struct json_view v;

    if (look_names(j, message) < 0)
        return -ERR_REFUSED;
    if (json_view_get(message, "audio", &v) && !is_nothing(v))
        return refuse(j, "sound is not allowed");
    if (!json_view_get(message, "content", &v))
        return 0;
    return look_text_or_kinds(j, v, parts, "content");
}

static int look_messages(struct judge *j, struct json_view v)
{
    struct json_walk w = json_walk_into(v);
    int rc = 0;

    if (json_view_type(v) != '[')
        return refuse(j, "is not a list");
    while (rc == 0 && json_walk_next(&w))
        rc = json_view_type(w.value) == '{' ? look_message(j, w.value)
                                            : refuse(j, "a message is not an object");
    return rc;
}

static int look_choices(struct judge *j, struct json_view v)
{
    uint64_t n;

    if (json_view_type(v) == 'n' || (json_view_u64(v, &n) && n == 1))
        return 0;
    return refuse(j, "only one choice a call is allowed");
}

static int look_modalities(struct judge *j, struct json_view v)
{
    struct json_walk w = json_walk_into(v);

    while (json_walk_next(&w)) {
        if (!json_view_is(w.value, "text"))
            return refuse(j, "only text is allowed");
    }
    return 0;
}

static int look_web_search(struct judge *j, struct json_view v)
{
    if (json_view_type(v) == 'n')
        return 0;
    if (!hosted_allowed(j->rules, "web_search"))
        return refuse(j, "a search would run at the provider, outside the egress gate, and the "
                         "task's policy does not allow it");
    j->has_hosted = true;
    return 0;
}

static int look_stream_options(struct judge *j, struct json_view v)
{
    char type = json_view_type(v);

    return type == '{' || type == 'n' ? 0 : refuse(j, "is not an object");
}

/* Usage stands in no stream unless it is asked for. */
static bool write_stream_options(const struct judge *j, struct json_view v, struct buf *out)
{
    struct json_walk w = json_walk_into(v);

    if (!j->ask->stream)
        return false;
    buf_adds(out, "{\"include_usage\":true");
    while (json_walk_next(&w)) {
        if (!json_view_is(w.key, "include_obfuscation"))
            continue;
        buf_adds(out, ",\"include_obfuscation\":");
        buf_add(out, w.value.p, w.value.n);
    }
    return buf_addc(out, '}') == 0;
}

static const struct member members[] = {
    {"model", look_model, NULL, true},
    {"messages", look_messages, NULL, true},
    {"stream", look_stream, NULL, false},
    {"stream_options", look_stream_options, write_stream_options, false},
    {"max_tokens", look_cap, write_cap, false},
    {"max_completion_tokens", look_cap, write_cap, false},
    {"n", look_choices, NULL, false},
    {"tools", look_tool_list, NULL, true},
    {"functions", NULL, NULL, true},
    {"service_tier", look_tier, NULL, false},
    {"tool_choice", NULL, NULL, false},
    {"function_call", NULL, NULL, false},
    {"parallel_tool_calls", NULL, NULL, false},
    {"reasoning_effort", NULL, NULL, false},
    {"verbosity", NULL, NULL, false},
    {"response_format", NULL, NULL, false},
    {"temperature", NULL, NULL, false},
    {"top_p", NULL, NULL, false},
    {"top_k", NULL, NULL, false},
    {"min_p", NULL, NULL, false},
    {"seed", NULL, NULL, false},
    {"stop", NULL, NULL, false},
    {"presence_penalty", NULL, NULL, false},
    {"frequency_penalty", NULL, NULL, false},
    {"repetition_penalty", NULL, NULL, false},
    {"logit_bias", NULL, NULL, false},
    {"logprobs", NULL, NULL, false},
    {"top_logprobs", NULL, NULL, false},
    {"prompt_cache_key", NULL, NULL, false},
    {"prompt_cache_retention", NULL, NULL, false},
    {"thinking", NULL, NULL, false}, /* of others than OpenAI: how much a model thinks */
    {"enable_thinking", NULL, NULL, false},
    {"chat_template_kwargs", NULL, NULL, false},
    {"store", NULL, write_nothing, false}, /* the provider's default is false */
    {"metadata", NULL, write_nothing, false},
    {"user", NULL, write_nothing, false},
    {"safety_identifier", NULL, write_nothing, false},
    {"modalities", look_modalities, NULL, false},
    {"web_search_options", look_web_search, NULL, false},
    {"audio", look_nothing, write_nothing, false},
    {"prediction", look_nothing, write_nothing, false}, /* what is rejected of it costs, uncapped */
    {NULL, NULL, NULL, false}};

static void add(const struct judge *j, struct json_view request, struct buf *out)
{
    struct json_view v;

    if (!j->has_cap)
        buf_addf(out, ",\"max_completion_tokens\":%" PRIu64, j->ask->output_cap);
    if (j->ask->stream && !json_view_get(request, "stream_options", &v))
        buf_adds(out, ",\"stream_options\":{\"include_usage\":true}");
}

/* ---- answers */

static void failure(const char *message, struct buf *to)
{
    buf_adds(to, "data: ");
    openai_error(message, to);
    buf_adds(to, "\n\ndata: [DONE]\n\n");
}

static void say_call(struct reading *r, struct json_view call)
{
    struct json_view f, v;

    if (!json_view_get(call, "function", &f) && !json_view_get(call, "custom", &f))
        return;
    if (json_view_get(f, "name", &v))
        said(r, SAID_NAMES, v);
    if (json_view_get(f, "arguments", &v) || json_view_get(f, "input", &v))
        said(r, SAID_ARGUMENTS, v);
}

/* `member`: "delta" of a stream, "message" of a whole answer. */
static void say_choices(struct reading *r, struct json_view answer, const char *member)
{
    static const char *const texts[] = {"content", "refusal"};
    struct json_view choices, m, v;
    struct json_walk w, calls;

    if (!json_view_get(answer, "choices", &choices))
        return;
    w = json_walk_into(choices);
    while (json_walk_next(&w)) {
        if (!json_view_get(w.value, member, &m))
            continue;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            if (json_view_get(m, texts[i], &v))
                said(r, SAID_TEXT, v);
        }
        if (!json_view_get(m, "tool_calls", &v))
            continue;
        calls = json_walk_into(v);
        while (json_walk_next(&calls))
            say_call(r, calls.value);
    }
}

static const struct openai_usage_names names = {"prompt_tokens", "completion_tokens",
                                                "prompt_tokens_details"};

static void read_document(struct reading *r, struct json_view answer, const char *member)
{
    struct json_view v;

    if (json_view_get(answer, "error", &v) && !is_nothing(v))
        r->complete = r->failed = true;
    if (json_view_get(answer, "usage", &v))
        read_openai_usage(r, v, &names);
    say_choices(r, answer, member);
}

static void event(struct reading *r, struct json_view data, bool done)
{
    if (done)
        r->complete = true;
    else
        read_document(r, data, "delta");
}

static void whole(struct reading *r, struct json_view answer)
{
    struct json_view v;

    if (json_view_get(answer, "choices", &v) && json_view_type(v) == '[')
        r->complete = true;
    read_document(r, answer, "message");
}

static const char *const sends[] = {NULL};
static const char *const returns[] = {"x-request-id", "x-ratelimit-*", NULL};

const struct dialect dialect_chat = {
    .id = DIALECT_CHAT,
    .path = "/v1/chat/completions",
    .sends = sends,
    .returns = returns,
    .members = members,
    .add = add,
    .refusal = openai_error,
    .failure = failure,
    .event = event,
    .whole = whole,
};
