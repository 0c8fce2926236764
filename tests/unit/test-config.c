/* SPDX-License-Identifier: MIT */

/*
 * Loading ini files: what good ones come to, and the full list of complaints
 * about bad ones. All tests write their text to one file; complaints are
 * compared without its path, from the number of the line on.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "lines.h"

static char path[] = "/tmp/seqnum-test-config-XXXXXX";

static int make_file(void **state)
{
        int fd = mkstemp(path);

        (void)state;
        return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
        (void)state;
        return unlink(path);
}

static void write_bytes(const char *bytes, size_t length)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, length, file), length);
        assert_int_equal(fclose(file), 0);
}

static struct config *load_good(const char *text)
{
        struct config_errors errors = {0};
        struct config *config = NULL;
        int r;

        write_bytes(text, strlen(text));
        r = config_load(&config, path, NULL, &errors);
        for (size_t i = 0; i < errors.n_items; i++)
                print_error("%s\n", errors.items[i]);
        assert_int_equal(r, 0);
        assert_int_equal(errors.n_items, 0);
        assert_non_null(config);
        return config;
}

/* `expected`: the complaints, each ended by a newline, without the path before. */
static void assert_complaints(const char *expected)
{
        struct config *config = (struct config *)&path; /* to see that it is left alone */
        struct config_errors errors = {0};
        size_t length = strlen(path), size = 1;
        char *said;

        assert_int_equal(config_load(&config, path, NULL, &errors), -EINVAL);
        assert_ptr_equal(config, &path);
        assert_true(errors.n_items > 0);
        for (size_t i = 0; i < errors.n_items; i++)
                size += strlen(errors.items[i]) + 1;
        said = calloc(1, size);
        assert_non_null(said);
        for (size_t i = 0; i < errors.n_items; i++) {
                assert_int_equal(strncmp(errors.items[i], path, length), 0);
                assert_int_equal(errors.items[i][length], ':');
                strcat(strcat(said, errors.items[i] + length + 1), "\n");
        }
        assert_string_equal(said, expected);
        free(said);
        config_errors_clear(&errors);
        assert_null(errors.items);
        assert_int_equal(errors.n_items, 0);
}

static void assert_bad(const char *text, const char *expected)
{
        write_bytes(text, strlen(text));
        assert_complaints(expected);
}

/* --- good files -------------------------------------------------------- */

static void assert_all_defaults(const struct config *config)
{
        assert_string_equal(config->path, path);
        assert_string_equal(config->shm, "/seqnumd");
        assert_string_equal(config->state, "/var/lib/seqnumd");
        assert_string_equal(config->socket, "/run/seqnumd/seqnumd.sock");
        assert_string_equal(config->group, "seqnum");
        assert_int_equal(config->mode, 0660);
        assert_int_equal(config->max_sequences, 65536);
        assert_int_equal(config->reserve, 0);
        assert_int_equal(config->on_stop, CONFIG_ON_STOP_FREEZE);
        assert_int_equal(config->n_sequences, 0);
}

static void test_defaults(void **state)
{
        static const char *const texts[] = {
                "",
                "[service]\n",
                "[service]",
                "# nothing\n\n ; nothing\n[service] ; here\n",
                "\xef\xbb\xbf[service]\r\n\t \r\n",
        };
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                config = load_good(texts[i]);
                assert_all_defaults(config);
                assert_null(config_free(config));
        }
        assert_null(config_free(NULL));
}

static void test_every_service_key(void **state)
{
        struct config *config = load_good("[service]\n"
                                          "shm = /seqnumd.billing_1-x\n"
                                          "state=/srv/state;not a comment\n"
                                          "  socket  =  /srv/s.sock   ; a comment\n"
                                          "group =\n"
                                          "mode = 664\n"
                                          "max_sequences = 1048576\n"
                                          "reserve = 4294967296\n"
                                          "on_stop = serve\n");

        (void)state;
        assert_string_equal(config->shm, "/seqnumd.billing_1-x");
        assert_string_equal(config->state, "/srv/state;not a comment");
        assert_string_equal(config->socket, "/srv/s.sock");
        assert_null(config->group);
        assert_int_equal(config->mode, 0664);
        assert_int_equal(config->max_sequences, 1048576);
        assert_true(config->reserve == SEQUENCE_RESERVE_MAX);
        assert_int_equal(config->on_stop, CONFIG_ON_STOP_SERVE);
        config_free(config);
}

static void test_sequence_defaults(void **state)
{
        struct config *config = load_good("[sequence orders]\n");
        struct sequence_params expected = sequence_params_default();

        (void)state;
        assert_int_equal(config->n_sequences, 1);
        assert_string_equal(config->sequences[0].name, "orders");
        assert_int_equal(config->sequences[0].line, 1);
        assert_false(config->sequences[0].given_start);
        assert_true(sequence_params_equal(&config->sequences[0].params, &expected));
        config_free(config);
}

