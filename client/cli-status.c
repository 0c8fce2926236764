/* SPDX-License-Identifier: MIT */

/*
 * The verb that shows an instance: what was found under its segment's name,
 * and, if that is a segment, who looks after it and what it holds. Made to be
 * asked by people and by scripts that wait for the service: all is printed on
 * standard output, whatever the answer; the exit status is the answer.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "attach.h"
#include "cli.h"
#include "clock.h"

const struct cli_option cli_status_options[] = {
        CLI_OPTION_JSON,
        CLI_OPTION_HELP,
        {0},
};

/* --- words ----------------------------------------------------------------- */

static const char *outcome_word(const char *shm, int error)
{
        struct stat status;

        switch (-error) {
        case 0:
                return "ready";
        case ENXIO:
                return "absent";
        case EAGAIN:
                return "starting";
        case EPROTONOSUPPORT:
                return "other version";
        case ENOEXEC:
                return "foreign ABI";
        case EBADMSG:
                return "corrupt";
        case EACCES:
                return "not permitted";
        case EPERM:
                return cli_object_stat(shm, &status) == 0 && cli_object_wrong_mode(&status)
                               ? "wrong mode"
                               : "wrong owner";
        default:
                return "unknown";
        }
}

static const char *service_word(enum segment_state state)
{
        switch (state) {
        case SEGMENT_SERVING:
                return "serving";
        case SEGMENT_STOPPED:
                return "stopped";
        case SEGMENT_RETIRED:
                return "replaced";
        }
        return "unknown";
}

/* --- the object, whatever is in it ----------------------------------------- */

static void add_object(struct facts *facts, const char *shm)
{
        const struct passwd *user;
        const struct group *group;
        struct stat status;
        char mode[8];

        if (cli_object_stat(shm, &status) < 0)
                return;
        user = getpwuid(status.st_uid);
        group = getgrgid(status.st_gid);
        (void)snprintf(mode, sizeof(mode), "%04o", (unsigned)(status.st_mode & 07777));
        facts_string(facts, "owner", user ? user->pw_name : NULL);
        facts_unsigned(facts, "owner_uid", status.st_uid);
        facts_string(facts, "group", group ? group->gr_name : NULL);
        facts_unsigned(facts, "group_gid", status.st_gid);
        facts_string(facts, "mode", mode);
        facts_unsigned(facts, "size", (uint64_t)status.st_size);
}

/*
 * Of a segment that is not for us: which version and ABI it is of, from the
 * part of the header that keeps its place in every version.
 */
static void add_foreign(struct facts *facts, const char *shm)
{
        union {
                struct segment_header header;
                char bytes[offsetof(struct segment_header, instance_id)];
        } start = {0};
        char abi[SEGMENT_ABI_SIZE + 1] = "", own_abi[SEGMENT_ABI_SIZE];
        ssize_t n;
        int fd;

        fd = shm_open(shm, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0)
                return;
        n = pread(fd, start.bytes, sizeof(start.bytes), 0);
        close(fd);
        if (n != (ssize_t)sizeof(start.bytes))
                return;
        for (size_t i = 0; i < SEGMENT_ABI_SIZE && start.header.abi[i]; i++)
                abi[i] = start.header.abi[i] >= ' ' && start.header.abi[i] <= '~'
                                 ? start.header.abi[i]
                                 : '?';
        segment_abi(own_abi);
        facts_unsigned(facts, "layout_version", start.header.layout_version);
        facts_unsigned(facts, "own_layout_version", SEGMENT_LAYOUT_VERSION);
        facts_string(facts, "abi", abi);
        facts_string(facts, "own_abi", own_abi);
}

/* --- a segment ------------------------------------------------------------- */

