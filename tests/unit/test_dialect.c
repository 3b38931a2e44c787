/* Requests to model APIs: what passes, what is bounded, what is left out, what is refused. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/broker/dialect.h"
#include "proto/json_view.h"

static struct err err;
static struct buf sent;
static struct call_ask ask;

static struct strv models, more_models, hosted;
static struct call_rules rules = {
    .models = &models, .more_models = &more_models, .hosted_tools = &hosted, .output_tokens = 1000};

static int judge(enum dialect_id id, const char *body)
{
    err = ERR_INIT;
    ask = (struct call_ask){0};
    buf_clear(&sent);
    return dialect_request(dialect_of(id), &rules, body, strlen(body), &ask, &sent, &err);
}

static void passes(enum dialect_id id, const char *body, const char *as)
{
    if (judge(id, body) != 0)
        fail_msg("%s\nis refused: %s", body, err.msg);
    if (strcmp(buf_str(&sent), as) != 0)
        fail_msg("%s\nis sent as %s\nnot as   %s", body, buf_str(&sent), as);
}

static void refused(enum dialect_id id, const char *body, const char *words)
{
    if (judge(id, body) == 0)
        fail_msg("%s\npasses, but should say \"%s\"", body, words);
    assert_int_equal(err.code, ERR_REFUSED);
    if (!strstr(err.msg, words))
        fail_msg("%s\nsays \"%s\", not \"%s\"", body, err.msg, words);
    assert_int_equal(sent.len, 0);
}

static const struct {
    const char *method, *target;
    int id; /* -1: none */
} paths[] = {
    {"POST", "/v1/responses", DIALECT_RESPONSES},
    {"POST", "/v1/chat/completions", DIALECT_CHAT},
    {"POST", "/v1/messages", DIALECT_MESSAGES},
    {"POST", "/v1/messages?beta=true", DIALECT_MESSAGES},
    {"GET", "/v1/responses", -1},
    {"post", "/v1/responses", -1},
    {"POST", "/v1/responses?beta=true", -1},
    {"POST", "/v1/responses?", -1},
    {"POST", "/v1/messages?beta=true&x=1", -1},
    {"POST", "/v1/messages?beta=false", -1},
    {"POST", "/v1/messages/count_tokens", -1},
    {"POST", "/v1/responses/resp_1", -1},
    {"POST", "/v1/../v1/responses", -1},
    {"POST", "/v1/files", -1},
    {"POST", "", -1},
};

static void which_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const struct dialect *d = dialect_find(paths[i].method, strlen(paths[i].method),
                                               paths[i].target, strlen(paths[i].target));
        if ((d ? (int)dialect_id_of(d) : -1) != paths[i].id)
            fail_msg("%s %s", paths[i].method, paths[i].target);
    }
    for (int i = 0; i < DIALECT_COUNT; i++)
        assert_int_equal(dialect_id_of(dialect_of(i)), i);
}

static bool sends(enum dialect_id id, const char *name)
{
    return dialect_sends(dialect_of(id), name, strlen(name));
}

static bool returns(enum dialect_id id, const char *name)
{
    return dialect_returns(dialect_of(id), name, strlen(name));
}

static void which_headers(void **state)
{
    static const char *const never[] = {
        "authorization",
        "x-api-key",
        "cookie",
        "user-agent",
        "session-id",
        "thread-id",
        "x-codex-turn-metadata",
        "x-stainless-os",
        "x-app",
        "accept-encoding",
        "openai-organization",
        "host",
        "content-length",
        "transfer-encoding",
        "",
        "content-typ",
        "content-type2",
        "openai-beta",
        "x-client-request-id",
    };
    static const char *const never_back[] = {"set-cookie",
                                             "openai-organization",
                                             "anthropic-organization-id",
                                             "cf-ray",
                                             "x-ratelimit",
                                             "content-encoding",
                                             "connection",
                                             ""};

    (void)state;
    for (int id = 0; id < DIALECT_COUNT; id++) {
        assert_true(sends(id, "Content-Type") && sends(id, "accept"));
        assert_true(returns(id, "content-type") && returns(id, "Retry-After"));
        for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
            assert_false(sends(id, never[i]));
        for (size_t i = 0; i < sizeof(never_back) / sizeof(never_back[0]); i++)
            assert_false(returns(id, never_back[i]));
    }
    assert_true(sends(DIALECT_MESSAGES, "anthropic-beta"));
    assert_false(sends(DIALECT_CHAT, "anthropic-beta"));
    assert_true(returns(DIALECT_MESSAGES, "anthropic-ratelimit-tokens-remaining"));
    assert_true(returns(DIALECT_CHAT, "x-ratelimit-limit-tokens"));
    assert_true(returns(DIALECT_RESPONSES, "x-request-id"));
}

