/* SPDX-License-Identifier: MIT */

/* ls and stat: the objects there are, and all that is known of one. */

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "pshm.h"

#define BLOCK 512 /* of st_blocks, whatever the file system */

const struct cli_option pshm_ls_options[] = {
        {'l', "long", NULL, "with sizes, mode, owner, mappers, and what each is"},
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

const struct cli_option pshm_stat_options[] = {
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

/* --- the facts of one -------------------------------------------------------- */

#define OWNER_SIZE 64

static void user_text(uid_t user, char text[static OWNER_SIZE])
{
        const struct passwd *entry = getpwuid(user);

        if (entry)
                (void)snprintf(text, OWNER_SIZE, "%s", entry->pw_name);
        else
                (void)snprintf(text, OWNER_SIZE, "%ju", (uintmax_t)user);
}

static void group_text(gid_t group, char text[static OWNER_SIZE])
{
        const struct group *entry = getgrgid(group);

        if (entry)
                (void)snprintf(text, OWNER_SIZE, "%s", entry->gr_name);
        else
                (void)snprintf(text, OWNER_SIZE, "%ju", (uintmax_t)group);
}

static void mapper_facts(struct facts *facts, const struct pshm_mapper *of_it, size_t n)
{
        json_t *list = json_array();

        for (size_t i = 0; i < n; i++) {
                /* 'i', not 'I': a pid is an int */
                json_t *one = json_pack("{s:i, s:s}", "pid", (int)of_it[i].pid, "command",
                                        of_it[i].command);

                if (json_array_append_new(list, one) < 0)
                        facts->incomplete = true;
        }
        if (json_object_set_new(facts->object, "mappers", list) < 0)
                facts->incomplete = true;
}

static void mapper_text(struct facts *facts, const struct pshm_mapper *of_it, size_t n)
{
        char *text = NULL;
        size_t size = 0;
        FILE *out = n > 0 ? open_memstream(&text, &size) : NULL;

        for (size_t i = 0; out && i < n; i++)
                fprintf(out, "%s%jd (%s)", i > 0 ? ", " : "", (intmax_t)of_it[i].pid,
                        of_it[i].command);
        if (n > 0 && (!out || fclose(out) != 0))
                facts->incomplete = true;
        facts_string(facts, "mappers", text);
        free(text);
}

static void kind_facts(struct facts *facts, const struct pshm_look *look)
{
        char text[PSHM_NAME_SIZE];

        facts_string(facts, "kind", pshm_kind_text(look->kind));
        if (look->kind == PSHM_SEGMENT) {
                facts_string(facts, "instance", pshm_shown(pshm_look_instance(look), text));
                facts_unsigned(facts, "sequences", look->sequences);
                facts_bool(facts, "served", look->served);
        }
        if (look->kind == PSHM_STREAM) {
                facts_unsigned(facts, "blocks", look->blocks);
                facts_unsigned(facts, "block_size", look->block_size);
                facts_bool(facts, "sender_alive", look->sender);
                facts_bool(facts, "receiver_alive", look->receiver);
        }
}

static struct facts facts_of(const struct pshm_look *look, const struct pshm_mappers *mappers,
                             bool json)
{
        const struct stat *status = &look->status;
        const struct pshm_mapper *of_it;
        struct facts facts = facts_new();
        char text[OWNER_SIZE], name[PSHM_NAME_SIZE];
        size_t n = pshm_mappers_of(mappers, status->st_dev, status->st_ino, &of_it);

        facts_string(&facts, "name", pshm_shown(look->name, name));
        kind_facts(&facts, look);
        facts_unsigned(&facts, "size", (uint64_t)status->st_size);
        facts_unsigned(&facts, "used", (uint64_t)status->st_blocks * BLOCK);
        (void)snprintf(text, sizeof(text), "%04o", (unsigned)status->st_mode & 07777);
        facts_string(&facts, "mode", text);
        user_text(status->st_uid, text);
        facts_string(&facts, "owner", text);
        group_text(status->st_gid, text);
        facts_string(&facts, "group", text);
        facts_string(&facts, "modified",
                     cli_time_text((int64_t)status->st_mtim.tv_sec * 1000 +
                                           status->st_mtim.tv_nsec / 1000000,
                                   false, (char[CLI_TIME_SIZE]){0}));
        if (json)
                mapper_facts(&facts, of_it, n);
        else
                mapper_text(&facts, of_it, n);
        facts_unsigned(&facts, "processes_unseen", mappers->unseen);
        return facts;
}

int pshm_stat(const struct cli *cli, const struct cli_args *args)
{
        bool json = args->values[CLI_KEY_JSON] != NULL;
        struct pshm_mappers mappers;
        char name[PSHM_NAME_SIZE];
        struct pshm_look look;
        struct facts facts;
        int r;

        (void)cli;
        if (pshm_name(args->names[0], name) != 0)
                return CLI_USAGE;
        r = pshm_look(&look, name);
        if (r < 0)
                return pshm_fail("looking at", name, r);
        r = pshm_mappers_look(&mappers);
        if (r < 0)
                return pshm_fail("looking for the mappers of", name, r);
        facts = facts_of(&look, &mappers, json);
        r = facts_print(&facts, json);
        facts_free(&facts);
        pshm_mappers_free(&mappers);
        return r;
}

/* --- all of them ------------------------------------------------------------- */

struct listing {
        struct pshm_look *all; /* sorted by name; owned */
        size_t n;
};

static int by_name(const void *a, const void *b)
{
        return strcmp(((const struct pshm_look *)a)->name, ((const struct pshm_look *)b)->name);
}

static int listing_add(struct listing *listing, const char *entry)
{
        char name[PSHM_NAME_SIZE];
        struct pshm_look *all;
        int r;

        if (snprintf(name, sizeof(name), "/%s", entry) >= PSHM_NAME_SIZE ||
            !object_name_valid(name))
                return 0;
        all = reallocarray(listing->all, listing->n + 1, sizeof(*all));
        if (!all)
                return -ENOMEM;
        listing->all = all;
        r = pshm_look(&all[listing->n], name);
        if (r == 0)
                listing->n++;
        return r == -ENOENT ? 0 : r; /* removed meanwhile */
}

static int listing_make(struct listing *ret)
{
        DIR *directory = opendir(OBJECT_DIRECTORY);
        struct dirent *entry;
        int r = 0;

        *ret = (struct listing){0};
        if (!directory)
                return -errno;
        while (r == 0 && (entry = readdir(directory)))
                r = listing_add(ret, entry->d_name);
        closedir(directory);
        if (r < 0)
                free(ret->all);
        else if (ret->n > 0)
                qsort(ret->all, ret->n, sizeof(*ret->all), by_name);
        return r;
}

static int print_json(const struct listing *listing, const struct pshm_mappers *mappers)
{
        json_t *list = json_array();
        int r = CLI_OK;

        for (size_t i = 0; i < listing->n; i++) {
                struct facts facts = facts_of(&listing->all[i], mappers, true);

                if (facts.incomplete || json_array_append(list, facts.object) < 0)
                        r = CLI_SYSTEM;
                facts_free(&facts);
        }
        if (r != CLI_OK || !list)
                cli_complain("gathering facts: %s", strerror(ENOMEM));
        else if (json_dumpf(list, stdout, JSON_INDENT(2)) == 0)
                (void)putchar('\n');
        json_decref(list);
        return r;
}

static void print_long(const struct listing *listing, const struct pshm_mappers *mappers)
{
        int width = 4;

        for (size_t i = 0; i < listing->n; i++)
                width = (int)strlen(listing->all[i].name) > width
                                ? (int)strlen(listing->all[i].name)
                                : width;
        printf("%-*s %12s %9s %4s %-10s %7s  %s\n", width, "NAME", "SIZE", "USED", "MODE", "OWNER",
               "MAPPERS", "KIND");
        for (size_t i = 0; i < listing->n; i++) {
                const struct pshm_look *look = &listing->all[i];
                const struct pshm_mapper *of_it;
                char name[PSHM_NAME_SIZE];
                char used[PSHM_BYTES_SIZE], owner[OWNER_SIZE], details[PSHM_NAME_SIZE + 96];
                size_t n =
                        pshm_mappers_of(mappers, look->status.st_dev, look->status.st_ino, &of_it);

                user_text(look->status.st_uid, owner);
                pshm_look_details(look, details, sizeof(details));
                printf("%-*s %12jd %9s %04o %-10s %6zu%c  %s%s%s\n", width,
                       pshm_shown(look->name, name), (intmax_t)look->status.st_size,
                       pshm_bytes((uint64_t)look->status.st_blocks * BLOCK, used),
                       (unsigned)look->status.st_mode & 07777, owner, n,
                       mappers->unseen > 0 ? '+' : ' ', pshm_kind_text(look->kind),
                       *details ? ": " : "", details);
        }
}

int pshm_ls(const struct cli *cli, const struct cli_args *args)
{
        bool json = args->values[CLI_KEY_JSON] != NULL, all = json || args->values['l'];
        char name[PSHM_NAME_SIZE];
        struct pshm_mappers mappers = {0};
        struct listing listing;
        int r;

        (void)cli;
        r = listing_make(&listing);
        if (r < 0)
                return pshm_fail("listing", OBJECT_DIRECTORY, r);
        r = all ? pshm_mappers_look(&mappers) : 0;
        if (r < 0)
                r = pshm_fail("looking for mappers in", "/proc", r);
        else if (json)
                r = print_json(&listing, &mappers);
        else if (all)
                print_long(&listing, &mappers);
        else
                for (size_t i = 0; i < listing.n; i++)
                        puts(pshm_shown(listing.all[i].name, name));
        pshm_mappers_free(&mappers);
        free(listing.all);
        return r;
}
