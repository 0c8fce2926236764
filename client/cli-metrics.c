/* SPDX-License-Identifier: MIT */

/*
 * The verb that prints figures for Prometheus, in its text format 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). They are read from the
 * segment, so neither daemon nor socket is asked, and a scrape costs no draw
 * anything.
 *
 * All samples of one metric must stand together, so sequences are read once
 * into an array that is then gone through for each metric.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "cli.h"
#include "clock.h"
#include "handle.h"

const struct cli_option cli_metrics_options[] = {
        CLI_OPTION_HELP,
        {0},
};

/* --- the format --------------------------------------------------------------- */

static void print_head(const char *name, const char *type, const char *help)
{
        printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_figure(const char *name, const char *type, const char *help, double value)
{
        print_head(name, type, help);
        printf("%s %.16g\n", name, value);
}

/* {label="value"}: what would end the value is escaped. */
static void print_label(const char *label, const char *value)
{
        printf("%s=\"", label);
        for (; *value; value++) {
                if (*value == '\n')
                        (void)fputs("\\n", stdout);
                else if (*value == '\\' || *value == '"')
                        printf("\\%c", *value);
                else
                        (void)putchar(*value);
        }
        (void)putchar('"');
}

/* --- the service --------------------------------------------------------------- */

static void print_build(const char *shm, bool up)
{
        print_head("seqnum_build_info", "gauge", "Version of the seqnum command; always 1.");
        (void)fputs("seqnum_build_info{", stdout);
        print_label("version", SEQNUM_VERSION);
        (void)putchar(',');
        print_label("segment", shm);
        (void)puts("} 1");
        print_figure("seqnum_up", "gauge", "Whether a daemon lives and serves the segment, 1 or 0.",
                     up);
}

static void print_heartbeat(uint64_t heartbeat)
{
        uint64_t now = clock_usec(CLOCK_BOOTTIME);

        if (heartbeat == 0 || heartbeat > now)
                return; /* none yet */
        print_figure("seqnum_heartbeat_age_seconds", "gauge",
                     "Time since the daemon last gave a sign of life; an idle one sleeps.",
                     (double)(now - heartbeat) / 1e6);
}

static void print_service(const struct mapping *mapping)
{
        const struct segment_header *header = mapping->header;

        print_heartbeat(count_read(&header->heartbeat));
        print_figure("seqnum_start_time_seconds", "gauge",
                     "When the daemon took the segment over, in seconds since 1970.",
                     (double)count_read(&header->started) / 1e6);
        print_figure("seqnum_sequences", "gauge", "Sequences being served.",
                     see_u32(&header->n_sequences));
        print_figure("seqnum_max_sequences", "gauge", "Sequences that there is room for.",
                     header->max_sequences);
        print_figure("seqnum_slots_used", "gauge",
                     "Slots of the segment in use; one is taken by each new sequence and each "
                     "alteration.",
                     see_u32(&header->slots_used));
        print_figure("seqnum_slots", "gauge", "Slots of the segment.", header->n_slots);
        print_figure("seqnum_templates", "gauge", "Templates of the configuration.",
                     see_u32(&header->n_templates));
        print_figure("seqnum_clients", "gauge", "Connections to the control socket.",
                     see_u32(&header->n_clients));
        print_figure("seqnum_commits_total", "counter",
                     "Transactions of the store since the daemon started.",
                     (double)count_read(&header->commits));
        print_figure("seqnum_commit_failures_total", "counter",
                     "Transactions of the store that failed.",
                     (double)count_read(&header->failures));
        print_figure("seqnum_doorbell_rings_total", "counter", "Calls of clients for more numbers.",
                     (double)count_read(&mapping->shared->rings));
}

/* --- the sequences -------------------------------------------------------------- */

/* What a scrape tells of one sequence. */
struct sample {
        char *name; /* owned */
        uint64_t next, ahead, left, waits, refills, turns;
        enum sequence_kind kind;
        bool turn_held, holder_alive;
};

struct samples {
        struct sample *items;
        size_t n_items, size;
};

static void samples_free(struct samples *samples)
{
        for (size_t i = 0; i < samples->n_items; i++)
                free(samples->items[i].name);
        free(samples->items);
}

static int samples_begin(size_t n, size_t width, void *userdata)
{
        struct samples *samples = userdata;

        (void)width;
        samples->size = n;
        samples->items = calloc(n + 1, sizeof(*samples->items));
        return samples->items ? 0 : cli_fail("reading", "sequences", -ENOMEM);
}

static int samples_add(const struct snapshot *s, void *userdata)
{
        struct samples *samples = userdata;
        struct sample *sample = &samples->items[samples->n_items];

        *sample = (struct sample){
                .name = strdup(s->name),
                .next = s->next,
                .ahead = s->ahead,
                .left = s->left,
                .waits = s->waits,
                .refills = s->refills,
                .turns = s->turns,
                .kind = s->kind,
                .turn_held = s->turn_held,
                .holder_alive = s->holder_alive,
        };
        if (!sample->name)
                return cli_fail("reading", s->name, -ENOMEM);
        samples->n_items++;
        return 0;
}

static uint64_t next_of(const struct sample *sample)
{
        return sample->next;
}

static uint64_t ahead_of(const struct sample *sample)
{
        return sample->ahead;
}

static uint64_t left_of(const struct sample *sample)
{
        return sample->left;
}

static uint64_t waits_of(const struct sample *sample)
{
        return sample->waits;
}

static uint64_t refills_of(const struct sample *sample)
{
        return sample->refills;
}

static uint64_t turns_of(const struct sample *sample)
{
        return sample->turns;
}

static uint64_t held_of(const struct sample *sample)
{
        return sample->turn_held && sample->holder_alive;
}

static const struct sequence_metric {
        const char *name, *type, *help;
        unsigned only; /* enum sequence_kind, 0: all */
        uint64_t (*of)(const struct sample *sample);
} sequence_metrics[] = {
        {"seqnum_next_index", "gauge",
         "Numbers used up, drawn or skipped, since the sequence was made, altered or restarted; "
         "of kind time, milliseconds and serial.",
         0, next_of},
        {"seqnum_reserved_numbers", "gauge",
         "Numbers reserved ahead: drawn without waiting for the daemon.", 0, ahead_of},
        {"seqnum_remaining_numbers", "gauge", "Numbers left until the sequence's end.", 0, left_of},
        {"seqnum_waits_total", "counter", "Draws that had to wait.", 0, waits_of},
        {"seqnum_refills_total", "counter", "How often numbers were reserved.", 0, refills_of},
        {"seqnum_turns_total", "counter", "How often the turn of a gapless sequence was taken.",
         SEQUENCE_GAPLESS, turns_of},
        {"seqnum_turn_held", "gauge", "Whether a living process holds the turn, 1 or 0.",
         SEQUENCE_GAPLESS, held_of},
};

static bool metric_applies(const struct sequence_metric *metric, const struct sample *sample)
{
        return metric->only == 0 || metric->only == sample->kind;
}

static void print_metric(const struct sequence_metric *metric, const struct samples *samples)
{
        bool head = false;

        for (size_t i = 0; i < samples->n_items && !ferror(stdout); i++) {
                const struct sample *sample = &samples->items[i];

                if (!metric_applies(metric, sample))
                        continue;
                if (!head)
                        print_head(metric->name, metric->type, metric->help);
                head = true;
                printf("%s{", metric->name);
                print_label("sequence", sample->name);
                (void)putchar(',');
                print_label("kind", sequence_kind_name(sample->kind));
                printf("} %" PRIu64 "\n", metric->of(sample));
        }
}

static int print_sequences(struct seqnum_client *client)
{
        struct samples samples __attribute__((cleanup(samples_free))) = {0};
        const struct snapshot_visitor visitor = {samples_begin, samples_add, &samples};
        int r;

        r = snapshot_all(client, &visitor);
        if (r != 0)
                return r;
        for (size_t i = 0; i < sizeof(sequence_metrics) / sizeof(sequence_metrics[0]); i++)
                print_metric(&sequence_metrics[i], &samples);
        return CLI_OK;
}

/* Without a segment, too, something is known: that the service is not up. */
int cli_metrics(const struct cli *cli, const struct cli_args *args)
{
        const struct mapping *mapping;
        struct seqnum_client *client;
        int r;

        (void)args;
        r = cli_attach(cli, SEQNUM_RDONLY, &client);
        if (r != 0) {
                print_build(cli->shm, false);
                return r;
        }
        mapping = client->mappings;
        print_build(cli->shm, mapping_attended(mapping) &&
                                      see_u32(&mapping->header->state) == SEGMENT_SERVING);
        print_service(mapping);
        r = print_sequences(client);
        seqnum_detach(client);
        return r;
}
