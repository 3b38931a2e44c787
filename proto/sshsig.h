/* SSHSIG (OpenSSH PROTOCOL.sshsig): a signature that `ssh-keygen -Y verify` checks. */
#ifndef PROTO_SSHSIG_H
#define PROTO_SSHSIG_H

#include "proto/key.h"

#define SSHSIG_NAMESPACE_TASK "task@creel"

/* Appends an armoured SSHSIG of `msg` in namespace `ns`, hash sha512. */
int sshsig_sign(const uint8_t sec[static KEY_SEC_BYTES], const char *ns, const void *msg,
                size_t len, struct buf *to, struct err *err);

#endif