static void test_every_sequence_key(void **state)
{
        struct config *config = load_good("\n[ sequence \t a/b.c_d-E9 ]\n"
                                          "kind = counter\n"
                                          "start = 0\n"
                                          "increment = -9223372036854775808\n"
                                          "min = -9223372036854775808\n"
                                          "max = 9223372036854775807\n"
                                          "cycle = yes\n"
                                          "reserve = 1\n");
        struct sequence_params expected = {
                .kind = SEQUENCE_COUNTER,
                .start = 0,
                .increment = INT64_MIN,
                .min = INT64_MIN,
                .max = INT64_MAX,
                .cycle = true,
                .reserve = 1,
        };

        (void)state;
        assert_int_equal(config->n_sequences, 1);
        assert_string_equal(config->sequences[0].name, "a/b.c_d-E9");
        assert_int_equal(config->sequences[0].line, 2);
        assert_true(config->sequences[0].given_start);
        assert_true(sequence_params_equal(&config->sequences[0].params, &expected));
        config_free(config);
}

static void test_defaults_follow_the_sign(void **state)
{
        struct config *config = load_good("[sequence down]\nincrement = -2\n"
                                          "[sequence from40]\nmin = 40\n"
                                          "[sequence to9]\nmin = -5\nmax = 9\nincrement = -1\n");
        const struct config_sequence *s = config->sequences;

        (void)state;
        assert_int_equal(config->n_sequences, 3);
        assert_true(s[0].params.start == -1 && s[0].params.min == INT64_MIN &&
                    s[0].params.max == -1 && !s[0].given_start);
        assert_true(s[1].params.start == 40 && s[1].params.min == 40 &&
                    s[1].params.max == INT64_MAX);
        assert_true(s[2].params.start == 9 && s[2].params.min == -5 && s[2].params.max == 9);
        config_free(config);
}

static void test_reserve_is_inherited(void **state)
{
        struct config *config = load_good("[sequence a]\n[sequence b]\nreserve = auto\n"
                                          "[sequence c]\nreserve = 7\n"
                                          "[service]\nreserve = 500\n"
                                          "[sequence d]\n");

        (void)state;
        assert_int_equal(config->n_sequences, 4);
        assert_int_equal(config->sequences[0].params.reserve, 500);
        assert_int_equal(config->sequences[1].params.reserve, 0);
        assert_int_equal(config->sequences[2].params.reserve, 7);
        assert_int_equal(config->sequences[3].params.reserve, 500);
        config_free(config);
}

static void test_cycle_words(void **state)
{
        static const struct {
                const char *text;
                bool value;
        } words[] = {
                {"[sequence a]\ncycle = yes\n", true},  {"[sequence a]\ncycle = no\n", false},
                {"[sequence a]\ncycle = true\n", true}, {"[sequence a]\ncycle = false\n", false},
                {"[sequence a]\ncycle = on\n", true},   {"[sequence a]\ncycle = off\n", false},
                {"[sequence a]\ncycle = 1\n", true},    {"[sequence a]\ncycle = 0\n", false},
        };
        struct config *config;

        (void)state;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
                config = load_good(words[i].text);
                assert_int_equal(config->sequences[0].params.cycle, words[i].value);
                config_free(config);
        }
}

/* --- long lines and names ---------------------------------------------- */

/* "[sequence nnn...]" with a name of `length` bytes, then `tail`. */
static void write_long_name(size_t length, const char *tail)
{
        char text[1024] = "[sequence ";

        memset(text + strlen(text), 'n', length);
        strcat(strcat(text, "]\n"), tail);
        write_bytes(text, strlen(text));
}

static void test_longest_names(void **state)
{
        struct config *config;
        char text[1024], name[256];

        (void)state;
        memset(name, 'n', 254);
        /* Two that differ in the last byte alone. */
        snprintf(text, sizeof(text), "[sequence %.254sa]\nstart=2\n[sequence %.254sb]\nstart=3\n",
                 name, name);
        config = load_good(text);
        assert_int_equal(config->n_sequences, 2);
        assert_int_equal(strlen(config->sequences[0].name), 255);
        assert_int_equal(config->sequences[0].name[254], 'a');
        assert_int_equal(config->sequences[0].params.start, 2);
        assert_int_equal(config->sequences[1].name[254], 'b');
        assert_int_equal(config->sequences[1].params.start, 3);
        config_free(config);

        write_long_name(256, "strat = 1\n");
        assert_complaints("1: the name of the sequence has 256 bytes; use at most 255\n"
                          "2: strat is no key of [sequence NAME]; did you mean start?\n");
}

/* `before`, then a line `prefix` filled up with `fill` to `length` bytes, then `after`. */
static void write_long_line(const char *before, const char *prefix, char fill, size_t length,
                            const char *after)
{
        char text[3 * LINE_LENGTH_MAX];
        size_t n;

        n = strlen(strcat(strcpy(text, before), prefix));
        memset(text + n, fill, length - strlen(prefix));
        strcpy(text + n + length - strlen(prefix), after);
        write_bytes(text, strlen(text));
}

static void test_long_lines(void **state)
{
        struct config_errors errors = {0};
        struct config *config = NULL;

        (void)state;
        write_long_line("[service]\n", "state = /", 's', strlen("state = /") + 1023,
                        "\nmode = 0600\n");
        assert_int_equal(config_load(&config, path, NULL, &errors), 0);
        assert_int_equal(strlen(config->state), 1024);
        assert_int_equal(config->mode, 0600);
        config_free(config);

        write_long_line("", "#", 'c', LINE_LENGTH_MAX, "\n[sequence a]");
        assert_int_equal(config_load(&config, path, NULL, &errors), 0);
        assert_int_equal(config->n_sequences, 1);
        config_free(config);

        write_long_line("[sequence a]\n", "start = 5", ' ', LINE_LENGTH_MAX, "\r\n");
        assert_int_equal(config_load(&config, path, NULL, &errors), 0);
        assert_int_equal(config->sequences[0].params.start, 5);
        config_free(config);
        assert_int_equal(errors.n_items, 0);
}