static void caps(void **state)
{
    (void)state;
    passes(DIALECT_RESPONSES, "{\"model\":\"m\",\"store\":false}",
           "{\"model\":\"m\",\"store\":false,\"max_output_tokens\":1000}");
    assert_int_equal(ask.output_cap, 1000);
    passes(DIALECT_RESPONSES, " { \"max_output_tokens\" : 5000 , \"model\" : \"m\" } ",
           "{\"max_output_tokens\":1000,\"model\":\"m\",\"store\":false}");
    passes(DIALECT_RESPONSES, "{\"model\":\"m\",\"max_output_tokens\":7,\"store\":true}",
           "{\"model\":\"m\",\"max_output_tokens\":7,\"store\":false}");
    assert_int_equal(ask.output_cap, 7);
    passes(DIALECT_RESPONSES, "{\"max_output_tokens\":null,\"model\":\"m\",\"store\":false}",
           "{\"model\":\"m\",\"store\":false,\"max_output_tokens\":1000}");
    passes(DIALECT_CHAT, "{\"model\":\"m\"}", "{\"model\":\"m\",\"max_completion_tokens\":1000}");
    passes(DIALECT_CHAT, "{\"model\":\"m\",\"max_tokens\":8192}",
           "{\"model\":\"m\",\"max_tokens\":1000}");
    passes(DIALECT_CHAT, "{\"model\":\"m\",\"max_tokens\":5,\"max_completion_tokens\":9000}",
           "{\"model\":\"m\",\"max_tokens\":5,\"max_completion_tokens\":1000}");
    assert_int_equal(ask.output_cap, 1000);
    passes(DIALECT_MESSAGES, "{\"model\":\"m\",\"max_tokens\":18446744073709551615}",
           "{\"model\":\"m\",\"max_tokens\":1000}");
    passes(DIALECT_MESSAGES, "{\"model\":\"m\"}", "{\"model\":\"m\",\"max_tokens\":1000}");
    passes(DIALECT_MESSAGES, "{\"model\":\"m\",\"max_t\\u006fkens\":2000}",
           "{\"model\":\"m\",\"max_t\\u006fkens\":1000}");
    refused(DIALECT_MESSAGES, "{\"model\":\"m\",\"max_tokens\":-1}", "not a whole number");
    refused(DIALECT_MESSAGES, "{\"model\":\"m\",\"max_tokens\":1e3}", "not a whole number");
    refused(DIALECT_MESSAGES, "{\"model\":\"m\",\"max_tokens\":\"9\"}", "not a whole number");
    refused(DIALECT_MESSAGES, "{\"model\":\"m\",\"max_tokens\":99999999999999999999}",
            "not a whole number");
}

