/* What the host's operator provides may be changed by nobody else; see provided.h. */
#include "runner/provided.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *provided_unsafe(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return "cannot be looked at";
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return "belongs to another user";
    return st.st_mode & 0022 ? "may be written by others" : NULL;
}

bool provided_name_valid(const char *name)
{
    return name[0] && name[0] != '.' && strlen(name) <= 64 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(name);
}
