/* See the header. */
#include "controller/review.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/file.h"

int review_open(const struct paths *p, const struct task_row *t, const char *name, struct err *err)
{
    int dirfd = paths_task_dir(p, t->id, false, err);
    if (dirfd < 0) {
        return dirfd;
    }
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fd = err_errno(err, ERR_FAIL, "task %s: cannot open %s", t->id, name);
    }
    close(dirfd);
    return fd;
}

int review_load(const struct paths *p, const struct task_row *t, struct review_record *out,
                struct err *err)
{
    struct buf text;
    if (!t->imported) {
        return err_set(err, ERR_USAGE, "task %s is %s: nothing came back for review%s", t->id,
                       task_state_names[t->state],
                       task_state_final((enum task_state)t->state) ? "" : " yet");
    }
    int dirfd = paths_task_dir(p, t->id, false, err);
    if (dirfd < 0) {
        return dirfd;
    }
    buf_init(&text, JSON_BYTES_MAX);
    int rc = file_read(dirfd, "review.json", &text, err);
    if (rc == 0) {
        rc = json_decode(&review_record_shape, text.data, text.len, out, err);
    }
    if (rc < 0) {
        rc = err_wrap(err, "task %s: review.json", t->id);
    }
    buf_done(&text);
    close(dirfd);
    return rc;
}

void review_done(struct review_record *r)
{
    json_release(&review_record_shape, r);
}
