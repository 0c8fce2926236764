/* SPDX-License-Identifier: MIT */

/* pshm(1): its table of verbs. What they do is in the file of their group; see pshm.h. */

#include "pshm.h"

#include <limits.h>

#define NAME_HELP "  NAME        an object, with its leading slash or without\n"
#define SIZE_HELP "  SIZE        in bytes, or with K, M, G or T for powers of 1024\n"

static const struct cli_verb verbs[] = {
        {"create", "NAME SIZE", "make an object, its memory reserved", 2, 2, pshm_create_options,
         pshm_create, NAME_HELP SIZE_HELP, "  pshm create -m 660 board 64K\n"},
        {"write", "NAME [STRING]", "write into an object", 1, 2, pshm_write_options, pshm_write,
         NAME_HELP
         "  STRING      what to write, without a NUL; else it is read from standard input\n",
         "  pshm write -t board 'hello, world'\n"},
        {"read", "NAME", "print what is in an object", 1, 1, pshm_read_options, pshm_read,
         NAME_HELP, "  pshm read -x -n 64 board\n"},
        {"ls", "", "list the objects there are", 0, 0, pshm_ls_options, pshm_ls, "",
         "  pshm ls -l\n"},
        {"stat", "NAME", "show all that is known of an object", 1, 1, pshm_stat_options, pshm_stat,
         NAME_HELP, "  pshm stat board\n"},
        {"resize", "NAME SIZE", "make an object larger or smaller", 2, 2, pshm_resize_options,
         pshm_resize, NAME_HELP SIZE_HELP, "  pshm resize board 1M\n"},
        {"rm", "NAME ...", "remove objects by name", 1, INT_MAX, pshm_rm_options, pshm_rm,
         NAME_HELP, "  pshm rm board sem.old\n"},
        {"send", "NAME", "send standard input through an object to 'pshm recv'", 1, 1,
         pshm_send_options, pshm_send, NAME_HELP, "  pshm send backup < backup.tar\n"},
        {"recv", "NAME", "print what 'pshm send' sends", 1, 1, pshm_recv_options, pshm_recv,
         NAME_HELP, "  pshm recv backup > backup.tar\n"},
        CLI_VERB_HELP("pshm", "send"),
        {0},
};

static const struct cli_option global_options[] = {
        {CLI_KEY_VERSION, "version", NULL, "show the version"},
        CLI_OPTION_HELP,
        {0},
};

const struct cli_program cli_program = {
        .name = "pshm",
        .synopsis = "",
        .purpose = "POSIX shared memory objects from the command line, and streams through them.",
        .verbs = verbs,
        .options = global_options,
};
