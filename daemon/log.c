/* SPDX-License-Identifier: MIT */

/* What the daemon says; see log.h. */

#include "log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "clock.h"

/* So many messages of one kind of event are said in a row, then one for so long a time. */
#define BURST      20
#define EVERY_USEC UINT64_C(1000000)

#define TEXT_MAX 2048

static bool to_journal;
static const char *instance;

/* MESSAGE_ID= of each event: sd-id128(3). For ever: operators search for them. */
static const char *const message_ids[LOG_N_EVENTS] = {
        [EVENT_SERVING] = "0c08041c50744d3ba1759dcf267f3e96",
        [EVENT_STOPPED] = "af52ca3e842444f9ac554139b091fd77",
        [EVENT_RELOADED] = "2488a7b5418946c2a8c67fb2cd835374",
        [EVENT_CONFIG_BAD] = "eaec3a0144c548c78b9c128136a5dfd5",
        [EVENT_STORE_FAILING] = "3b0fdaaba0cd439a91f30d1f9869b766",
        [EVENT_STORE_WELL] = "f407c2ba635d46eb9ed5ea2b64da803c",
        [EVENT_STORE_BEHIND] = "0dab9bbc570c496ab86cd976a15f76fc",
        [EVENT_STORE_UNUSABLE] = "c1c5efbde1074a979b9fef4da25ffdc4",
        [EVENT_SEGMENT_REPLACED] = "340f9c8c8aa941dbb5c4bd4622b8a0fd",
        [EVENT_SEGMENT_DAMAGED] = "8035df4f31cf485e8b1f4333f8f9df2d",
        [EVENT_SEQUENCE_MADE] = "e1182e2ece9940639baa3705bf2f5aff",
        [EVENT_SEQUENCE_CHANGED] = "65a86010258346969775fba78091cf36",
        [EVENT_SEQUENCE_DROPPED] = "932c5406a63b42c6ab197fe2cc1fd134",
        [EVENT_CLIENT_REFUSED] = "ee9598b636b34c00a8c67c8e79b09205",
};

/*
 * $JOURNAL_STREAM is "device:inode" of the socket systemd connected our
 * standard error to; it is inherited by whoever redirects it elsewhere, so
 * compare (systemd.exec(5)).
 */
void log_open(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        uintmax_t device, inode;
        struct stat status;

        to_journal = stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
                     fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
                     status.st_ino == inode;
}

void log_instance(const char *shm)
{
        instance = shm;
}

/* --- one message --------------------------------------------------------- */

struct fields {
        char text[6][TEXT_MAX + 64];
        struct iovec vector[6];
        int n;
};

static void field(struct fields *fields, const char *name, const char *value)
{
        char *text = fields->text[fields->n];
        int length = snprintf(text, sizeof(fields->text[0]), "%s=%s", name, value);

        if (length >= (int)sizeof(fields->text[0]))
                length = (int)sizeof(fields->text[0]) - 1;
        fields->vector[fields->n++] = (struct iovec){.iov_base = text, .iov_len = (size_t)length};
}

/* What a message has beside its text. */
struct about {
        int priority;
        const char *id, *sequence; /* or NULL */
        const uid_t *user;         /* or NULL */
};

static void send_to_journal(const struct about *about, const char *text)
{
        struct fields fields = {.n = 0};
        char message[TEXT_MAX + 300], number[16];
        const char *sequence = about->sequence;

        (void)snprintf(message, sizeof(message), "%s%s%s", sequence ? sequence : "",
                       sequence ? ": " : "", text);
        (void)snprintf(number, sizeof(number), "%d", about->priority);
        message[TEXT_MAX] = '\0';
        field(&fields, "MESSAGE", message);
        field(&fields, "PRIORITY", number);
        if (about->id)
                field(&fields, "MESSAGE_ID", about->id);
        if (sequence)
                field(&fields, "SEQNUM_SEQUENCE", sequence);
        if (instance)
                field(&fields, "SEQNUM_INSTANCE", instance);
        if (about->user) {
                (void)snprintf(number, sizeof(number), "%u", (unsigned)*about->user);
                field(&fields, "SEQNUM_USER", number);
        }
        (void)sd_journal_sendv(fields.vector, fields.n);
}

static void say(const struct about *about, const char *text)
{
        const char *sequence = about->sequence;

        if (to_journal)
                send_to_journal(about, text);
        else
                (void)fprintf(stderr, "seqnumd: %s%s%s\n", sequence ? sequence : "",
                              sequence ? ": " : "", text);
}

/* --- not too many -------------------------------------------------------- */

struct bucket {
        uint64_t filled; /* CLOCK_MONOTONIC, usec; 0: never used */
        uint64_t tokens;
        uint64_t left_out;
};

/* May one more be said? Then *ret is how many were left out before it. */
static bool take_token(struct bucket *bucket, uint64_t now, uint64_t *ret)
{
        uint64_t gained = (now - bucket->filled) / EVERY_USEC;

        if (!bucket->filled || bucket->tokens + gained >= BURST) {
                bucket->tokens = BURST;
                bucket->filled = now;
        } else {
                bucket->tokens += gained;
                bucket->filled += gained * EVERY_USEC;
        }
        if (bucket->tokens == 0) {
                bucket->left_out++;
                return false;
        }
        bucket->tokens--;
        *ret = bucket->left_out;
        bucket->left_out = 0;
        return true;
}

static bool may_say(enum log_event event, uint64_t *left_out)
{
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static struct bucket buckets[LOG_N_EVENTS];
        bool may;

        pthread_mutex_lock(&lock);
        may = take_token(&buckets[event], clock_usec(CLOCK_MONOTONIC), left_out);
        pthread_mutex_unlock(&lock);
        return may;
}

void log_about(int priority, const char *sequence, const char *format, ...)
{
        const struct about about = {.priority = priority, .sequence = sequence};
        char text[TEXT_MAX];
        va_list args;

        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        say(&about, text);
}

static void say_event(enum log_event event, const struct about *about, const char *format,
                      va_list args) __attribute__((format(printf, 3, 0)));

static void say_event(enum log_event event, const struct about *about, const char *format,
                      va_list args)
{
        const struct about of_others = {.priority = about->priority, .id = about->id};
        char text[TEXT_MAX];
        uint64_t left_out = 0;

        if (!may_say(event, &left_out))
                return;
        if (left_out > 0) {
                (void)snprintf(text, sizeof(text),
                               "%" PRIu64 " messages like the next were left out", left_out);
                say(&of_others, text);
        }
        (void)vsnprintf(text, sizeof(text), format, args);
        say(about, text);
}

void log_event(enum log_event event, int priority, const char *sequence, const char *format, ...)
{
        const struct about about = {priority, message_ids[event], sequence, NULL};
        va_list args;

        va_start(args, format);
        say_event(event, &about, format, args);
        va_end(args);
}

void log_event_by(const uid_t *user, enum log_event event, int priority, const char *sequence,
                  const char *format, ...)
{
        const struct about about = {priority, message_ids[event], sequence, user};
        va_list args;

        va_start(args, format);
        say_event(event, &about, format, args);
        va_end(args);
}