/* A provider refuses a call whose budget of thought is not below its cap. */
static void thinking_below_the_cap(void **state)
{
    (void)state;
    rules.output_tokens = 2000;
    passes(DIALECT_MESSAGES,
           "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":31999},\"model\":\"m\","
           "\"max_tokens\":32000}",
           "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1999},\"model\":\"m\","
           "\"max_tokens\":2000}");
    rules.output_tokens = 1000;
    passes(DIALECT_MESSAGES,
           "{\"model\":\"m\",\"max_tokens\":32000,\"thinking\":{\"budget_tokens\":31999}}",
           "{\"model\":\"m\",\"max_tokens\":1000}");
    passes(DIALECT_MESSAGES,
           "{\"model\":\"m\",\"max_tokens\":900,\"thinking\":{\"budget_tokens\":800}}",
           "{\"model\":\"m\",\"max_tokens\":900,\"thinking\":{\"budget_tokens\":800}}");
    passes(DIALECT_MESSAGES,
           "{\"model\":\"m\",\"max_tokens\":9000,\"thinking\":{\"type\":\"adaptive\"}}",
           "{\"model\":\"m\",\"max_tokens\":1000,\"thinking\":{\"type\":\"adaptive\"}}");
}

static void usage_is_asked_for(void **state)
{
    (void)state;
    passes(DIALECT_CHAT, "{\"model\":\"m\",\"max_tokens\":1,\"stream\":true}",
           "{\"model\":\"m\",\"max_tokens\":1,\"stream\":true,"
           "\"stream_options\":{\"include_usage\":true}}");
    assert_true(ask.stream);
    passes(DIALECT_CHAT,
           "{\"stream_options\":{\"include_usage\":false,\"include_obfuscation\":false},"
           "\"model\":\"m\",\"max_tokens\":1,\"stream\":true}",
           "{\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":false},"
           "\"model\":\"m\",\"max_tokens\":1,\"stream\":true}");
    passes(DIALECT_CHAT,
           "{\"model\":\"m\",\"stream_options\":null,\"max_tokens\":1,\"stream\":true}",
           "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true},\"max_tokens\":1,"
           "\"stream\":true}");
    passes(DIALECT_CHAT,
           "{\"model\":\"m\",\"max_tokens\":1,\"stream\":false,\"stream_options\":{}}",
           "{\"model\":\"m\",\"max_tokens\":1,\"stream\":false}");
    assert_false(ask.stream);
}

static void what_tells_of_the_machine(void **state)
{
    (void)state;
    passes(
        DIALECT_RESPONSES,
        "{\"client_metadata\":{\"installation_id\":\"x\"},\"model\":\"m\",\"metadata\":{\"a\":1},"
        "\"user\":\"me\",\"store\":false,\"max_output_tokens\":1,\"safety_identifier\":\"x\"}",
        "{\"model\":\"m\",\"store\":false,\"max_output_tokens\":1}");
    assert_string_equal(ask.left_out, "");
    passes(DIALECT_MESSAGES,
           "{\"model\":\"m\",\"max_tokens\":1,\"metadata\":{\"user_id\":\"device\"}}",
           "{\"model\":\"m\",\"max_tokens\":1}");
    passes(DIALECT_CHAT,
           "{\"model\":\"m\",\"max_tokens\":1,\"user\":\"me\",\"store\":true,\"of_tomorrow\":[1,"
           "{\"model\":\"n\"}],\"other\":1}",
           "{\"model\":\"m\",\"max_tokens\":1}");
    assert_string_equal(ask.left_out, "of_tomorrow");
}

static void which_models(void **state)
{
    (void)state;
    refused(DIALECT_CHAT, "{}", "names no model");
    refused(DIALECT_CHAT, "{\"model\":\"\"}", "not a model's name");
    refused(DIALECT_CHAT, "{\"model\":7}", "not a model's name");
    refused(DIALECT_CHAT, "{\"model\":\"a b\"}", "not a model's name");
    refused(DIALECT_CHAT, "{\"model\":\"a\\u0000\"}", "not a model's name");
    strv_add(&models, "gpt-5.5");
    passes(DIALECT_CHAT, "{\"model\":\"gpt-5\\u002e5\",\"max_tokens\":1}",
           "{\"model\":\"gpt-5\\u002e5\",\"max_tokens\":1}");
    assert_string_equal(ask.model, "gpt-5.5");
    refused(DIALECT_CHAT, "{\"model\":\"gpt-5.5-pro\"}", "the task may use");
    refused(DIALECT_CHAT, "{\"model\":\"gpt-5\"}", "the task may use");
    strv_add(&more_models, "other");
    refused(DIALECT_CHAT, "{\"model\":\"gpt-5.5\"}", "the provider may be asked");
    strv_done(&models);
    strv_done(&more_models);
}