static void add_since(struct facts *facts, uint64_t usec)
{
        time_t seconds = (time_t)(usec / 1000000);
        struct tm utc;
        char text[40];

        if (usec == 0 || !gmtime_r(&seconds, &utc) ||
            strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
                facts_none(facts, "since");
        else
                facts_string(facts, "since", text);
}

static void add_heartbeat(struct facts *facts, uint64_t heartbeat)
{
        uint64_t now = clock_usec(CLOCK_BOOTTIME);

        if (heartbeat == 0 || heartbeat > now)
                facts_none(facts, "heartbeat_age_seconds");
        else
                facts_real(facts, "heartbeat_age_seconds", (double)(now - heartbeat) / 1e6);
}

static void add_instance(struct facts *facts, const uint8_t id[16])
{
        char text[2 * 16 + 1] = "";

        for (size_t i = 0; i < 16; i++)
                (void)snprintf(text + 2 * i, 3, "%02x", id[i]);
        facts_string(facts, "instance", text);
}

/* Text from the header, which need not end within its field. */
static void add_text(struct facts *facts, const char *key, const char *text, size_t size)
{
        char copy[128];
        size_t length = strnlen(text, size < sizeof(copy) ? size : sizeof(copy) - 1);

        for (size_t i = 0; i < length; i++)
                copy[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
        copy[length] = '\0';
        facts_string(facts, key, length ? copy : NULL);
}

static void add_segment(struct facts *facts, const struct mapping *mapping, bool alive)
{
        const struct segment_header *header = mapping->header;

        facts_string(facts, "service", service_word(see_u32(&header->state)));
        facts_bool(facts, "daemon_alive", alive);
        if (alive)
                facts_unsigned(facts, "pid", see_u32(&header->daemon_pid));
        else
                facts_none(facts, "pid");
        add_since(facts, count_read(&header->started));
        add_heartbeat(facts, count_read(&header->heartbeat));
        facts_unsigned(facts, "sequences", see_u32(&header->n_sequences));
        facts_unsigned(facts, "max_sequences", header->max_sequences);
        facts_unsigned(facts, "slots_used", see_u32(&header->slots_used));
        facts_unsigned(facts, "slots", header->n_slots);
        facts_unsigned(facts, "templates", see_u32(&header->n_templates));
        facts_unsigned(facts, "clients", see_u32(&header->n_clients));
        facts_unsigned(facts, "commits", count_read(&header->commits));
        facts_unsigned(facts, "commit_failures", count_read(&header->failures));
        add_text(facts, "socket", header->socket, sizeof(header->socket));
        add_text(facts, "boot_id", header->boot_id, sizeof(header->boot_id));
        add_instance(facts, header->instance_id);
}

/*
 * What scripts go by: does a daemon serve this segment? `error` is what came
 * of attaching to it; only after 0 there is a mapping.
 */
static int service_status(const struct cli *cli, int error, const struct mapping *mapping,
                          bool alive)
{
        if (error == -EPERM)
                return cli_fail_attach(cli->shm, error);
        if (error < 0) { /* the hint would be to ask for the status */
                cli_complain("attaching to %s: %s", cli->shm, seqnum_strerror(error));
                return cli_exit_status(error);
        }
        if (alive && see_u32(&mapping->header->state) == SEGMENT_SERVING)
                return CLI_OK;
        if (!alive && see_u32(&mapping->header->state) == SEGMENT_STOPPED)
                cli_complain("segment %s: seqnumd was stopped: draws wait until it is started",
                             cli->shm);
        else if (alive)
                cli_complain("segment %s: seqnumd runs but does not serve it: it is starting or "
                             "stopping; try again in a moment",
                             cli->shm);
        else
                cli_complain("segment %s: seqnumd is not running: draws get what it had reserved, "
                             "then wait; start it",
                             cli->shm);
        return CLI_UNAVAILABLE;
}

int cli_status(const struct cli *cli, const struct cli_args *args)
{
        struct facts facts __attribute__((cleanup(facts_free))) = facts_new();
        struct mapping *mapping = NULL;
        bool alive = false;
        int r, status;

        r = mapping_new(&mapping, cli->shm, 0);
        facts_string(&facts, "segment", cli->shm);
        facts_string(&facts, "state", outcome_word(cli->shm, r));
        if (r == 0) {
                alive = mapping_attended(mapping);
                add_segment(&facts, mapping, alive);
        } else if (r == -EPROTONOSUPPORT || r == -ENOEXEC) {
                add_foreign(&facts, cli->shm);
        }
        add_object(&facts, cli->shm);

        status = facts_print(&facts, args->values[CLI_KEY_JSON] != NULL);
        if (status == CLI_OK)
                status = service_status(cli, r, mapping, alive);
        mapping_free(mapping);
        return status;
}
