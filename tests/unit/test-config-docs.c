/* SPDX-License-Identifier: MIT */

/*
 * Three places speak of the keys: the table that the program goes by, the
 * sample file, and the man page. Here they are held together: all keys of the
 * table, with their defaults and ranges, in the table's order, and no others.
 *
 * The files are found below $SEQNUM_SRCDIR, or the working directory.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "keys.h"

static FILE *open_source(const char *name)
{
        const char *srcdir = getenv("SEQNUM_SRCDIR");
        char path[4096];
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", srcdir ? srcdir : ".", name);
        file = fopen(path, "re");
        if (!file)
                fail_msg("%s cannot be opened; is SEQNUM_SRCDIR right?", path);
        return file;
}

/* The next line without its newline, NULL at the end. */
static char *next_line(FILE *file, char *line, int size)
{
        if (!fgets(line, size, file))
                return NULL;
        line[strcspn(line, "\n")] = '\0';
        return line;
}

static bool begins(const char *text, const char *with)
{
        return strncmp(text, with, strlen(with)) == 0;
}

/* --- the table --------------------------------------------------------- */

static void test_table(void **state)
{
        (void)state;
        for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
                const struct config_key *key = &config_keys[i];

                assert_true(key->name && key->fallback && key->range && key->parse);
                assert_ptr_equal(config_key_find(key->section, key->name), key);
                assert_ptr_equal(config_key_guess(key->section, key->name), key);
        }
        assert_null(config_key_find(CONFIG_SERVICE, "start"));
        assert_null(config_key_find(CONFIG_SEQUENCE, "shm"));
}

/* The defaults of a sequence are also what the library takes them to be. */
static void test_sequence_defaults(void **state)
{
        struct sequence_params expected = sequence_params_default();
        struct config_sequence sequence = {0};
        const char *reason;

        (void)state;
        assert_int_equal(config_keys_default(CONFIG_SEQUENCE, &sequence), 0);
        /* Keys of another kind have defaults too, which mean nothing to a counter. */
        sequence_params_complete(&sequence.params, true, true, true);
        assert_true(sequence_params_equal(&sequence.params, &expected));

        expected.increment = -1;
        sequence_params_complete(&expected, false, false, false);
        sequence.params.increment = -1;
        for (size_t i = 0; i < CONFIG_N_KEYS; i++)
                if (config_keys[i].descending)
                        assert_int_equal(config_key_parse(&config_keys[i],
                                                          config_keys[i].descending, &sequence,
                                                          &reason),
                                         0);
        assert_true(sequence_params_equal(&sequence.params, &expected));
}

/* --- the sample -------------------------------------------------------- */

/* A line that is neither prose nor blank: the next section or key. */
static void check_sample_line(const char *line, enum config_section *section, size_t *n_keys)
{
        const struct config_key *key = &config_keys[*n_keys];
        char expected[256];

        if (strcmp(line, "[service]") == 0) {
                *section = CONFIG_SERVICE;
                return;
        }
        if (strcmp(line, ";[sequence orders]") == 0) {
                *section = CONFIG_SEQUENCE;
                return;
        }
        /* Examples of the other kinds, for the keys that only they have. */
        if (begins(line, ";[sequence ") ||
            (*n_keys > KEY_KIND && begins(line, ";kind = ") && !strstr(line, "counter")))
                return;
        if (*n_keys == CONFIG_N_KEYS)
                fail_msg("the sample has a line that the table has not: %s", line);
        snprintf(expected, sizeof(expected), ";%s = %s", key->name, key->fallback);
        assert_string_equal(line, expected);
        assert_int_equal(*section, key->section);
        ++*n_keys;
}

static void test_sample_says_what_the_table_says(void **state)
{
        FILE *file = open_source("config/seqnumd.ini");
        enum config_section section = CONFIG_SEQUENCE;
        size_t n_keys = 0;
        char line[1024];

        (void)state;
        while (next_line(file, line, sizeof(line)))
                if (line[0] != '\0' && line[0] != '#')
                        check_sample_line(line, &section, &n_keys);
        fclose(file);
        assert_int_equal(n_keys, CONFIG_N_KEYS);
}

/* The sample with every key stated comes to the same as no key at all. */
static void write_sample(FILE *to, bool stated)
{
        FILE *from = open_source("config/seqnumd.ini");
        char line[1024];

        while (next_line(from, line, sizeof(line)))
                fprintf(to, "%s\n", line + (stated && line[0] == ';'));
        fclose(from);
}

static struct config *load_sample(bool stated)
{
        char path[] = "/tmp/seqnum-test-config-docs-XXXXXX";
        struct config_errors errors = {0};
        struct config *config = NULL;
        int fd = mkstemp(path), r;
        FILE *file;

        assert_true(fd >= 0);
        file = fdopen(fd, "w");
        assert_non_null(file);
        write_sample(file, stated);
        assert_int_equal(fclose(file), 0);
        r = config_load(&config, path, NULL, &errors);
        unlink(path);
        if (r < 0)
                fail_msg("%s", errors.n_items ? errors.items[0] : "no complaint");
        return config;
}

