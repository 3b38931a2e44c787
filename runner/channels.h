/* What the kinds of channel do with a stream: control.c for control, channels.c for pack, log and
 * result. */
#ifndef RUNNER_CHANNELS_H
#define RUNNER_CHANNELS_H

#include "runner/serve.h"

/* stream_owner's hello(): `arg` is the struct serve. */
void channel_hello(struct stream *s, const struct msg_hello *h);

/* control.c */
void control_open(struct serve *sv, struct stream *s);
/* Sends an event to every control channel. */
void control_tell(struct serve *sv, const struct msg *m);

#endif