static void test_too_long_lines(void **state)
{
        static const char too_long[] = "2: the line is longer than 4095 bytes; shorten it\n"
                                       "3: moed is no key of [service]; did you mean mode?\n";

        (void)state;
        write_long_line("[service]\n", "start = 5", ' ', LINE_LENGTH_MAX + 1, "\nmoed = 1\n");
        assert_complaints(too_long);
        write_long_line("[service]\n", "#", '#', 2 * LINE_LENGTH_MAX, "\nmoed = 1\n");
        assert_complaints(too_long);
        /* The key below it is not taken for one of [service]. */
        write_long_line("[service]\n", "[sequence ", 'n', LINE_LENGTH_MAX + 1, "]\nstart = 1\n");
        assert_complaints("2: the line is longer than 4095 bytes; shorten it\n");
}

static void test_too_long_path(void **state)
{
        char expected[2048] = "2: state = /";

        (void)state;
        memset(expected + strlen(expected), 's', 1024);
        strcat(expected, " is too long; use an absolute path of at most 1024 bytes\n");
        write_long_line("[service]\n", "state = /", 's', strlen("state = /") + 1024, "\n");
        assert_complaints(expected);
}

/* --- lines that are no lines of an ini file ----------------------------- */

static void test_faulty_lines(void **state)
{
        (void)state;
        assert_bad("mode = 0660\n"
                   "[service]\n"
                   "mode\n"
                   "mode ; = 0660\n"
                   "mode: 0660\n"
                   "= 0660\n"
                   "  on_stop = nothing\n"
                   "mode = 0660 # mine\n"
                   "group =# mine\n"
                   "[service\n"
                   "strat = in no known section\n"
                   "[sequence a] b\n"
                   "[servce]\n"
                   "whatever = 1\n"
                   "[]\n"
                   "[sequences a]\n"
                   "[sequence a]\n"
                   "\xef\xbb\xbfstart = 1\n",
                   "1: mode is in no section; put it below [service] or [sequence NAME]\n"
                   "3: the line is neither a section nor a key; "
                   "use [SECTION], KEY = VALUE, or a comment\n"
                   "4: the line is neither a section nor a key; "
                   "use [SECTION], KEY = VALUE, or a comment\n"
                   "5: the line is neither a section nor a key; "
                   "use [SECTION], KEY = VALUE, or a comment\n"
                   "6: there is no key before the '='; use KEY = VALUE\n"
                   "7: on_stop = nothing is not known; use freeze or serve\n"
                   "8: the value goes on with a '#'; a comment behind a value begins with ';'\n"
                   "9: the value goes on with a '#'; a comment behind a value begins with ';'\n"
                   "10: the section has no closing bracket; use [NAME]\n"
                   "12: there is more behind the section's closing bracket; "
                   "put it on a line of its own, or behind a ';'\n"
                   "13: [servce] is not known; use [service] or [sequence NAME]\n"
                   "15: [] is not known; use [service] or [sequence NAME]\n"
                   "16: [sequences a] is not known; use [service] or [sequence NAME]\n"
                   "18: \xef\xbb\xbfstart is no key of [sequence NAME]; "
                   "see seqnumd.ini(5) for those there are\n");
}

static void test_control_characters(void **state)
{
        static const char text[] = "[service]\nmode = 06\0"
                                   "60\n\x1b[service]\n"
                                   "on_stop = freeze\r\r\nmode = 0660\rgroup = x\n"
                                   "mode = 0600\x7f\n# \x01\nmode\t=\t0600\r\n";

        (void)state;
        write_bytes(text, sizeof(text) - 1);
        assert_complaints("2: the line has a control character; an ini file is plain text\n"
                          "3: the line has a control character; an ini file is plain text\n"
                          "4: the line has a control character; an ini file is plain text\n"
                          "5: the line has a control character; an ini file is plain text\n"
                          "6: the line has a control character; an ini file is plain text\n"
                          "7: the line has a control character; an ini file is plain text\n");
}

/* --- bad sections and keys --------------------------------------------- */

static void test_unknown_keys(void **state)
{
        (void)state;
        assert_bad("[service]\nmodes = 1\nstart = 1\nMODE = 0660\nxyz = 1\nmax-sequences = 5\n"
                   "[sequence a]\nstrat = 1\nincrment = 1\nshm = /a\nm = 1\nhold_limit = 0\n"
                   "[sequence b]\nstart = 1\nkind = time\nhold_limit = 1\ncycle = no\n"
                   "[sequence c]\nreserve = 5\nkind = gapless\nnode = 1\n",
                   "2: modes is no key of [service]; did you mean mode?\n"
                   "3: start is no key of [service]; put it into [sequence NAME]\n"
                   "4: MODE is no key of [service]; see seqnumd.ini(5) for those there are\n"
                   "5: xyz is no key of [service]; see seqnumd.ini(5) for those there are\n"
                   "6: max-sequences is no key of [service]; did you mean max_sequences?\n"
                   "8: strat is no key of [sequence NAME]; did you mean start?\n"
                   "9: incrment is no key of [sequence NAME]; did you mean increment?\n"
                   "10: shm is no key of [sequence NAME]; put it into [service]\n"
                   "11: m is no key of [sequence NAME]; see seqnumd.ini(5) for those there are\n"
                   "12: hold_limit has no meaning for kind = counter; leave it out\n"
                   "14: start has no meaning for kind = time; leave it out\n"
                   "16: hold_limit has no meaning for kind = time; leave it out\n"
                   "17: cycle has no meaning for kind = time; leave it out\n"
                   "19: reserve has no meaning for kind = gapless; leave it out\n"
                   "21: node has no meaning for kind = gapless; leave it out\n");
}

