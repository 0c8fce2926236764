/* SPDX-License-Identifier: MIT */

/*
 * From the lines of an ini file to a configuration; see config.h.
 *
 * One pass over the lines fills the configuration and collects complaints.
 * What one line cannot tell is judged when its section ends (do the values of
 * a sequence contradict one another?) or the file does (are there too many
 * sequences? what is the default to reserve?). The complaints are put in order
 * of lines at last.
 *
 * Reading goes on after an error as if the line had been right as far as that
 * can be guessed, so that one run shows all there is to repair, and nothing
 * that only follows from another error.
 */

#define HASH_NONFATAL_OOM 1

#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "keys.h"
#include "lines.h"

/* Of a sequence that does not state it, until [service] is known as a whole. */
#define RESERVE_OF_SERVICE UINT64_MAX

/* A complaint, with what it takes to keep those of one line in order. */
struct complaint {
        unsigned line; /* 0: about the file itself */
        size_t order;
        char *text;
};

/* A name in use. Apart from the sequences, which move as their array grows. */
struct known_name {
        char *name;
        unsigned line;
        UT_hash_handle hh;
};

enum section {
        SECTION_NONE,    /* before the first */
        SECTION_UNKNOWN, /* its keys cannot be judged */
        SECTION_SERVICE,
        SECTION_SEQUENCE,
};

struct loader {
        const char *path;
        const char *instance; /* NULL: the default one */
        struct config *config;
        size_t room, template_room; /* in config->sequences, config->templates */
        struct known_name *names;
        struct complaint *complaints;
        size_t n_complaints, complaint_room;

        unsigned service_line;         /* of the first [service], or 0 */
        unsigned given[CONFIG_N_KEYS]; /* line of each key; a sequence's: in this section */
        bool refused[CONFIG_N_KEYS];   /* given, but with no value to work with */
        enum section section;
        bool servable;                   /* the sequence has a good name of its own */
        bool template;                   /* its name ended in a *, which was taken off */
        bool altering;                   /* what is not given stays as it is, not as by default */
        bool foreign;                    /* it has keys of another kind */
        struct config_sequence sequence; /* being read */
        struct config_sequence fallback; /* nothing but defaults */
};

/* --- complaints -------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int complain(struct loader *loader, unsigned line,
                                                          const char *format, ...)
{
        struct complaint *complaint;
        char *what = NULL, *text = NULL;
        va_list args;
        int r;

        if (loader->n_complaints == loader->complaint_room) {
                size_t room = loader->complaint_room ? 2 * loader->complaint_room : 16;

                complaint = reallocarray(loader->complaints, room, sizeof(*complaint));
                if (!complaint)
                        return -ENOMEM;
                loader->complaints = complaint;
                loader->complaint_room = room;
        }
        va_start(args, format);
        r = vasprintf(&what, format, args);
        va_end(args);
        if (r < 0)
                return -ENOMEM;
        if (!loader->path) {
                text = what; /* of no file */
        } else {
                r = line ? asprintf(&text, "%s:%u: %s", loader->path, line, what)
                         : asprintf(&text, "%s: %s", loader->path, what);
                free(what);
        }
        if (r < 0)
                return -ENOMEM;
        complaint = &loader->complaints[loader->n_complaints];
        *complaint = (struct complaint){line, loader->n_complaints++, text};
        return 0;
}

static int complaint_compare(const void *left, const void *right)
{
        const struct complaint *a = left, *b = right;

        if (a->line != b->line)
                return a->line < b->line ? -1 : 1;
        return (a->order > b->order) - (a->order < b->order);
}

/* Hand all complaints over to the caller. */
static int complaints_give(struct loader *loader, struct config_errors *errors)
{
        size_t n = loader->n_complaints;

        errors->items = calloc(n, sizeof(char *));
        if (!errors->items)
                return -ENOMEM;
        qsort(loader->complaints, n, sizeof(*loader->complaints), complaint_compare);
        for (size_t i = 0; i < n; i++)
                errors->items[i] = loader->complaints[i].text;
        errors->n_items = n;
        loader->n_complaints = 0;
        return 0;
}

