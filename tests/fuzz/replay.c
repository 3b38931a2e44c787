/* Runs a fuzz target over the files of directories, where there is no libFuzzer: the kept corpus is a
 * plain test everywhere. Fails when a directory holds no file, for then nothing was tested. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static int replay_file(int dirfd, const char *name)
{
    struct stat st;
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    size_t len = (size_t)st.st_size, got = 0;
    uint8_t *bytes = malloc(len > 0 ? len : 1); /* exactly sized: a read beyond it is seen */
    MUST(bytes);
    while (got < len) {
        ssize_t n = read(fd, bytes + got, len - got);
        MUST(n > 0);
        got += (size_t)n;
    }
    close(fd);
    LLVMFuzzerTestOneInput(bytes, len);
    free(bytes);
    return 1;
}

int main(int argc, char **argv)
{
    int bad = argc < 2;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        int files = 0;
        for (const struct dirent *e; dir && (e = readdir(dir));)
            files += replay_file(dirfd(dir), e->d_name);
        if (dir)
            closedir(dir);
        printf("%s: %d inputs\n", argv[i], files);
        bad |= files == 0;
    }
    return bad;
}