static const struct {
    enum dialect_id id;
    const char *member, *words;
} bad[] = {
    {DIALECT_RESPONSES, "\"background\":true", "background"},
    {DIALECT_RESPONSES, "\"previous_response_id\":\"resp_1\"", "previous_response_id"},
    {DIALECT_RESPONSES, "\"conversation\":{\"id\":\"c\"}", "conversation"},
    {DIALECT_RESPONSES, "\"prompt\":{\"id\":\"p\"}", "prompt"},
    {DIALECT_RESPONSES, "\"context_management\":[{\"type\":\"compaction\"}]", "context"},
    {DIALECT_RESPONSES, "\"service_tier\":\"priority\"", "service_tier"},
    {DIALECT_RESPONSES, "\"service_tier\":\"flex\"", "service_tier"},
    {DIALECT_RESPONSES, "\"input\":7", "input"},
    {DIALECT_RESPONSES, "\"input\":[7]", "not an object"},
    {DIALECT_RESPONSES, "\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]", "item_reference"},
    {DIALECT_RESPONSES, "\"input\":[{\"id\":\"msg_1\"}]", "without type, role and content"},
    {DIALECT_RESPONSES, "\"input\":[{\"id\":\"msg_1\",\"role\":\"user\"}]", "without type"},
    {DIALECT_RESPONSES, "\"input\":[{\"type\":7}]", "proper type"},
    {DIALECT_RESPONSES, "\"max_output_tokens\":0", "zero"},
    {DIALECT_RESPONSES,
     "\"tools\":[{\"type\":\"namespace\",\"tools\":[{\"type\":\"namespace\",\"tools\":[]}]}]",
     "'namespace'"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":"
     "\"https://evil.example/x.png\"}]}]",
     "by address"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":"
     "\"data:image/png;base64,AA\",\"file_id\":\"f\"}]}]",
     "file_id"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"type\":\"message\",\"content\":[{\"type\":\"input_file\",\"file_data\":\"x\"}]}"
     "]",
     "input_file"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"type\":\"function_call_output\",\"output\":[{\"type\":\"input_image\","
     "\"image_url\":\"http://h/\"}]}]",
     "by address"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"type\":\"tool_search_output\",\"tools\":[{\"type\":\"mcp\"}]}]", "'mcp'"},
    {DIALECT_RESPONSES, "\"tools\":[{\"type\":\"web_search\"}]", "'web_search' would run"},
    {DIALECT_RESPONSES, "\"tools\":[{\"type\":\"function\"},{\"type\":\"mcp\"}]", "'mcp'"},
    {DIALECT_RESPONSES, "\"tools\":[{\"type\":\"code_interpreter\"}]", "code_interpreter"},
    {DIALECT_RESPONSES, "\"tools\":[{\"t\\u0079pe\":\"file_\\u0073earch\"}]", "file_search"},
    {DIALECT_RESPONSES, "\"tools\":[{\"type\":\"shell\",\"environment\":{\"type\":\"auto\"}}]",
     "'shell'"},
    {DIALECT_RESPONSES, "\"tools\":[{\"type\":\"tool_search\"}]", "tool_search"},
    {DIALECT_RESPONSES,
     "\"tools\":[{\"type\":\"namespace\",\"tools\":[{\"type\":\"image_generation\"}]}]",
     "image_generation"},
    {DIALECT_RESPONSES, "\"tools\":{\"type\":\"web_search\"}", "not a list"},
    {DIALECT_RESPONSES, "\"stream\":1", "neither true nor false"},
    {DIALECT_RESPONSES, "\"tools\":[{\"type\":\"function\",\"Type\":\"mcp\"}]", "another way"},
    {DIALECT_RESPONSES,
     "\"tools\":[{\"type\":\"shell\",\"environment\":{\"type\":\"local\",\"TYPE\":\"auto\"}}]",
     "another way"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"type\":\"message\",\"content\":\"x\",\"Content\":[{\"type\":\"input_file\"}]}]",
     "another way"},
    {DIALECT_CHAT,
     "\"messages\":[{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
     "\"data:image/png;base64,AA\",\"URL\":\"https://x\"}}]}]",
     "another way"},
    {DIALECT_CHAT, "\"messages\":[{\"\\u0043ontent\":[{\"type\":\"input_audio\"}]}]",
     "another way"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"Type\":"
     "\"url\"}}]}]",
     "another way"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\"},"
     "\"\xc5\xbfource\":{\"type\":\"url\"}}]}]",
     "another way"},
    {DIALECT_CHAT, "\"n\":2", "one choice"},
    {DIALECT_CHAT, "\"n\":1.0", "one choice"},
    {DIALECT_CHAT, "\"max_tokens\":0,\"max_completion_tokens\":5", "zero"},
    {DIALECT_CHAT, "\"messages\":{}", "not a list"},
    {DIALECT_CHAT, "\"messages\":[\"x\"]", "not an object"},
    {DIALECT_CHAT,
     "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"file\",\"file\":{}}]}]", "'file'"},
    {DIALECT_CHAT,
     "\"messages\":[{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://"
     "x\"}}]}]",
     "by address"},
    {DIALECT_CHAT, "\"messages\":[{\"content\":[{\"type\":\"input_audio\"}]}]", "input_audio"},
    {DIALECT_CHAT, "\"messages\":[{\"audio\":{\"id\":\"a\"}}]", "sound"},
    {DIALECT_CHAT, "\"tools\":[{\"type\":\"web_search\"}]", "web_search"},
    {DIALECT_CHAT, "\"web_search_options\":{}", "web_search_options"},
    {DIALECT_CHAT, "\"modalities\":[\"text\",\"audio\"]", "modalities"},
    {DIALECT_CHAT, "\"audio\":{\"voice\":\"x\"}", "audio"},
    {DIALECT_CHAT, "\"prediction\":{\"type\":\"content\"}", "prediction"},
    {DIALECT_CHAT, "\"stream_options\":[]", "not an object"},
    {DIALECT_MESSAGES, "\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]",
     "web_search_20250305"},
    {DIALECT_MESSAGES, "\"tools\":[{\"type\":\"web_fetch_20250910\"}]", "web_fetch"},
    {DIALECT_MESSAGES, "\"tools\":[{\"type\":\"code_execution_20250825\"}]", "code_execution"},
    {DIALECT_MESSAGES, "\"tools\":[{\"type\":\"mcp_toolset\"}]", "mcp_toolset"},
    {DIALECT_MESSAGES, "\"tools\":[{\"type\":\"bash_code_execution_20250825\"}]", "bash_code"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"tool_result\",\"content\":[{\"type\":"
     "\"tool_result\",\"content\":[]}]}]}]",
     "'tool_result'"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"content\","
     "\"content\":[{\"type\":\"document\"}]}}]}]",
     "'document'"},
    {DIALECT_MESSAGES, "\"tools\":[{\"type\":\"advisor_20260301\"}]", "advisor"},
    {DIALECT_MESSAGES, "\"mcp_servers\":[{\"url\":\"https://x\"}]", "mcp_servers"},
    {DIALECT_MESSAGES, "\"container\":\"c\"", "container"},
    {DIALECT_MESSAGES, "\"speed\":\"fast\"", "speed"},
    {DIALECT_MESSAGES, "\"inference_geo\":\"us\"", "inference_geo"},
    {DIALECT_MESSAGES, "\"service_tier\":\"priority\"", "service_tier"},
    {DIALECT_MESSAGES, "\"context_management\":{\"edits\":[{\"type\":\"compact_20260112\"}]}",
     "compact"},
    {DIALECT_MESSAGES, "\"context_management\":{\"x\":1}", "only edits"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":"
     "\"url\","
     "\"url\":\"https://x\"}}]}]",
     "by address"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"tool_result\",\"content\":[{\"type\":\"image\","
     "\"source\":{\"type\":\"file\",\"file_id\":\"f\"}}]}]}]",
     "by address"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"base64\"}}]}]",
     "plain text"},
    {DIALECT_MESSAGES, "\"messages\":[{\"content\":[{\"type\":\"container_upload\"}]}]",
     "container_upload"},
    {DIALECT_MESSAGES, "\"messages\":[{\"content\":[{\"type\":\"server_tool_use\"}]}]",
     "tool at the provider"},
    {DIALECT_MESSAGES,
     "\"messages\":[{\"content\":[{\"type\":\"tool_addition\",\"tool\":{\"type\":"
     "\"tool_definition\",\"definition\":{\"type\":\"web_search_20250305\"}}}]}]",
     "web_search"},
    {DIALECT_MESSAGES, "\"system\":[{\"type\":\"image\",\"source\":{\"type\":\"url\"}}]",
     "by address"},
};

