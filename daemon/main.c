/* SPDX-License-Identifier: MIT */

/*
 * seqnumd: the command line, and nothing else.
 *
 * Exit statuses are those of sysexits.h, so that a service manager can tell a
 * bad configuration, which a restart does not mend, from a passing trouble.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "config.h"
#include "log.h"
#include "service.h"

static void usage(FILE *stream)
{
        (void)fputs(
                "usage: seqnumd [-i NAME] [-c FILE] [--check-config]\n"
                "       seqnumd --version | --help\n"
                "\n"
                "Serve sequence numbers in shared memory.\n"
                "\n"
                "  -i, --instance NAME  be the instance NAME: its file is " SEQNUM_CONFIG_DIRECTORY
                "/NAME.ini,\n"
                "                       its segment /seqnumd.NAME\n"
                "  -c, --config FILE    read FILE, not " SEQNUM_CONFIG_DIRECTORY "/seqnumd.ini\n"
                "      --check-config   say all that is wrong with the file, and exit\n"
                "      --version        print the version, and exit\n"
                "  -h, --help           print this, and exit\n",
                stream);
}

/* What a failed start means to whoever started us. */
static int exit_status(int error)
{
        switch (-error) {
        case EBUSY:
                return EX_UNAVAILABLE;
        case EBADMSG:
        case EPROTONOSUPPORT:
                return EX_DATAERR;
        case EPERM:
        case EACCES:
                return EX_NOPERM;
        case EIO:
        case ENOSPC:
        case EROFS:
                return EX_IOERR;
        case ENOKEY:  /* a key's value does not fit this host */
        case ENOTDIR: /* nor does a directory that it names */
        case EEXIST:  /* the segment is another's, or something else has the socket's path */
        case EINVAL:
                return EX_CONFIG;
        default:
                return EX_OSERR;
        }
}

static int load(struct config **ret, const char *path, const char *instance)
{
        struct config_errors errors = {0};
        int r;

        r = config_load(ret, path, instance, &errors);
        for (size_t i = 0; i < errors.n_items; i++)
                log_error("%s", errors.items[i]);
        config_errors_clear(&errors);
        return r < 0 ? EX_CONFIG : EX_OK;
}

static int check(const char *path, const char *instance)
{
        struct config *config;
        int status = load(&config, path, instance);

        if (status != EX_OK)
                return status;
        printf("%s: good, %zu sequence%s", path, config->n_sequences,
               config->n_sequences == 1 ? "" : "s");
        if (config->n_templates > 0)
                printf(", %zu template%s", config->n_templates,
                       config->n_templates == 1 ? "" : "s");
        puts("");
        config_free(config);
        return EX_OK;
}

static int serve(const char *path, const char *instance)
{
        struct service *service;
        struct config *config;
        int r, status;

        status = load(&config, path, instance);
        if (status != EX_OK)
                return status;
        log_instance(config->shm);
        r = service_new(&service, config);
        if (r < 0)
                return exit_status(r);
        r = service_run(service);
        service_free(service);
        return r < 0 ? EX_OSERR : EX_OK;
}

int main(int argc, char **argv)
{
        enum { CHECK_CONFIG = 256, VERSION };
        static const struct option options[] = {
                {"config", required_argument, NULL, 'c'},
                {"instance", required_argument, NULL, 'i'},
                {"check-config", no_argument, NULL, CHECK_CONFIG},
                {"version", no_argument, NULL, VERSION},
                {"help", no_argument, NULL, 'h'},
                {NULL, 0, NULL, 0},
        };
        const char *path = NULL, *instance = NULL;
        char instance_path[sizeof(SEQNUM_CONFIG_DIRECTORY) + CONFIG_INSTANCE_MAX + sizeof("/.ini")];
        bool check_only = false;
        int option;

        log_open();
        while ((option = getopt_long(argc, argv, "c:i:h", options, NULL)) >= 0) {
                switch (option) {
                case 'c':
                        path = optarg;
                        break;
                case 'i':
                        if (!config_instance_valid(optarg)) {
                                (void)fprintf(stderr,
                                              "seqnumd: -i %s: not the name of an instance; use 1 "
                                              "to %d of A-Z a-z 0-9 _ - and dots, the first no "
                                              "dot\n",
                                              optarg, CONFIG_INSTANCE_MAX);
                                return EX_USAGE;
                        }
                        instance = optarg;
                        break;
                case CHECK_CONFIG:
                        check_only = true;
                        break;
                case VERSION:
                        puts("seqnumd " SEQNUM_VERSION);
                        return EX_OK;
                case 'h':
                        usage(stdout);
                        return EX_OK;
                default:
                        usage(stderr);
                        return EX_USAGE;
                }
        }
        if (optind < argc) {
                (void)fprintf(stderr, "seqnumd: %s: it takes no arguments\n", argv[optind]);
                usage(stderr);
                return EX_USAGE;
        }
        (void)snprintf(instance_path, sizeof(instance_path), SEQNUM_CONFIG_DIRECTORY "/%s.ini",
                       instance ? instance : "seqnumd");
        if (!path)
                path = instance_path;
        return check_only ? check(path, instance) : serve(path, instance);
}
