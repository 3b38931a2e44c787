/* The files that a signed task places in its jail's home before its first step: an agent's settings. */
#ifndef RUNNER_JOB_FILES_H
#define RUNNER_JOB_FILES_H

#include "runner/cell_order.h"

/* Writes them below `home`, as whoever the caller is: files 0600, missing directories 0700, the token for
 * each of its marks. What is there already is neither followed (no symbolic link on the way) nor written
 * over: it is an error. */
int job_files_place(int home, const struct cell_order *o, struct err *err);

#endif
