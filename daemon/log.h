/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the daemon says: to the journal when its standard error is connected to
 * it, as text on standard error otherwise. Priorities are those of syslog(3).
 * Callable from any thread.
 */

#include <syslog.h>

/* Find out where to; once, before the first message. */
void log_open(void);

/* One message; `sequence` is the name of the one concerned, or NULL. */
void log_about(int priority, const char *sequence, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_about(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_about(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...)  log_about(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...)    log_about(LOG_INFO, NULL, __VA_ARGS__)