static void test_sequence_names(void **state)
{
        (void)state;
        assert_bad("[sequence]\n[sequence  ]\n[sequence a b]\n[sequence \xc3\xa4]\n"
                   "[sequence invoice/*x]\nkind = gapless\n[sequence **]\n[sequence a;b]\n"
                   "[sequence t*]\n[sequence t*]\n[sequence \xc3\xa4*]\n",
                   "1: the section names no sequence; use [sequence NAME]\n"
                   "2: the section names no sequence; use [sequence NAME]\n"
                   "3: [sequence a b] has a character that no name has; "
                   "use A-Z a-z 0-9 . _ : / -\n"
                   "4: [sequence \xc3\xa4] has a character that no name has; "
                   "use A-Z a-z 0-9 . _ : / -\n"
                   "5: [sequence invoice/*x] has a * that is not at its end; "
                   "use [sequence PREFIX*]\n"
                   "7: [sequence **] has a * that is not at its end; use [sequence PREFIX*]\n"
                   "8: [sequence a;b] has a character that no name has; "
                   "use A-Z a-z 0-9 . _ : / -\n"
                   "10: [sequence t*] was begun at line 9; put all its keys there\n"
                   "11: [sequence \xc3\xa4*] has a character that no name has; "
                   "use A-Z a-z 0-9 . _ : / -\n");
}

/* --- templates and kinds -------------------------------------------------- */

static void test_templates(void **state)
{
        struct config *config = load_good("[sequence invoice/*]\nkind = gapless\nhold_limit = 30\n"
                                          "[sequence orders]\n[sequence *]\nstart = 7\n"
                                          "[service]\nreserve = 11\n");

        (void)state;
        assert_int_equal(config->n_sequences, 1);
        assert_int_equal(config->n_templates, 2);
        assert_string_equal(config->templates[0].name, "invoice/");
        assert_int_equal(config->templates[0].params.kind, SEQUENCE_GAPLESS);
        assert_int_equal(config->templates[0].params.hold_limit, 30);
        assert_int_equal(config->templates[0].params.reserve, 0); /* it reserves nothing */
        assert_string_equal(config->templates[1].name, "");
        assert_int_equal(config->templates[1].params.start, 7);
        assert_int_equal(config->templates[1].params.reserve, 11);
        config_forget_sequences(config);
        assert_int_equal(config->n_sequences, 0);
        assert_int_equal(config->n_templates, 2);
        config_free(config);
}

/* Nobody could ask for its sequences. */
static void test_template_without_socket(void **state)
{
        (void)state;
        assert_bad("[sequence inv/*]\n[sequence *]\n[service]\nsocket =\n",
                   "1: [sequence inv/*] is a template, which needs the control socket; set socket, "
                   "or remove the section\n");
        config_free(load_good("[sequence orders]\n[service]\nsocket =\n"));
}

static void test_time(void **state)
{
        static const struct {
                const char *text;
                int64_t seconds;
        } epochs[] = {
                {"2020-01-01", 1577836800},           {"1970-01-01", 0},
                {"2024-02-29T12:34:56Z", 1709210096}, {"@86400", 86400},
                {"2100-01-01", 4102444800},
        };
        struct config *config;
        char text[128];

        (void)state;
        for (size_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
                (void)snprintf(text, sizeof(text),
                               "[sequence a]\nkind = time\nepoch = %s\nnode = 5\nnode_bits = 3\n",
                               epochs[i].text);
                config = load_good(text);
                assert_int_equal(config->sequences[0].params.kind, SEQUENCE_TIME);
                assert_true(config->sequences[0].params.epoch == epochs[i].seconds * 1000);
                assert_int_equal(config->sequences[0].params.node, 5);
                assert_int_equal(config->sequences[0].params.node_bits, 3);
                assert_int_equal(config->sequences[0].params.serial_bits, 12);
                config_free(config);
        }
        assert_bad("[sequence a]\nkind = time\nnode = 8\nnode_bits = 3\n"
                   "[sequence b]\nkind = time\nnode_bits = 12\nserial_bits = 12\n"
                   "[sequence c]\nkind = time\nreserve = 3600001\n"
                   "[sequence d]\nkind = time\nserial_bits = 0\n"
                   "[sequence e]\nkind = time\nepoch = yesterday\n",
                   "4: [sequence a] node 8 does not fit in node_bits 3; it must be at most 7\n"
                   "8: [sequence b] node_bits 12 and serial_bits 12 leave too few of 63 bits for "
                   "the time; together they must be at most 23\n"
                   "11: [sequence c] reserve 3600001 is too large; for kind time it is in "
                   "milliseconds and must be at most 3600000\n"
                   "14: serial_bits = 0 is out of range; use a whole number from 1 to 22\n"
                   "17: epoch = yesterday is not a date; use a date in UTC from 1970-01-01 to "
                   "2100-01-01, as 2020-01-01 or 2020-01-01T00:00:00Z, or @SECONDS since 1970\n");
}