static void test_sample_loads(void **state)
{
        struct config *silent = load_sample(false), *stated = load_sample(true);
        struct sequence_params defaults = sequence_params_default();

        (void)state;
        assert_int_equal(silent->n_sequences, 0);
        assert_string_equal(silent->shm, stated->shm);
        assert_string_equal(silent->state, stated->state);
        assert_string_equal(silent->socket, stated->socket);
        assert_string_equal(silent->group, stated->group);
        assert_int_equal(silent->mode, stated->mode);
        assert_int_equal(silent->max_sequences, stated->max_sequences);
        assert_int_equal(silent->reserve, stated->reserve);
        assert_int_equal(silent->on_stop, stated->on_stop);
        assert_int_equal(silent->max_clients, stated->max_clients);
        assert_int_equal(stated->n_templates, 1);
        assert_string_equal(stated->templates[0].name, "invoice/");
        assert_int_equal(stated->templates[0].params.kind, SEQUENCE_GAPLESS);
        assert_int_equal(stated->n_sequences, 2);
        assert_string_equal(stated->sequences[1].name, "ids");
        assert_int_equal(stated->sequences[1].params.epoch, SEQUENCE_EPOCH);
        assert_int_equal(stated->sequences[1].params.node_bits, SEQUENCE_NODE_BITS);
        assert_int_equal(stated->sequences[1].params.serial_bits, SEQUENCE_SERIAL_BITS);
        assert_string_equal(stated->sequences[0].name, "orders");
        assert_true(sequence_params_equal(&stated->sequences[0].params, &defaults));
        config_free(silent);
        config_free(stated);
}

/* --- the page ---------------------------------------------------------- */

/* One key's entry in the page, its lines joined by blanks, macros left out. */
struct entry {
        char text[4096];
        size_t n_keys; /* of the table, that had their entry before */
        bool open;
        enum config_section section;
        bool of_keys; /* within one of the two sections of the page about keys */
};

static void entry_add(struct entry *entry, const char *line)
{
        size_t length = strlen(entry->text);

        if (line[0] == '.')
                line += strcspn(line, " ");
        line += line[0] == ' ';
        if (line[0] == '\0')
                return;
        assert_true(length + strlen(line) + 2 < sizeof(entry->text));
        for (; *line; line++)
                if (!begins(line, "\\-"))
                        entry->text[length++] = *line;
        entry->text[length++] = ' ';
        entry->text[length] = '\0';
}

static void entry_close(struct entry *entry)
{
        const struct config_key *key = &config_keys[entry->n_keys];
        char expected[1024];

        if (!entry->open)
                return;
        snprintf(expected, sizeof(expected),
                 " Default: %s%s%s%s . Range: %s Reload: ", key->fallback,
                 key->descending ? " " : "", key->descending ? key->descending : "",
                 key->descending ? " where the increment is negative" : "", key->range);
        if (!strstr(entry->text, expected))
                fail_msg("the page says of %s:\n%s\nand the table:\n%s", key->name, entry->text,
                         expected);
        entry->n_keys++;
        entry->open = false;
}

static void entry_begin(struct entry *entry, const char *name)
{
        if (entry->n_keys == CONFIG_N_KEYS)
                fail_msg("the page has a key that the table has not: %s", name);
        assert_string_equal(name, config_keys[entry->n_keys].name);
        assert_int_equal(entry->section, config_keys[entry->n_keys].section);
        entry->text[0] = '\0';
        entry->open = true;
}

static void check_page_line(struct entry *entry, const char *line)
{
        if (begins(line, ".It ") || begins(line, ".Sh ") || begins(line, ".El"))
                entry_close(entry);
        if (begins(line, ".Sh ")) {
                entry->section = strcmp(line, ".Sh THE SERVICE SECTION") == 0 ? CONFIG_SERVICE
                                                                              : CONFIG_SEQUENCE;
                entry->of_keys = entry->section == CONFIG_SERVICE ||
                                 strcmp(line, ".Sh SEQUENCE SECTIONS") == 0;
        } else if (entry->of_keys && begins(line, ".It ")) {
                assert_true(begins(line, ".It Ic "));
                entry_begin(entry, line + strlen(".It Ic "));
        } else if (entry->open) {
                entry_add(entry, line);
        }
}

static void test_page_says_what_the_table_says(void **state)
{
        FILE *file = open_source("config/seqnumd.ini.5");
        struct entry entry = {0};
        char line[1024];

        (void)state;
        while (next_line(file, line, sizeof(line)))
                check_page_line(&entry, line);
        fclose(file);
        assert_false(entry.open);
        assert_int_equal(entry.n_keys, CONFIG_N_KEYS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_sequence_defaults),
                cmocka_unit_test(test_sample_says_what_the_table_says),
                cmocka_unit_test(test_sample_loads),
                cmocka_unit_test(test_page_says_what_the_table_says),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