void config_errors_clear(struct config_errors *errors)
{
        for (size_t i = 0; i < errors->n_items; i++)
                free(errors->items[i]);
        free(errors->items);
        *errors = (struct config_errors){0};
}

/* --- names ------------------------------------------------------------- */

/* Note `name` as used at `line`. *ret: the line where it was used before, 0 if nowhere. */
static int name_note(struct loader *loader, const char *name, unsigned line, unsigned *ret)
{
        struct known_name *known;
        size_t length = strlen(name);

        HASH_FIND(hh, loader->names, name, length, known);
        if (known) {
                *ret = known->line;
                return 0;
        }
        known = calloc(1, sizeof(*known));
        if (!known)
                return -ENOMEM;
        known->line = line;
        known->name = strdup(name);
        if (known->name)
                HASH_ADD_KEYPTR(hh, loader->names, known->name, length, known);
        if (!known->hh.tbl) { /* how uthash says that memory ran out */
                free(known->name);
                free(known);
                return -ENOMEM;
        }
        *ret = 0;
        return 0;
}

static void names_clear(struct loader *loader)
{
        struct known_name *known, *next;

        HASH_ITER (hh, loader->names, known, next) {
                /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it loses track in uthash */
                HASH_DELETE(hh, loader->names, known);
                free(known->name);
                free(known);
        }
}

/* --- the end of a section ---------------------------------------------- */

static unsigned later(unsigned a, unsigned b)
{
        return a > b ? a : b;
}

/*
 * Which line to name for a contradiction: of the keys that take part in it,
 * the last one stated. The increment takes part where a default follows it.
 */
static unsigned contradiction_line(const struct loader *loader)
{
        const struct sequence_params *params = &loader->sequence.params;
        const unsigned *given = loader->given;
        unsigned a = given[KEY_MIN], b = given[KEY_MAX];

        if (params->kind == SEQUENCE_TIME)
                return later(later(given[KEY_NODE], given[KEY_NODE_BITS]),
                             later(given[KEY_SERIAL_BITS], given[KEY_RESERVE]));
        if (params->min < params->max) {
                if (params->start < params->min)
                        b = given[KEY_START];
                else if (params->start > params->max)
                        a = given[KEY_START];
                else
                        return later(given[KEY_INCREMENT], later(a, b));
        }
        return a && b ? later(a, b) : later(later(a, b), given[KEY_INCREMENT]);
}

/* What has no meaning for the section's kind was stated by mistake. */
static int check_kind(struct loader *loader)
{
        enum sequence_kind kind = loader->sequence.params.kind;
        int r = 0;

        if (loader->refused[KEY_KIND])
                return 0;
        for (size_t i = 0; i < CONFIG_N_KEYS && r >= 0; i++) {
                const struct config_key *key = &config_keys[i];

                if (key->section != CONFIG_SEQUENCE || !loader->given[i] || !key->kinds ||
                    key->kinds & CONFIG_KIND(kind))
                        continue;
                r = complain(loader, loader->given[i],
                             "%s has no meaning for kind = %s; leave it out", key->name,
                             sequence_kind_name(kind));
                loader->foreign = true;
        }
        return r;
}

/* Is enough known for a contradiction to be one, not the trace of a refused value? */
static bool comparable(const struct loader *loader)
{
        const bool *refused = loader->refused;

        if (refused[KEY_MIN] || refused[KEY_MAX] || refused[KEY_KIND] || loader->foreign)
                return false;
        if (loader->sequence.params.kind == SEQUENCE_TIME)
                return !refused[KEY_NODE] && !refused[KEY_NODE_BITS] && !refused[KEY_SERIAL_BITS];
        return !refused[KEY_INCREMENT] || (loader->given[KEY_MIN] && loader->given[KEY_MAX]);
}