/* --- one sequence, not of a file --------------------------------------------- */

static void parse_good(const struct sequence_params *base, const char *key, const char *value,
                       struct sequence_params *ret)
{
        char *message = NULL;
        int r = config_sequence_parse(ret, base, 77, &key, &value, key ? 1 : 0, &message);

        if (r < 0)
                fail_msg("%s = %s: %s", key, value, message);
}

static void parse_bad(const struct sequence_params *base, const char *key, const char *value,
                      const char *expected)
{
        struct sequence_params params = {.reserve = 4711};
        char *message = NULL;

        assert_int_equal(config_sequence_parse(&params, base, 77, &key, &value, 1, &message),
                         -EINVAL);
        assert_string_equal(message, expected);
        assert_int_equal(params.reserve, 4711);
        free(message);
}

static void test_pairs(void **state)
{
        static const char *const twice[] = {"min", "min"}, *const ones[] = {"1", "1"};
        struct sequence_params params, altered, expected = sequence_params_default();
        char *message = NULL;

        (void)state;
        parse_good(NULL, NULL, NULL, &params);
        expected.reserve = 77;
        assert_true(sequence_params_equal(&params, &expected));
        parse_good(NULL, "increment", "-2", &params);
        assert_true(params.start == -1 && params.max == -1 && params.min == INT64_MIN);
        parse_good(NULL, "kind", "gapless", &params);
        assert_int_equal(params.reserve, 0);
        parse_good(&params, "hold_limit", "9", &altered);
        assert_int_equal(altered.hold_limit, 9);
        altered.hold_limit = 0;
        assert_true(sequence_params_equal(&altered, &params)); /* all else stays */
        params = sequence_params_default();
        params.start = 5;
        parse_good(&params, "increment", "-3", &altered);
        assert_true(altered.min == 1 && altered.start == 5 && altered.increment == -3);

        parse_bad(NULL, "incrment", "1",
                  "incrment is no key of [sequence NAME]; did you mean "
                  "increment?");
        parse_bad(NULL, "increment", "0",
                  "increment = 0 would never move on; use a whole number from "
                  "-9223372036854775808 to 9223372036854775807, other than 0");
        parse_bad(NULL, "node", "1", "node has no meaning for kind = counter; leave it out");
        parse_bad(NULL, "max", "0", "min 1 is not below max 0; min must be less than max");
        parse_bad(&params, "max", "4", "start 5 is above max 4; start must be within min and max");
        parse_bad(&params, "kind", "gapless",
                  "kind cannot be changed; drop the sequence and create it anew");
        assert_int_equal(config_sequence_parse(&params, NULL, 0, twice, ones, 2, &message),
                         -EINVAL);
        assert_string_equal(message, "min was given twice; give it once");
        free(message);
}

static void test_duplicates(void **state)
{
        (void)state;
        assert_bad("[service]\nmode = 0660\nmode = 0660\n"
                   "[sequence a]\nstart = 1\nmin = 1\nstart = 2\nstart = x\n"
                   "[sequence b]\nstart = 1\n"
                   "[service]\nmode = 0600\ngroup = g\n"
                   "[sequence a]\nstart = 1\nstart = 1\n"
                   "[sequence a]\n",
                   "3: mode was given at line 2; give it once\n"
                   "7: start was given at line 5; give it once\n"
                   "8: start was given at line 7; give it once\n"
                   "8: start = x is not a whole number; use a whole number from "
                   "-9223372036854775808 to 9223372036854775807\n"
                   "11: [service] was begun at line 1; put all its keys there\n"
                   "12: mode was given at line 3; give it once\n"
                   "14: [sequence a] was begun at line 4; put all its keys there\n"
                   "16: start was given at line 15; give it once\n"
                   "17: [sequence a] was begun at line 4; put all its keys there\n");
}

/* --- values out of range ----------------------------------------------- */

/* `text` is the only key of `section`; the complaint begins with it. */
static void assert_value_bad(const char *section, const char *text, const char *reason)
{
        char file[1024], expected[2048];

        snprintf(file, sizeof(file), "%s\n%s\n", section, text);
        snprintf(expected, sizeof(expected), "2: %s %s\n", text, reason);
        assert_bad(file, expected);
}

static void assert_value_good(const char *section, const char *text)
{
        char file[1024];

        snprintf(file, sizeof(file), "%s\n%s\n", section, text);
        config_free(load_good(file));
}

#define USE_SHM "; use a slash and 1 to 253 of A-Z a-z 0-9 . _ -"

static void test_shm_values(void **state)
{
        char text[300] = "shm = /";

        (void)state;
        assert_value_bad("[service]", "shm =", "is empty" USE_SHM);
        assert_value_bad("[service]", "shm = a", "does not begin with a slash" USE_SHM);
        assert_value_bad("[service]", "shm = /", "has no name behind the slash" USE_SHM);
        assert_value_bad("[service]", "shm = /a/b", "has more than one slash" USE_SHM);
        assert_value_bad("[service]", "shm = //", "has more than one slash" USE_SHM);
        assert_value_bad("[service]", "shm = /a b",
                         "has a character that does not belong there" USE_SHM);
        assert_value_bad("[service]", "shm = /.", "names a directory" USE_SHM);
        assert_value_bad("[service]", "shm = /..", "names a directory" USE_SHM);
        assert_value_good("[service]", "shm = /a");
        assert_value_good("[service]", "shm = /...");
        memset(text + 7, 'x', 253);
        assert_value_good("[service]", text);
        text[7 + 253] = 'x';
        assert_value_bad("[service]", text, "is too long" USE_SHM);
}

