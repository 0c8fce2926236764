/* SPDX-License-Identifier: MIT */

/*
 * Runs a fuzz target on the files of its corpus, once each and in the order of
 * their names: target [FILE...]; without arguments all of
 * tests/fuzz/corpus/TARGET. The empty input always comes first.
 */

#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/mman.h>

#define FILE_MAX (1 << 20)

static void replay(const char *path)
{
        static uint8_t bytes[FILE_MAX];
        FILE *file = fopen(path, "re");
        size_t size;

        demand(file);
        size = fread(bytes, 1, sizeof(bytes), file);
        (void)fclose(file);
        (void)fprintf(stderr, "%s\n", path);
        (void)LLVMFuzzerTestOneInput(bytes, size);
}

static int replay_all(const char *target)
{
        const char *sources = getenv("SEQNUM_SRCDIR");
        char directory[4096], path[8192];
        struct dirent **entries;
        int n, replayed = 0;

        (void)snprintf(directory, sizeof(directory), "%s/tests/fuzz/corpus/%s",
                       sources ? sources : ".", target);
        n = scandir(directory, &entries, NULL, alphasort);
        if (n < 0) {
                perror(directory);
                return EXIT_FAILURE;
        }
        for (int i = 0; i < n; i++) {
                if (entries[i]->d_name[0] != '.') {
                        (void)snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);
                        replay(path);
                        replayed++;
                }
                free(entries[i]);
        }
        free(entries);
        printf("%s: %d inputs\n", target, replayed);
        return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
        const char *target = strrchr(argv[0], '/');
        int status = EXIT_SUCCESS;

        (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
        for (int i = 1; i < argc; i++)
                replay(argv[i]);
        if (argc < 2)
                status = replay_all(target ? target + 1 : argv[0]);
        (void)shm_unlink(image_name());
        return status;
}
