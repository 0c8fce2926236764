/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the daemon says: to the journal when its standard error is connected to
 * it, as text on standard error otherwise. Priorities are those of syslog(3).
 * Callable from any thread.
 *
 * In the journal a message has, beside the usual fields, SEQNUM_INSTANCE= (the
 * segment's name), SEQNUM_SEQUENCE= where one is concerned, SEQNUM_USER= (a number)
 * where somebody did it over the control socket, and MESSAGE_ID= where it is one of
 * the events below; systemd/seqnumd.catalog explains those.
 */

#include <sys/types.h>
#include <syslog.h>

/* What an operator would search for. The same kind, over and over, is said in part. */
enum log_event {
        EVENT_SERVING,          /* started */
        EVENT_STOPPED,          /* cleanly */
        EVENT_RELOADED,         /* the configuration */
        EVENT_CONFIG_BAD,       /* and what was not reloaded */
        EVENT_STORE_FAILING,    /* nothing can be reserved */
        EVENT_STORE_WELL,       /* again */
        EVENT_STORE_BEHIND,     /* it knows less than the segment: a backup */
        EVENT_STORE_UNUSABLE,   /* no start with it */
        EVENT_SEGMENT_REPLACED, /* clients move to another object */
        EVENT_SEGMENT_DAMAGED,  /* somebody wrote what no client would */
        EVENT_SEQUENCE_MADE,
        EVENT_SEQUENCE_CHANGED, /* altered, restarted */
        EVENT_SEQUENCE_DROPPED,
        EVENT_CLIENT_REFUSED, /* not in the group, or no room for it */
        LOG_N_EVENTS,
};

/* Find out where to; once, before the first message. */
void log_open(void);

/* The segment's name, for SEQNUM_INSTANCE=; it must last. */
void log_instance(const char *shm);

/* One message; `sequence` is the name of the one concerned, or NULL. */
void log_about(int priority, const char *sequence, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* The same for an event. */
void log_event(enum log_event event, int priority, const char *sequence, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* The same for one that `user` brought about; NULL: nobody did. */
void log_event_by(const uid_t *user, enum log_event event, int priority, const char *sequence,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

#define log_error(...)   log_about(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_about(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...)  log_about(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...)    log_about(LOG_INFO, NULL, __VA_ARGS__)