static bool stated(const struct loader *loader, enum config_key_id id)
{
        return loader->given[id] && !loader->refused[id];
}

static int check_sequence(struct loader *loader)
{
        struct config_sequence *sequence = &loader->sequence;
        char buffer[256];
        const char *reason;
        int r;

        sequence->given_start = stated(loader, KEY_START);
        r = check_kind(loader);
        if (r < 0)
                return r;
        if (!loader->altering)
                sequence_params_complete(&sequence->params, sequence->given_start,
                                         stated(loader, KEY_MIN), stated(loader, KEY_MAX));
        if (!comparable(loader))
                return 0;
        reason = sequence_params_check(&sequence->params, buffer, sizeof(buffer));
        if (!reason)
                return 0;
        if (!loader->path)
                return complain(loader, 0, "%s", reason);
        return complain(loader, contradiction_line(loader), "[sequence %s] %s", sequence->name,
                        reason);
}

static int append(struct config_sequence **sequences, size_t *n, size_t *room,
                  struct config_sequence *sequence)
{
        struct config_sequence *grown;
        size_t size = *room ? 2 * *room : 64;

        if (*n == *room) {
                grown = reallocarray(*sequences, size, sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                *sequences = grown;
                *room = size;
        }
        (*sequences)[(*n)++] = *sequence;
        sequence->name = NULL;
        return 0;
}

static int append_sequence(struct loader *loader)
{
        struct config *config = loader->config;

        if (!loader->template)
                return append(&config->sequences, &config->n_sequences, &loader->room,
                              &loader->sequence);
        if (config->n_templates == CONFIG_TEMPLATES_MAX)
                return complain(loader, loader->sequence.line,
                                "[sequence %s*] is one template too many; use at most %d",
                                loader->sequence.name, CONFIG_TEMPLATES_MAX);
        return append(&config->templates, &config->n_templates, &loader->template_room,
                      &loader->sequence);
}

static int end_section(struct loader *loader)
{
        enum section section = loader->section;
        int r;

        loader->section = SECTION_UNKNOWN;
        if (section != SECTION_SEQUENCE)
                return 0;
        r = check_sequence(loader);
        if (r < 0)
                return r;
        if (!stated(loader, KEY_RESERVE) && loader->sequence.params.kind == SEQUENCE_COUNTER)
                loader->sequence.params.reserve = RESERVE_OF_SERVICE;
        return loader->servable ? append_sequence(loader) : 0;
}

/* --- the beginning of a section ---------------------------------------- */

static int begin_service(struct loader *loader, unsigned line)
{
        loader->section = SECTION_SERVICE;
        if (loader->service_line)
                return complain(loader, line,
                                "[service] was begun at line %u; put all its keys there",
                                loader->service_line);
        loader->service_line = line;
        return 0;
}

/* Say what is wrong with a name, if anything. */
static int check_name(struct loader *loader, const char *name, unsigned line)
{
        size_t length = strlen(name);
        unsigned first;
        int r;

        loader->servable = false;
        if (length == 0)
                return complain(loader, line,
                                "the section names no sequence; "
                                "use [sequence NAME]");
        if (strcspn(name, "*") < length - 1)
                return complain(loader, line,
                                "[sequence %s] has a * that is not at its end; "
                                "use [sequence PREFIX*]",
                                name);
        if (length > SEQUENCE_NAME_MAX)
                return complain(loader, line,
                                "the name of the sequence has %zu bytes; "
                                "use at most %d",
                                length, SEQUENCE_NAME_MAX);
        loader->template = name[length - 1] == '*';
        if (loader->template)
                loader->sequence.name[--length] = '\0';
        if (!sequence_name_valid(name, loader->template ? length : strlen(name)) && length > 0)
                return complain(loader, line,
                                "[sequence %s] has a character that no name has; "
                                "use A-Z a-z 0-9 . _ : / -",
                                name);
        r = name_note(loader, name, line, &first);
        if (r < 0)
                return r;
        if (first)
                return complain(loader, line,
                                "[sequence %s] was begun at line %u; "
                                "put all its keys there",
                                name, first);
        loader->servable = true;
        return 0;
}

/* Whatever is wrong with the name, the keys that follow can be judged. */
static int begin_sequence(struct loader *loader, const char *name, unsigned line)
{
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;
        free(loader->sequence.name);
        loader->sequence = loader->fallback;
        loader->sequence.name = copy;
        loader->sequence.line = line;
        for (size_t i = 0; i < CONFIG_N_KEYS; i++)
                if (config_keys[i].section == CONFIG_SEQUENCE) {
                        loader->given[i] = 0;
                        loader->refused[i] = false;
                }
        loader->section = SECTION_SEQUENCE;
        loader->foreign = false;
        return check_name(loader, name, line);
}

static int begin_section(struct loader *loader, const struct line *line)
{
        static const char sequence[] = "sequence";
        size_t length = strlen(sequence);
        const char *name = line->name;
        int r = end_section(loader);

        if (r < 0)
                return r;
        if (strcmp(name, "service") == 0)
                return begin_service(loader, line->number);
        if (strncmp(name, sequence, length) == 0 && strchr(" \t", name[length])) {
                name += length;
                return begin_sequence(loader, name + strspn(name, " \t"), line->number);
        }
        return complain(loader, line->number, "[%s] is not known; use [service] or [sequence NAME]",
                        name);
}

/* --- keys -------------------------------------------------------------- */

static int unknown_key(struct loader *loader, enum config_section section, const struct line *line)
{
        enum config_section other = section == CONFIG_SERVICE ? CONFIG_SEQUENCE : CONFIG_SERVICE;
        const char *title = config_section_title(section);
        const struct config_key *guess = config_key_guess(section, line->name);

        if (config_key_find(other, line->name))
                return complain(loader, line->number, "%s is no key of %s; put it into %s",
                                line->name, title, config_section_title(other));
        if (guess)
                return complain(loader, line->number, "%s is no key of %s; did you mean %s?",
                                line->name, title, guess->name);
        return complain(loader, line->number,
                        "%s is no key of %s; see seqnumd.ini(5) for those there are", line->name,
                        title);
}

static int set_key(struct loader *loader, const struct config_key *key, void *object,
                   const struct line *line)
{
        size_t id = (size_t)(key - config_keys);
        const char *reason = NULL;
        int r = 0;

        if (loader->given[id])
                r = loader->path ? complain(loader, line->number,
                                            "%s was given at line %u; give it once", key->name,
                                            loader->given[id])
                                 : complain(loader, line->number,
                                            "%s was given twice; give it once", key->name);
        if (r < 0)
                return r;
        loader->given[id] = line->number;
        r = config_key_parse(key, line->value, object, &reason);
        if (r != -EINVAL)
                return r;
        loader->refused[id] = true;
        return complain(loader, line->number, "%s =%s%s %s; use %s", key->name,
                        line->value[0] ? " " : "", line->value, reason, key->range);
}

static int take_key(struct loader *loader, const struct line *line)
{
        bool service = loader->section == SECTION_SERVICE;
        enum config_section section = service ? CONFIG_SERVICE : CONFIG_SEQUENCE;
        void *object = service ? (void *)loader->config : &loader->sequence;
        const struct config_key *key;

        if (loader->section == SECTION_UNKNOWN)
                return 0;
        if (loader->section == SECTION_NONE)
                return complain(loader, line->number,
                                "%s is in no section; put it below [service] or [sequence NAME]",
                                line->name);
        key = config_key_find(section, line->name);
        return key ? set_key(loader, key, object, line) : unknown_key(loader, section, line);
}

/* --- the file ---------------------------------------------------------- */

static int take_line(struct loader *loader, const struct line *line)
{
        int r = 0;

        switch (line->kind) {
        case LINE_BLANK:
                return 0;
        case LINE_SECTION:
                return begin_section(loader, line);
        case LINE_KEY:
                return take_key(loader, line);
        case LINE_FAULTY:
                break;
        }
        /* Keys below a section that could not be read belong to no other. */
        if (line->like_section)
                r = end_section(loader);
        return r < 0 ? r : complain(loader, line->number, "%s", line->fault);
}

static int take_file(struct loader *loader, FILE *file)
{
        struct line *line = calloc(1, sizeof(*line));
        int r, taken = 0;

        if (!line)
                return -ENOMEM;
        while ((r = line_read(line, file)) > 0) {
                taken = take_line(loader, line);
                if (taken < 0)
                        break;
        }
        free(line);
        if (taken < 0)
                return taken;
        if (r < 0) {
                taken = complain(loader, 0, "cannot be read: %s; check the file", strerror(-r));
                return taken < 0 ? taken : r;
        }
        return end_section(loader);
}

/* Whoever wants a name to come into being asks for it over the socket. */
static int check_templates(struct loader *loader)
{
        const struct config *config = loader->config;

        if (config->n_templates == 0 || *config->socket)
                return 0;
        return complain(loader, config->templates[0].line,
                        "[sequence %s*] is a template, which needs the control socket; set "
                        "socket, or remove the section",
                        config->templates[0].name);
}

/* What needs all of [service], which may come last. */
static int finish(struct loader *loader)
{
        struct config *config = loader->config;
        uint32_t max = config->max_sequences;
        int r;

        r = check_templates(loader);
        if (r < 0)
                return r;
        for (size_t i = 0; i < config->n_sequences; i++)
                if (config->sequences[i].params.reserve == RESERVE_OF_SERVICE)
                        config->sequences[i].params.reserve = config->reserve;
        for (size_t i = 0; i < config->n_templates; i++)
                if (config->templates[i].params.reserve == RESERVE_OF_SERVICE)
                        config->templates[i].params.reserve = config->reserve;
        if (config->n_sequences <= max || loader->refused[KEY_MAX_SEQUENCES])
                return 0;
        return complain(loader, config->sequences[max].line,
                        "[sequence %s] is one too many: the file has %zu sequences and "
                        "max_sequences is %" PRIu32 "; raise max_sequences or remove sequences",
                        config->sequences[max].name, config->n_sequences, max);
}

bool config_instance_valid(const char *name)
{
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789_-.";
        size_t length = strlen(name);

        return length >= 1 && length <= CONFIG_INSTANCE_MAX && *name != '.' &&
               strspn(name, letters) == length;
}

static int name_after(char **text, const char *before, const char *instance, const char *after)
{
        char *named = NULL;

        if (asprintf(&named, "%s%s%s", before, instance, after) < 0)
                return -ENOMEM;
        free(*text);
        *text = named;
        return 0;
}

/* What holds for an instance when the file is silent. */
static int instance_defaults(struct config *config)
{
        int r;

        if (!config->instance)
                return 0;
        r = name_after(&config->shm, "/seqnumd.", config->instance, "");
        if (r == 0)
                r = name_after(&config->state, "/var/lib/seqnumd.", config->instance, "");
        if (r == 0)
                r = name_after(&config->socket, "/run/seqnumd.", config->instance, "/seqnumd.sock");
        return r;
}

static int load(struct loader *loader)
{
        FILE *file;
        int r;

        loader->config->path = strdup(loader->path);
        if (!loader->config->path)
                return -ENOMEM;
        if (loader->instance) {
                loader->config->instance = strdup(loader->instance);
                if (!loader->config->instance)
                        return -ENOMEM;
        }
        r = config_keys_default(CONFIG_SERVICE, loader->config);
        if (r == 0)
                r = instance_defaults(loader->config);
        if (r == 0)
                r = config_keys_default(CONFIG_SEQUENCE, &loader->fallback);
        if (r < 0)
                return r;
        file = fopen(loader->path, "re");
        if (!file) {
                r = -errno;
                (void)complain(loader, 0, "cannot be opened: %s; check path and rights",
                               strerror(-r));
                return r;
        }
        r = take_file(loader, file);
        (void)fclose(file);
        return r < 0 ? r : finish(loader);
}

static void loader_clear(struct loader *loader)
{
        names_clear(loader);
        free(loader->sequence.name);
        for (size_t i = 0; i < loader->n_complaints; i++)
                free(loader->complaints[i].text);
        free(loader->complaints);
        config_free(loader->config);
}

int config_load(struct config **ret, const char *path, const char *instance,
                struct config_errors *errors)
{
        __attribute__((cleanup(loader_clear))) struct loader loader = {
                .path = path,
                .instance = instance,
        };
        int r;

