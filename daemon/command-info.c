/* SPDX-License-Identifier: MIT */

/* Commands that look and take nothing; see command.h. */

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomic.h"
#include "clock.h"
#include "command.h"

#define SCAN_COUNT     10
#define SCAN_COUNT_MAX 1000

/* --- one sequence ------------------------------------------------------------- */

static struct sequence *find(const struct session *session, const struct resp_request *request,
                             size_t i)
{
        char name[NAME_BUFFER];

        (void)command_text(request, i, name, sizeof(name));
        if (!sequence_name_valid(name, request->arguments[i].length))
                return NULL;
        return registry_find(&session->service->registry, name);
}

enum command_result command_get(struct session *session, const struct resp_request *request)
{
        const struct sequence *sequence = find(session, request, 1);
        char text[32];
        int64_t value;

        if (!sequence || serve_last(session->service, sequence, &value) < 0) {
                resp_null(&session->out);
                return COMMAND_DONE;
        }
        (void)snprintf(text, sizeof(text), "%" PRId64, value);
        resp_text(&session->out, text);
        return COMMAND_DONE;
}

enum command_result command_peek(struct session *session, const struct resp_request *request)
{
        const struct sequence *sequence = command_sequence(session, request);
        int64_t value;

        if (!sequence)
                return COMMAND_DONE;
        if (serve_peek(session->service, sequence, &value) < 0)
                resp_error(&session->out, "ERR", "sequence '%s' has come to its end",
                           sequence->name);
        else
                resp_integer(&session->out, value);
        return COMMAND_DONE;
}

enum command_result command_exists(struct session *session, const struct resp_request *request)
{
        int64_t n = 0;

        for (size_t i = 1; i < request->n; i++)
                n += find(session, request, i) != NULL;
        resp_integer(&session->out, n);
        return COMMAND_DONE;
}

/* A number is a string to Redis. */
enum command_result command_type(struct session *session, const struct resp_request *request)
{
        resp_simple(&session->out, find(session, request, 1) ? "string" : "none");
        return COMMAND_DONE;
}

static void put_integer(struct resp_writer *out, const char *key, int64_t value)
{
        resp_text(out, key);
        resp_integer(out, value);
}

static void put_counting(struct resp_writer *out, const struct sequence *sequence)
{
        put_integer(out, "start", sequence->params.start);
        put_integer(out, "increment", sequence->params.increment);
        put_integer(out, "min", sequence->params.min);
        put_integer(out, "max", sequence->params.max);
        put_integer(out, "cycle", sequence->params.cycle);
        put_integer(out, "hold_limit", sequence->params.hold_limit);
}

static void put_time(struct resp_writer *out, const struct sequence *sequence)
{
        put_integer(out, "epoch", sequence->params.epoch / 1000);
        put_integer(out, "node", sequence->params.node);
        put_integer(out, "node_bits", sequence->params.node_bits);
        put_integer(out, "serial_bits", sequence->params.serial_bits);
}

static void put_value(struct resp_writer *out, const char *key, int error, int64_t value)
{
        resp_text(out, key);
        if (error < 0)
                resp_null(out);
        else
                resp_integer(out, value);
}

enum command_result command_seq_info(struct session *session, const struct resp_request *request)
{
        const struct sequence *sequence = command_sequence(session, request);
        struct resp_writer *out = &session->out;
        int64_t value = 0;
        bool time;
        int r;

        if (!sequence)
                return COMMAND_DONE;
        time = sequence->params.kind == SEQUENCE_TIME;
        resp_map(out, time ? 12 : 14);
        resp_text(out, "name");
        resp_text(out, sequence->name);
        resp_text(out, "kind");
        resp_text(out, sequence_kind_name(sequence->params.kind));
        if (time)
                put_time(out, sequence);
        else
                put_counting(out, sequence);
        put_integer(out, "reserve", (int64_t)sequence->params.reserve);
        r = serve_last(session->service, sequence, &value);
        put_value(out, "last", r, value);
        r = serve_peek(session->service, sequence, &value);
        put_value(out, "next", r, value);
        put_integer(out, "reserved", (int64_t)sequence->ceiling);
        put_integer(out, "id", (int64_t)sequence->id);
        put_integer(out, "generation", (int64_t)sequence->generation);
        return COMMAND_DONE;
}

enum command_result command_explain(struct session *session, const struct resp_request *request)
{
        const struct sequence *sequence = command_sequence(session, request);
        struct resp_writer *out = &session->out;
        uint32_t node, serial;
        char text[64], day[32];
        time_t seconds;
        int64_t id, ms;
        struct tm tm;

        if (!sequence || !command_integer(session, request, 2, 0, INT64_MAX, &id))
                return COMMAND_DONE;
        if (sequence->params.kind != SEQUENCE_TIME) {
                resp_error(out, "ERR", "sequence '%s' is of kind %s: its numbers say no time",
                           sequence->name, sequence_kind_name(sequence->params.kind));
                return COMMAND_DONE;
        }
        sequence_time_explain(&sequence->params, id, &ms, &node, &serial);
        seconds = (time_t)(ms / 1000);
        day[0] = '\0';
        if (gmtime_r(&seconds, &tm))
                (void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
        (void)snprintf(text, sizeof(text), "%s.%03dZ", day, (int)(ms % 1000));
        resp_map(out, 4);
        resp_text(out, "time");
        resp_text(out, text);
        put_integer(out, "unix_msec", ms);
        put_integer(out, "node", node);
        put_integer(out, "serial", serial);
        return COMMAND_DONE;
}

/* --- all of them --------------------------------------------------------------------- */

enum command_result command_dbsize(struct session *session, const struct resp_request *request)
{
        (void)request;
        resp_integer(&session->out, session->service->registry.n_sequences);
        return COMMAND_DONE;
}

struct scan {
        uint64_t cursor;
        int64_t count;
        char pattern[NAME_BUFFER];
};

static bool scan_options(struct session *session, const struct resp_request *request,
                         struct scan *scan)
{
        char text[24], *end;