static void what_costs_or_reaches_out(void **state)
{
    char body[512];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(body, sizeof(body), "{\"model\":\"m\",%s}", bad[i].member);
        refused(bad[i].id, body, bad[i].words);
    }
}

static const struct {
    enum dialect_id id;
    const char *member;
} good[] = {
    {DIALECT_RESPONSES, "\"input\":\"hello\""},
    {DIALECT_RESPONSES, "\"input\":[{\"role\":\"user\",\"content\":\"hello \\u0000 \\ud83d\"}]"},
    {DIALECT_RESPONSES, "\"background\":false,\"previous_response_id\":null,\"service_tier\":null"},
    {DIALECT_RESPONSES,
     "\"tools\":[{\"type\":\"function\"},{\"type\":\"custom\"},{\"type\":\"local_shell\"},"
     "{\"type\":\"tool_search\",\"execution\":\"client\"},{\"type\":\"namespace\",\"tools\":"
     "[{\"type\":\"function\"}]},{\"type\":\"shell\",\"environment\":{\"type\":\"local\"}}]"},
    {DIALECT_RESPONSES,
     "\"input\":[{\"type\":\"reasoning\",\"encrypted_content\":\"x\"},{\"type\":\"function_call\","
     "\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"output\":\"{\\\"type\\\":1}\"},"
     "{\"type\":\"custom_tool_call_output\",\"output\":[{\"type\":\"input_text\"}]}]"},
    {DIALECT_CHAT,
     "\"n\":1,\"temperature\":0.7,\"messages\":[{\"role\":\"assistant\",\"content\":null,"
     "\"tool_calls\":[{\"type\":\"function\"}]},{\"role\":\"tool\",\"content\":\"x\"}]"},
    {DIALECT_MESSAGES,
     "\"tools\":[{\"name\":\"Bash\"},{\"type\":\"custom\"},{\"type\":\"bash_20250124\"},"
     "{\"type\":\"text_editor_20250728\"},{\"type\":\"memory_20250818\"}]"},
    {DIALECT_MESSAGES,
     "\"context_management\":{\"edits\":[{\"type\":\"clear_thinking_20251015\",\"keep\":\"all\"}]},"
     "\"mcp_servers\":[],\"speed\":\"standard\",\"messages\":[{\"role\":\"user\",\"content\":[{"
     "\"type\":\"tool_result\",\"content\":\"{\\\"type\\\":\\\"image\\\"}\"},{\"type\":"
     "\"tool_result\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"content\","
     "\"content\":[{\"type\":\"text\"}]}},{\"type\":\"search_result\",\"content\":[{\"type\":"
     "\"text\"}]}]},{\"type\":"
     "\"tool_use\",\"input\":{\"type\":\"image\",\"source\":\"https://x\"}},{\"type\":\"document\","
     "\"source\":{\"type\":\"text\",\"data\":\"x\"}}]},{\"role\":\"system\",\"content\":[{\"type\":"
     "\"text\"}],\"output_config\":{\"effort\":\"medium\"}}]"},
};