#define USE_STATE  "; use an absolute path of at most 1024 bytes"
#define USE_SOCKET "; use the absolute path of a socket, of at most 107 bytes, or nothing for none"
#define USE_GROUP  "; use the name of a group, of at most 255 bytes, or nothing for the daemon's own"

static void test_path_values(void **state)
{
        char text[300] = "socket = /", group[300] = "group = ";

        (void)state;
        assert_value_bad("[service]", "state =", "is empty" USE_STATE);
        assert_value_bad("[service]", "state = var", "is not an absolute path" USE_STATE);
        assert_value_good("[service]", "state = /");
        assert_value_good("[service]", "socket =");
        assert_value_bad("[service]", "socket = s", "is not an absolute path" USE_SOCKET);
        assert_value_bad("[service]", "socket = s/", "is not an absolute path" USE_SOCKET);
        assert_value_bad("[service]", "socket = /run/", "names a directory" USE_SOCKET);
        memset(text + 10, 'x', 106);
        assert_value_good("[service]", text);
        text[10 + 106] = 'x';
        assert_value_bad("[service]", text, "is too long" USE_SOCKET);
        memset(group + 8, 'g', 255);
        assert_value_good("[service]", group);
        group[8 + 255] = 'g';
        assert_value_bad("[service]", group, "is too long" USE_GROUP);
        assert_value_bad("[service]", "group = a:b",
                         "has a character that does not belong there" USE_GROUP);
}

#define USE_MODE                                                                                   \
        "; use an octal mode from 0600 to 0664 in which the owner may read and write, others"      \
        " may not write, and nobody may execute"

static void test_mode_values(void **state)
{
        static const char no_mode[] = "is not an octal mode of three or four digits" USE_MODE;
        int good = 0;

        (void)state;
        assert_value_bad("[service]", "mode =", "is empty" USE_MODE);
        assert_value_bad("[service]", "mode = 0888", no_mode);
        assert_value_bad("[service]", "mode = 66", no_mode);
        assert_value_bad("[service]", "mode = 00660", no_mode);
        assert_value_bad("[service]", "mode = 0x1b0", no_mode);
        assert_value_bad("[service]", "mode = -660", no_mode);
        assert_value_bad("[service]", "mode = rw-", no_mode);
        assert_value_bad("[service]", "mode = 2660", "has a set-id or sticky bit" USE_MODE);
        assert_value_bad("[service]", "mode = 0770", "has an execute bit" USE_MODE);
        assert_value_bad("[service]", "mode = 0666", "lets everyone write" USE_MODE);
        assert_value_bad("[service]", "mode = 0460", "keeps the daemon itself out" USE_MODE);

        for (unsigned mode = 0; mode < 010000; mode++) {
                struct config_errors errors = {0};
                struct config *config = NULL;
                char text[64];

                snprintf(text, sizeof(text), "[service]\nmode = %04o\n", mode);
                write_bytes(text, strlen(text));
                if (config_load(&config, path, NULL, &errors) == 0) {
                        assert_int_equal(config->mode, mode);
                        assert_true((mode & ~0664U) == 0 && (mode & 0600) == 0600);
                        good++;
                }
                config_free(config);
                config_errors_clear(&errors);
        }
        assert_int_equal(good, 8); /* 0600 and any of 0040, 0020, 0004 */
}

#define USE_I64 "; use a whole number from -9223372036854775808 to 9223372036854775807"

static void test_number_values(void **state)
{
        static const char use_max[] = "is out of range; use a whole number from 1 to 1048576";

        (void)state;
        assert_value_bad("[service]", "max_sequences = 0", use_max);
        assert_value_bad("[service]", "max_sequences = -1", use_max);
        assert_value_bad("[service]", "max_sequences = 1048577", use_max);
        assert_value_bad("[service]", "max_sequences = 4294967297", use_max);
        assert_value_bad("[service]", "max_sequences = 18446744073709551617", use_max);
        assert_value_good("[service]", "max_sequences = 1");
        assert_value_good("[service]", "max_sequences = 0010");

        assert_value_bad("[sequence a]", "start =", "is empty" USE_I64);
        assert_value_bad("[sequence a]", "start = -", "is not a whole number" USE_I64);
        assert_value_bad("[sequence a]", "start = +1", "is not a whole number" USE_I64);
        assert_value_bad("[sequence a]", "start = 1k", "is not a whole number" USE_I64);
        assert_value_bad("[sequence a]", "start = 1 2", "is not a whole number" USE_I64);
        assert_value_bad("[sequence a]", "start = 1.0", "is not a whole number" USE_I64);
        assert_value_bad("[sequence a]", "start = 0x10", "is not a whole number" USE_I64);
        assert_value_bad("[sequence a]", "max = 9223372036854775808", "is out of range" USE_I64);
        assert_value_bad("[sequence a]", "min = -9223372036854775809", "is out of range" USE_I64);
        assert_value_bad("[sequence a]", "increment = 0",
                         "would never move on" USE_I64 ", other than 0");
        assert_value_good("[sequence a]", "start = 9223372036854775807");
        assert_value_good("[sequence a]", "min = -9223372036854775808");
}