        (void)command_text(request, 1, text, sizeof(text));
        errno = 0;
        scan->cursor = strtoull(text, &end, 10);
        if (!*text || *end || errno != 0 || *text == '-') {
                resp_error(&session->out, "ERR", "invalid cursor");
                return false;
        }
        for (size_t i = 2; i < request->n; i += 2) {
                if (i + 1 == request->n) {
                        resp_error(&session->out, "ERR", "syntax error: MATCH PATTERN, COUNT N");
                        return false;
                }
                if (command_is(&request->arguments[i], "MATCH")) {
                        (void)command_text(request, i + 1, scan->pattern, sizeof(scan->pattern));
                } else if (command_is(&request->arguments[i], "COUNT")) {
                        if (!command_integer(session, request, i + 1, 1, INT64_MAX, &scan->count))
                                return false;
                } else {
                        resp_error(&session->out, "ERR", "syntax error: MATCH PATTERN, COUNT N");
                        return false;
                }
        }
        if (scan->count > SCAN_COUNT_MAX)
                scan->count = SCAN_COUNT_MAX;
        return true;
}

/*
 * By slot: slots are never reused, so nothing is missed that was there all the
 * while. Another segment has other slots: then begin anew.
 */
enum command_result command_scan(struct session *session, const struct resp_request *request)
{
        const struct registry *registry = &session->service->registry;
        uint64_t segment = session->service->segment->header->segment_id & UINT32_MAX;
        struct scan scan = {.count = SCAN_COUNT};
        const struct sequence *found[SCAN_COUNT_MAX];
        const struct sequence *sequence;
        size_t n = 0;
        uint32_t slot;
        char text[24];

        if (!scan_options(session, request, &scan))
                return COMMAND_DONE;
        slot = scan.cursor >> 32 == segment ? (uint32_t)scan.cursor : 0;
        for (int64_t i = 0; i < scan.count && slot < registry->n_slots; slot++) {
                sequence = registry_at(registry, slot);
                if (!sequence)
                        continue;
                i++;
                if (!*scan.pattern || fnmatch(scan.pattern, sequence->name, 0) == 0)
                        found[n++] = sequence;
        }
        while (slot < registry->n_slots && !registry_at(registry, slot))
                slot++;
        (void)snprintf(text, sizeof(text), "%" PRIu64,
                       slot < registry->n_slots ? segment << 32 | slot : 0);
        resp_array(&session->out, 2);
        resp_text(&session->out, text);
        resp_array(&session->out, n);
        for (size_t i = 0; i < n; i++)
                resp_text(&session->out, found[i]->name);
        return COMMAND_DONE;
}

/* --- INFO --------------------------------------------------------------------------- */

static bool wants(const struct resp_request *request, const char *section)
{
        for (size_t i = 1; i < request->n; i++)
                if (command_is(&request->arguments[i], section) ||
                    command_is(&request->arguments[i], "all") ||
                    command_is(&request->arguments[i], "everything") ||
                    command_is(&request->arguments[i], "default"))
                        return true;
        return request->n == 1;
}

enum command_result command_info(struct session *session, const struct resp_request *request)
{
        const struct service *service = session->service;
        const struct segment_header *header = service->segment->header;
        struct commit_counters counters = committer_counters(service->committer);
        uint64_t up = clock_usec(CLOCK_REALTIME) - count_read(&header->started);
        char *text = NULL;
        size_t size = 0;
        FILE *file = open_memstream(&text, &size);

        if (!file) {
                resp_error(&session->out, "ERR", "out of memory");
                return COMMAND_DONE;
        }
        if (wants(request, "server"))
                (void)fprintf(file,
                              "# Server\r\nseqnum_version:%s\r\nprocess_id:%d\r\n"
                              "uptime_in_seconds:%" PRIu64 "\r\nsegment:%s\r\nstate:%s\r\n",
                              SEQNUM_VERSION, (int)getpid(), up / USEC_PER_SEC,
                              service->config->shm, service->config->state);
        if (wants(request, "clients"))
                (void)fprintf(file, "# Clients\r\nconnected_clients:%u\r\nmaxclients:%u\r\n",
                              see_u32(&header->n_clients), service->config->max_clients);
        if (wants(request, "sequences"))
                (void)fprintf(file,
                              "# Sequences\r\nsequences:%u\r\nmax_sequences:%u\r\n"
                              "slots_used:%u\r\nslots:%u\r\ntemplates:%zu\r\n",
                              service->registry.n_sequences, service->config->max_sequences,
                              service->segment->slots_used, header->n_slots,
                              service->config->n_templates);
        if (wants(request, "store"))
                (void)fprintf(file,
                              "# Store\r\ncommits:%" PRIu64 "\r\njobs:%" PRIu64
                              "\r\nfailures:%" PRIu64 "\r\nsound:%d\r\n",
                              counters.commits, counters.jobs, counters.failed,
                              committer_sound(service->committer));
        /* For want of memory there may be no text, and fclose(3) content. */
        if (fclose(file) == 0 && text)
                resp_bulk(&session->out, text, size);
        else
                resp_error(&session->out, "ERR", "out of memory");
        free(text);
        return COMMAND_DONE;
}
