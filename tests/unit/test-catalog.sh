#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every event that the daemon logs has an explanation in the journal's catalog,
# once, and the catalog has no other; journalctl can compile it.

set -u
source_dir=${SEQNUM_SRCDIR:-.}
catalog=$source_dir/systemd/seqnumd.catalog
status=0
bad() {
        echo "$catalog: $*"
        status=1
}

logged=$(sed -n 's/^ *\[EVENT_.*\] = "\([0-9a-f]\{32\}\)".*/\1/p' "$source_dir/daemon/log.c")
events=$(sed -n '/^enum log_event {/,/LOG_N_EVENTS/p' "$source_dir/daemon/log.h" | grep -c '^ *EVENT_')
[ "$(wc -l <<< "$logged")" = "$events" ] || bad "not all of $events events have an id"
[ -z "$(sort <<< "$logged" | uniq -d)" ] || bad "an id is used twice"
explained=$(sed -n 's/^-- \([0-9a-f]*\)$/\1/p' "$catalog")
differ=$(diff <(sort <<< "$logged") <(sort <<< "$explained")) || bad "$differ"
[ "$(grep -c '^Subject: ' "$catalog")" = "$events" ] || bad "an entry has no subject"

if command -v journalctl > /dev/null; then
        root=$(mktemp -d "${TMPDIR:-/tmp}/seqnum-catalog.XXXXXX") || exit 1
        trap 'rm -rf "$root"' EXIT
        mkdir -p "$root/usr/lib/systemd/catalog" "$root/var/lib/systemd/catalog"
        cp "$catalog" "$root/usr/lib/systemd/catalog/"
        journalctl --root="$root" --update-catalog || bad "journalctl does not take it"
fi
exit $status