        config_errors_clear(errors);
        loader.config = calloc(1, sizeof(*loader.config));
        r = loader.config ? load(&loader) : -ENOMEM;
        if (r == -ENOMEM)
                (void)complain(&loader, 0, "cannot be loaded: out of memory");
        if (loader.n_complaints > 0) {
                if (complaints_give(&loader, errors) < 0)
                        return -ENOMEM;
                return r < 0 ? r : -EINVAL;
        }
        if (r < 0)
                return r;
        *ret = loader.config;
        loader.config = NULL;
        return 0;
}

/* --- one sequence, not of a file ------------------------------------------ */

static int take_pairs(struct loader *loader, const char *const *keys, const char *const *values,
                      size_t n)
{
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                struct line *line = calloc(1, sizeof(*line));

                if (!line)
                        return -ENOMEM;
                line->number = (unsigned)i + 1;
                line->name = keys[i];
                line->value = values[i];
                r = take_key(loader, line);
                free(line);
        }
        return r < 0 ? r : check_sequence(loader);
}

int config_sequence_parse(struct sequence_params *ret, const struct sequence_params *base,
                          uint64_t reserve, const char *const *keys, const char *const *values,
                          size_t n, char **message)
{
        __attribute__((cleanup(loader_clear))) struct loader loader = {
                .section = SECTION_SEQUENCE,
                .altering = base != NULL,
        };
        int r = 0;

        if (base)
                loader.sequence.params = *base;
        else
                r = config_keys_default(CONFIG_SEQUENCE, &loader.sequence);
        if (r >= 0)
                r = take_pairs(&loader, keys, values, n);
        if (r >= 0 && loader.n_complaints == 0 && base && loader.sequence.params.kind != base->kind)
                r = complain(&loader, 0,
                             "kind cannot be changed; drop the sequence and create it anew");
        if (r < 0)
                return r;
        if (loader.n_complaints > 0) {
                *message = loader.complaints[0].text;
                loader.complaints[0].text = NULL;
                return -EINVAL;
        }
        *ret = loader.sequence.params;
        if (!base && !stated(&loader, KEY_RESERVE) && ret->kind == SEQUENCE_COUNTER)
                ret->reserve = reserve;
        return 0;
}

void config_forget_sequences(struct config *config)
{
        for (size_t i = 0; i < config->n_sequences; i++)
                free(config->sequences[i].name);
        free(config->sequences);
        config->sequences = NULL;
        config->n_sequences = 0;
}

struct config *config_free(struct config *config)
{
        if (!config)
                return NULL;
        config_forget_sequences(config);
        for (size_t i = 0; i < config->n_templates; i++)
                free(config->templates[i].name);
        free(config->templates);
        free(config->path);
        free(config->instance);
        free(config->shm);
        free(config->state);
        free(config->socket);
        free(config->group);
        free(config);
        return NULL;
}
