/* OpenClaw: `openclaw agent exec --json`. One document, when all is over; what it did on the way is on its
 * stderr in words of its own. */
#include "controller/events/event_view.h"

bool event_openclaw(struct event_view *e, struct event_value event)
{
    struct event_value tools = event_at(event, "toolSummary.tools"), it = {0};
    struct event_usage u = {0};

    if (!event_at(event, "status").at)
        return false;
    while (event_next(tools, &it))
        event_words(e, "uses", it);
    event_words(e, "says", event_at(event, "final"));
    event_words(e, "error", event_at(event, "error.message"));
    if (event_uint(event_at(event, "usage.input"), &u.input) &&
        event_uint(event_at(event, "usage.output"), &u.output)) {
        event_uint(event_at(event, "usage.cacheRead"), &u.cache_read);
        event_uint(event_at(event, "usage.cacheWrite"), &u.cache_write);
        event_used(e, &u);
    }
    return true;
}