static void what_agents_send(void **state)
{
    char body[2048];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(body, sizeof(body), "{\"model\":\"m\",%s}", good[i].member);
        if (judge(good[i].id, body) != 0)
            fail_msg("%s\nis refused: %s", body, err.msg);
        assert_ok(json_check_within(sent.data, sent.len, &(struct json_bounds){1 << 20, 100, true},
                                    &err));
    }
}

static void tools_that_the_policy_allows(void **state)
{
    uint64_t without;

    (void)state;
    assert_int_equal(judge(DIALECT_RESPONSES, "{\"model\":\"m\"}"), 0);
    without = ask.input_bound - sent.len;
    strv_add(&hosted, "web_search");
    assert_int_equal(
        judge(DIALECT_RESPONSES, "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search\"}]}"), 0);
    assert_true(ask.input_bound - sent.len > without);
    assert_int_equal(
        judge(DIALECT_RESPONSES, "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_preview\"}]}"),
        0);
    assert_int_equal(
        judge(DIALECT_MESSAGES, "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_20250305\"}]}"),
        0);
    assert_int_equal(judge(DIALECT_CHAT, "{\"model\":\"m\",\"web_search_options\":{}}"), 0);
    refused(DIALECT_RESPONSES, "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_more\"}]}",
            "web_search_more");
    refused(DIALECT_RESPONSES, "{\"model\":\"m\",\"tools\":[{\"type\":\"web\"}]}", "'web'");
    strv_done(&hosted);
}