#define USE_RESERVE "; use auto, or a whole number from 1 to 4294967296"

static void test_word_values(void **state)
{
        static const char *const sections[] = {"[service]", "[sequence a]"};
        static const char use_bool[] = "is neither yes nor no; "
                                       "use yes or no (or true, false, on, off, 1, 0)";

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                assert_value_bad(sections[i], "reserve = 0", "is out of range" USE_RESERVE);
                assert_value_bad(sections[i], "reserve = 4294967297",
                                 "is out of range" USE_RESERVE);
                assert_value_bad(sections[i], "reserve = automatic",
                                 "is not a whole number" USE_RESERVE);
                assert_value_good(sections[i], "reserve = 1");
                assert_value_good(sections[i], "reserve = auto");
        }
        assert_value_bad("[service]", "on_stop = Freeze", "is not known; use freeze or serve");
        assert_value_good("[service]", "on_stop = freeze");
        assert_value_bad("[sequence a]", "cycle = maybe", use_bool);
        assert_value_bad("[sequence a]", "cycle = 2", use_bool);
        assert_value_good("[sequence a]", "kind = gapless");
        assert_value_good("[sequence a]", "kind = time");
        assert_value_bad("[sequence a]", "kind = clock",
                         "is not known; use counter, gapless or time");
}

/* --- contradictions ---------------------------------------------------- */

static void test_contradictions(void **state)
{
        (void)state;
        assert_bad("[sequence a]\n"
                   "max = -5\n"
                   "[sequence b]\n"
                   "min = 10\nmax = 10\nstart = 10\nincrement = 1\n"
                   "[sequence c]\n"
                   "start = 5\nmin = 10\ncycle = no\n"
                   "[sequence d]\n"
                   "start = 5\nincrement = -1\n"
                   "[sequence e]\n"
                   "increment = 10\nmin = 1\nmax = 10\nreserve = 1\n"
                   "[sequence f]\n"
                   "min = 5\nincrement = -1\n",
                   "2: [sequence a] min 1 is not below max -5; min must be less than max\n"
                   "5: [sequence b] min 10 is not below max 10; min must be less than max\n"
                   "10: [sequence c] start 5 is below min 10; start must be within min and max\n"
                   "14: [sequence d] start 5 is above max -1; start must be within min and max\n"
                   "18: [sequence e] increment 10 steps over the whole range 1 to 10; "
                   "its size must be at most max - min, 9\n"
                   "22: [sequence f] min 5 is not below max -1; min must be less than max\n");
}

/* A refused value is told once, and what would follow from its default is not. */
static void test_no_complaint_follows_from_another(void **state)
{
        (void)state;
        assert_bad("[sequence a]\nmin = x\nmax = -5\n"
                   "[sequence b]\nincrement = 0\nmax = -5\n"
                   "[sequence c]\nstart = x\nmin = 7\nmax = 6\n"
                   "[sequence d]\nincrement = 0\nmin = 7\nmax = 6\n"
                   "[service]\nmax_sequences = 1x\n",
                   "2: min = x is not a whole number" USE_I64 "\n"
                   "5: increment = 0 would never move on" USE_I64 ", other than 0\n"
                   "8: start = x is not a whole number" USE_I64 "\n"
                   "10: [sequence c] min 7 is not below max 6; min must be less than max\n"
                   "12: increment = 0 would never move on" USE_I64 ", other than 0\n"
                   "14: [sequence d] min 7 is not below max 6; min must be less than max\n"
                   "16: max_sequences = 1x is not a whole number; "
                   "use a whole number from 1 to 1048576\n");
}

static void test_too_many_sequences(void **state)
{
        struct config *config;

        (void)state;
        config = load_good("[sequence a]\n[sequence b]\n[service]\nmax_sequences = 2\n");
        assert_int_equal(config->n_sequences, 2);
        config_free(config);
        assert_bad("[sequence a]\n[sequence b]\n[sequence c]\n[sequence d]\n"
                   "[service]\nmax_sequences = 2\nmode = 0\n",
                   "3: [sequence c] is one too many: the file has 4 sequences and max_sequences "
                   "is 2; raise max_sequences or remove sequences\n"
                   "7: mode = 0 is not an octal mode of three or four digits" USE_MODE "\n");
        /* Only sequences with a good name of their own count, against a limit that is known. */
        assert_bad("[service]\nmax_sequences = 1\n[sequence a]\n[sequence a]\n[sequence b c]\n",
                   "4: [sequence a] was begun at line 3; put all its keys there\n"
                   "5: [sequence b c] has a character that no name has; "
                   "use A-Z a-z 0-9 . _ : / -\n");
        assert_bad("[service]\nmax_sequences = 1\nmax_sequences = 1x\n"
                   "[sequence a]\n[sequence b]\n",
                   "3: max_sequences was given at line 2; give it once\n"
                   "3: max_sequences = 1x is not a whole number; "
                   "use a whole number from 1 to 1048576\n");
}

/* --- files ------------------------------------------------------------- */

