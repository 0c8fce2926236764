/* SPDX-License-Identifier: MIT */

/* Facts in an order, printed as text or as JSON, and a time as both have it; see cli.h. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"

struct facts facts_new(void)
{
        struct facts facts = {.object = json_object()};

        facts.incomplete = !facts.object;
        return facts;
}

void facts_free(struct facts *facts)
{
        json_decref(facts->object);
        facts->object = NULL;
}

static void facts_add(struct facts *facts, const char *key, json_t *value)
{
        if (json_object_set_new(facts->object, key, value) < 0)
                facts->incomplete = true;
}

void facts_string(struct facts *facts, const char *key, const char *value)
{
        facts_add(facts, key, value ? json_string(value) : json_null());
}

void facts_integer(struct facts *facts, const char *key, int64_t value)
{
        facts_add(facts, key, json_integer(value));
}

void facts_unsigned(struct facts *facts, const char *key, uint64_t value)
{
        facts_add(facts, key, value > INT64_MAX ? json_null() : json_integer((json_int_t)value));
}

void facts_real(struct facts *facts, const char *key, double value)
{
        facts_add(facts, key, json_real(value));
}

void facts_bool(struct facts *facts, const char *key, bool value)
{
        facts_add(facts, key, json_boolean(value));
}

void facts_none(struct facts *facts, const char *key)
{
        facts_add(facts, key, json_null());
}

/* "reserved_ahead" is "reserved ahead:" to people. */
static void print_key(const char *key, int width)
{
        int printed = 0;

        for (; *key; key++, printed++)
                (void)putchar(*key == '_' ? ' ' : *key);
        printf(":%*s", width - printed + 1, "");
}

static void print_value(const json_t *value)
{
        switch (json_typeof(value)) {
        case JSON_STRING:
                puts(json_string_value(value));
                break;
        case JSON_INTEGER:
                printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
                break;
        case JSON_REAL:
                printf("%.3f\n", json_real_value(value));
                break;
        case JSON_TRUE:
        case JSON_FALSE:
                puts(json_is_true(value) ? "yes" : "no");
                break;
        default:
                puts("none");
        }
}

static void print_text(json_t *object)
{
        const char *key;
        json_t *value;
        int width = 0;

        json_object_foreach(object, key, value) width =
                (int)strlen(key) > width ? (int)strlen(key) : width;
        json_object_foreach(object, key, value)
        {
                print_key(key, width);
                print_value(value);
        }
}

int facts_print(const struct facts *facts, bool json)
{
        if (facts->incomplete) {
                cli_complain("gathering facts: %s", strerror(ENOMEM));
                return CLI_SYSTEM;
        }
        if (!json)
                print_text(facts->object);
        else if (json_dumpf(facts->object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0)
                (void)putchar('\n');
        else if (!ferror(stdout)) {
                cli_complain("printing JSON: %s", strerror(ENOMEM));
                return CLI_SYSTEM;
        }
        return CLI_OK;
}

const char *cli_time_text(int64_t unix_msec, bool local, char text[static CLI_TIME_SIZE])
{
        int64_t msec = unix_msec % 1000 < 0 ? unix_msec % 1000 + 1000 : unix_msec % 1000;
        time_t seconds = (time_t)((unix_msec - msec) / 1000);
        struct tm tm = {0};
        char day[24] = "", zone[8] = "Z";

        if (!(local ? localtime_r(&seconds, &tm) : gmtime_r(&seconds, &tm)) ||
            strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
                (void)snprintf(text, CLI_TIME_SIZE, "beyond the calendar");
                return text;
        }
        if (local && strftime(zone, sizeof(zone), "%z", &tm) == 5)
                (void)snprintf(zone + 3, sizeof(zone) - 3, ":%02ld", labs(tm.tm_gmtoff) / 60 % 60);
        (void)snprintf(text, CLI_TIME_SIZE, "%s.%03d%s", day, (int)msec, zone);
        return text;
}
