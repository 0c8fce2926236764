/* SPDX-License-Identifier: MIT */

/* Any bytes as an ini file: a whole and good configuration, or complaints. */

#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"

static void check_sequences(const struct config_sequence *sequences, size_t n, bool templates)
{
        char reason[256];

        for (size_t i = 0; i < n; i++) {
                const struct config_sequence *s = &sequences[i];

                demand(!sequence_params_check(&s->params, reason, sizeof(reason)));
                demand((templates && !*s->name) || sequence_name_valid(s->name, strlen(s->name)));
                demand(s->line > 0);
        }
}

static void check_config(const struct config *config)
{
        demand(config->shm && config->shm[0] == '/');
        demand(config->state && config->socket);
        demand(config->max_sequences >= 1 && config->max_sequences <= SEGMENT_SEQUENCES_MAX);
        demand(config->n_sequences <= config->max_sequences);
        demand((config->mode & 0600) == 0600 && (config->mode & ~(mode_t)0664) == 0);
        check_sequences(config->sequences, config->n_sequences, false);
        check_sequences(config->templates, config->n_templates, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config_errors errors = {0};
        struct config *config = NULL;
        static char path[64];
        static int fd = -1;
        int r;

        if (fd < 0) {
                fd = memfd_create("fuzz.ini", MFD_CLOEXEC);
                demand(fd >= 0);
                (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        }
        demand(ftruncate(fd, 0) == 0);
        demand(pwrite(fd, data, size, 0) == (ssize_t)size);

        r = config_load(&config, path, size % 2 ? "billing" : NULL, &errors);
        demand((r == 0) == (config != NULL));
        demand((r == 0) == (errors.n_items == 0));
        if (config)
                check_config(config);
        for (size_t i = 0; i < errors.n_items; i++)
                demand(strncmp(errors.items[i], path, strlen(path)) == 0);
        config_errors_clear(&errors);
        config_free(config);
        return 0;
}