static void pictures_have_a_bound(void **state)
{
    (void)state;
    assert_int_equal(
        judge(DIALECT_CHAT,
              "{\"model\":\"m\",\"messages\":[{\"content\":[{\"type\":\"image_url\",\"image_url\":"
              "{\"url\":\"data:image/png;base64,AAAA\"}},{\"type\":\"text\",\"text\":\"x\"}]}]}"),
        0);
    assert_true(ask.input_bound > sent.len + 30000);
    assert_int_equal(
        judge(
            DIALECT_MESSAGES,
            "{\"model\":\"m\",\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":"
            "\"base64\",\"data\":\"AA\"}},{\"type\":\"image\",\"source\":{\"type\":\"base64\"}}]}]"
            "}"),
        0);
    assert_true(ask.input_bound > sent.len + 60000);
    assert_int_equal(judge(DIALECT_CHAT, "{\"model\":\"m\"}"), 0);
    assert_true(ask.input_bound >= sent.len && ask.input_bound < sent.len + 10000);
}

static void the_same_call_again(void **state)
{
    uint8_t first[32];

    (void)state;
    judge(DIALECT_RESPONSES, "{\"model\":\"m\",\"input\":\"a\",\"prompt_cache_key\":\"1\","
                             "\"client_metadata\":{\"turn\":1}}");
    memcpy(first, ask.fingerprint, 32);
    judge(DIALECT_RESPONSES, "{\"model\":\"m\",\"input\":\"a\",\"prompt_cache_key\":\"2\","
                             "\"client_metadata\":{\"turn\":2}}");
    assert_memory_equal(first, ask.fingerprint, 32);
    judge(DIALECT_RESPONSES, "{\"model\":\"m\",\"input\":\"b\"}");
    assert_memory_not_equal(first, ask.fingerprint, 32);
    judge(DIALECT_RESPONSES, "{\"model\":\"n\",\"input\":\"a\"}");
    assert_memory_not_equal(first, ask.fingerprint, 32);
}

static void what_is_no_request(void **state)
{
    struct buf deep;

    (void)state;
    refused(DIALECT_CHAT, "", "a value is expected");
    refused(DIALECT_CHAT, "[]", "not an object");
    refused(DIALECT_CHAT, "{\"model\":\"m\"} x", "something follows");
    refused(DIALECT_CHAT, "{\"model\":\"m\",\"m\\u006fdel\":\"n\"}", "duplicate key");
    refused(DIALECT_CHAT, "{\"model\":\"m\",\"a\\u0000\":1}", "u0000");
    refused(DIALECT_CHAT, "{\"model\":\"m\",\"messages\":[{\"content\":\"\xff\"}]}", "UTF-8");
    buf_init(&deep, 4096);
    buf_adds(&deep, "{\"model\":\"m\",\"x\":");
    for (int i = 0; i < 40; i++)
        buf_adds(&deep, "[");
    refused(DIALECT_CHAT, buf_str(&deep), "nested too deep");
    buf_done(&deep);
    rules.output_tokens = 0;
    refused(DIALECT_CHAT, "{\"model\":\"m\"}", "no output tokens");
    rules.output_tokens = 1000;
}