static void assert_unreadable(const char *file, int error, const char *said)
{
        struct config_errors errors = {0};
        struct config *config = NULL;

        assert_int_equal(config_load(&config, file, NULL, &errors), error);
        assert_null(config);
        assert_int_equal(errors.n_items, 1);
        assert_string_equal(errors.items[0], said);
        config_errors_clear(&errors);
}

static void test_unreadable_files(void **state)
{
        (void)state;
        assert_unreadable("/nonexistent/seqnumd.ini", -ENOENT,
                          "/nonexistent/seqnumd.ini: cannot be opened: No such file or directory; "
                          "check path and rights");
        assert_unreadable("/", -EISDIR, "/: cannot be read: Is a directory; check the file");
}

/* An instance has paths of its own, unless the file says which. */
static void test_instances(void **state)
{
        static const char text[] = "[service]\nsocket = /run/elsewhere\n";
        struct config_errors errors = {0};
        struct config *config = NULL;
        char longest[CONFIG_INSTANCE_MAX + 2];

        (void)state;
        write_bytes(text, sizeof(text) - 1);
        assert_int_equal(config_load(&config, path, "billing", &errors), 0);
        assert_string_equal(config->instance, "billing");
        assert_string_equal(config->shm, "/seqnumd.billing");
        assert_string_equal(config->state, "/var/lib/seqnumd.billing");
        assert_string_equal(config->socket, "/run/elsewhere");
        config_free(config);
        write_bytes("", 0);
        assert_int_equal(config_load(&config, path, "a-b.c", &errors), 0);
        assert_string_equal(config->socket, "/run/seqnumd.a-b.c/seqnumd.sock");
        config_free(config);

        assert_true(config_instance_valid("billing"));
        assert_false(config_instance_valid(""));
        assert_false(config_instance_valid("../x"));
        assert_false(config_instance_valid(".hidden"));
        assert_false(config_instance_valid("a b"));
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        assert_false(config_instance_valid(longest));
        longest[CONFIG_INSTANCE_MAX] = '\0';
        assert_true(config_instance_valid(longest));
}

/* The list of an earlier file makes way for that of the next. */
static void test_errors_are_reused(void **state)
{
        struct config_errors errors = {0};
        struct config *config = NULL;

        (void)state;
        write_bytes("x\ny\n", 4);
        assert_int_equal(config_load(&config, path, NULL, &errors), -EINVAL);
        assert_int_equal(errors.n_items, 2);
        write_bytes("x\n", 2);
        assert_int_equal(config_load(&config, path, NULL, &errors), -EINVAL);
        assert_int_equal(errors.n_items, 1);
        write_bytes("", 0);
        assert_int_equal(config_load(&config, path, NULL, &errors), 0);
        assert_int_equal(errors.n_items, 0);
        config_free(config);
}

#define MANY 100000

static double seconds(void)
{
        struct timespec now;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void write_many(void)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        fprintf(file, "[service]\nmax_sequences = %d\n", MANY);
        for (int i = 0; i < MANY; i++)
                fprintf(file, "[sequence customer/%d]\nstart = %d\n", i, i + 1);
        assert_int_equal(fclose(file), 0);
}

static void test_many_sequences(void **state)
{
        struct config_errors errors = {0};
        struct config *config = NULL;
        double begin;

        (void)state;
        write_many();
        begin = seconds();
        assert_int_equal(config_load(&config, path, NULL, &errors), 0);
        /* Measured: 0.1 s. Looking names up one by one would take minutes. */
        assert_true(seconds() - begin < 5);
        assert_int_equal(config->n_sequences, MANY);
        assert_string_equal(config->sequences[MANY - 1].name, "customer/99999");
        assert_int_equal(config->sequences[MANY - 1].params.start, MANY);
        assert_int_equal(config->sequences[MANY - 1].line, 2 * MANY + 1);
        config_free(config);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_every_service_key),
                cmocka_unit_test(test_sequence_defaults),
                cmocka_unit_test(test_every_sequence_key),
                cmocka_unit_test(test_defaults_follow_the_sign),
                cmocka_unit_test(test_reserve_is_inherited),
                cmocka_unit_test(test_cycle_words),
                cmocka_unit_test(test_longest_names),
                cmocka_unit_test(test_long_lines),
                cmocka_unit_test(test_too_long_lines),
                cmocka_unit_test(test_too_long_path),
                cmocka_unit_test(test_faulty_lines),
                cmocka_unit_test(test_control_characters),
                cmocka_unit_test(test_unknown_keys),
                cmocka_unit_test(test_templates),
                cmocka_unit_test(test_template_without_socket),
                cmocka_unit_test(test_time),
                cmocka_unit_test(test_pairs),
                cmocka_unit_test(test_sequence_names),
                cmocka_unit_test(test_duplicates),
                cmocka_unit_test(test_shm_values),
                cmocka_unit_test(test_path_values),
                cmocka_unit_test(test_mode_values),
                cmocka_unit_test(test_number_values),
                cmocka_unit_test(test_word_values),
                cmocka_unit_test(test_contradictions),
                cmocka_unit_test(test_no_complaint_follows_from_another),
                cmocka_unit_test(test_too_many_sequences),
                cmocka_unit_test(test_unreadable_files),
                cmocka_unit_test(test_instances),
                cmocka_unit_test(test_errors_are_reused),
                cmocka_unit_test(test_many_sequences),
        };

        return cmocka_run_group_tests(tests, make_file, remove_file);
}
