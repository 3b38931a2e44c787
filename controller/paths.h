/* The state directory: the interface between creel's processes on the operator's machine.
 *
 *   creel.db                 SQLite: hosts, tasks, attempts, leases, reviews      (store.h)
 *   keys/signing_key[.pub]   signs envelopes; read by the broker process alone
 *   keys/ssh_key[.pub]       logs in to hosts
 *   keys/NAME.path           instead of keys/NAME: where the operator's own key file is
 *   engine.lock, engine.sock, engine.log
 *   broker/                  the broker process's own: what the operator configured, and spend.db
 *   tasks/ID/                one directory a task, 0700:
 *     quarantine.git/        bare; objects/pack/ holds the source pack and, later, what came back
 *     envelope.json  envelope.sshsig  result.json  receipt.json   documents as they were signed
 *     log                    the attempt's log frames, byte for byte as the runner has them, unless
 *                            secrets were redacted; then
 *     log.json               its digests as it came and as it is stored (controller/log_sink.h)
 *     notes                  the controller's own lines, as frames like the log's and on its clock
 *     stop                   why the broker wants it ended, once it does
 *     patch.pack             the patch pack as fetched (hostile: only the importer opens it)
 *     review.json patch.diff clean.pack   made by the importer
 */
#ifndef CONTROLLER_PATHS_H
#define CONTROLLER_PATHS_H

#include <limits.h>
#include <stdbool.h>

#include "proto/err.h"
#include "proto/id.h"

struct paths {
    char root[PATH_MAX];
    int rootfd; /* O_DIRECTORY, owned */
};

/* `dir`: --state, or NULL for $CREEL_STATE, else $XDG_STATE_HOME/creel, else ~/.local/state/creel.
 * With `create` makes it 0700; else a missing one is an error that says `creel init`. A directory
 * of someone else or open to others is refused. */
int paths_open(const char *dir, bool create, struct paths *out, struct err *err);
void paths_close(struct paths *p);
/* Writes "<root>/<name>" into out. */
int paths_at(const struct paths *p, const char *name, char out[static PATH_MAX], struct err *err);
/* "<root>/tasks/<id>/<name>" (name may be ""). The id must be valid. */
int paths_task(const struct paths *p, const char *id, const char *name, char out[static PATH_MAX],
               struct err *err);
/* "<root>/broker", made 0700 when it is not there: what the broker process and its operator's files have
 * to themselves: providers.json, prices.json, secrets.json, forges.json, spend.db. */
int paths_broker(const struct paths *p, char out[static PATH_MAX], struct err *err);
/* Descriptor of tasks/<id>, made when `create`. */
int paths_task_dir(const struct paths *p, const char *id, bool create, struct err *err);

/* Where the private keys are: keys/signing_key and keys/ssh_key, unless `creel init` was given files
 * of the operator's own: then keys/signing_key.path or keys/ssh_key.path holds that absolute path.
 * The public halves are always keys/signing_key.pub and keys/ssh_key.pub. */
int paths_signing_key(const struct paths *p, char out[static PATH_MAX], struct err *err);
int paths_ssh_key(const struct paths *p, char out[static PATH_MAX], struct err *err);

#endif