static void the_largest(void **state)
{
    const size_t n = CALL_BODY_MAX;
    static const char head[] = "{\"model\":\"m\",\"messages\":[{\"content\":\"", tail[] = "\"}]}";
    char *body = malloc(n + 1);

    (void)state;
    assert_non_null(body);
    memset(body, 'a', n + 1);
    memcpy(body, head, sizeof(head) - 1);
    memcpy(body + n - sizeof(tail) + 1, tail, sizeof(tail) - 1);
    buf_clear(&sent);
    assert_ok(dialect_request(dialect_of(DIALECT_CHAT), &rules, body, n, &ask, &sent, &err));
    assert_true(sent.len >= n && sent.len <= n + CALL_SENT_EXTRA);
    buf_clear(&sent);
    assert_says(dialect_request(dialect_of(DIALECT_CHAT), &rules, body, n + 1, &ask, &sent, &err),
                "over the limit");
    free(body);
}

static void refusals(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    for (int id = 0; id < DIALECT_COUNT; id++) {
        struct json_view e, v;

        buf_clear(&b);
        assert_int_equal(dialect_refusal(dialect_of(id), "budget: \"$2\" \x1b[m", &b), 0);
        assert_ok(json_check(b.data, b.len, &err));
        assert_true(json_view_get(json_view_root(b.data, b.len), "error", &e));
        assert_true(json_view_get(e, "message", &v) && json_view_is(v, "budget: \"$2\" \x1b[m"));
        assert_null(strchr(buf_str(&b), '\x1b'));
    }
    buf_done(&b);
}

static int set_up(void **state)
{
    (void)state;
    buf_init(&sent, CALL_BODY_MAX + CALL_SENT_EXTRA);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_done(&sent);
    return 0;
}

/* A quote behind backslashes ends its string when their number is even, whatever was before them. */
static void where_strings_end(void **state)
{
    char body[256];
    (void)state;
    for (int before = 0; before < 3; before += 2) {
        for (int slashes = 0; slashes < 9; slashes++) {
            struct json_view v;
            char run[10] = {0};
            memset(run, '\\', (size_t)slashes);
            /* Of an odd number the last one hides the quote, and a second one ends the string. */
            snprintf(body, sizeof body, "{\"a\":\"%.*s%s\"%s,\"b\":[\"]\"],\"c\":7}", before,
                     "\\\"", run, slashes % 2 ? "\"" : "");
            assert_true(json_view_get(json_view_root(body, strlen(body)), "c", &v));
            assert_int_equal(v.n, 1);
            assert_true(json_view_get(json_view_root(body, strlen(body)), "a", &v));
            assert_int_equal(v.n, 2 + (size_t)before + (size_t)slashes + (size_t)(slashes % 2));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_paths),
        cmocka_unit_test(which_headers),
        cmocka_unit_test(caps),
        cmocka_unit_test(thinking_below_the_cap),
        cmocka_unit_test(usage_is_asked_for),
        cmocka_unit_test(what_tells_of_the_machine),
        cmocka_unit_test(which_models),
        cmocka_unit_test(what_costs_or_reaches_out),
        cmocka_unit_test(what_agents_send),
        cmocka_unit_test(tools_that_the_policy_allows),
        cmocka_unit_test(pictures_have_a_bound),
        cmocka_unit_test(the_same_call_again),
        cmocka_unit_test(what_is_no_request),
        cmocka_unit_test(the_largest),
        cmocka_unit_test(where_strings_end),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
