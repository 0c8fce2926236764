/* SPDX-License-Identifier: MIT */
#pragma once

/* A group by its name, for people; its number where it has none. */

#include <grp.h>
#include <stdio.h>

#define GROUP_TEXT_SIZE 64

static inline const char *group_text(gid_t group, char text[static GROUP_TEXT_SIZE])
{
        const struct group *entry = getgrgid(group);

        if (entry)
                (void)snprintf(text, GROUP_TEXT_SIZE, "%s", entry->gr_name);
        else
                (void)snprintf(text, GROUP_TEXT_SIZE, "%u", (unsigned)group);
        return text;
}
