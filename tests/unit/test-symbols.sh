#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What libseqnum.so shows and needs: it exports seqnum_* and nothing else, has
# its soname, and depends on libc alone. All of it has a man page.

set -u
library=${SEQNUM_BUILD:-build}/libseqnum.so
status=0
bad() {
        echo "$library: $*"
        status=1
}

exported=$(nm -D --defined-only "$library" | awk '$2 != "A" {print $3}' | sed 's/@.*//') || exit 1
[ -n "$exported" ] || bad "exports nothing"
others=$(grep -v '^seqnum_' <<<"$exported")
[ -z "$others" ] || bad "exports more than seqnum_*: $others"

declared=$(grep -o 'seqnum_[a-z_]*(' client/seqnum.h | tr -d '(' | sort -u)
missing=$(comm -23 <(echo "$declared") <(sort -u <<<"$exported"))
[ -z "$missing" ] || bad "does not export what seqnum.h declares: $missing"

described=$(sed -n 's/^\.Nm \(seqnum_[a-z_]*\).*/\1/p' client/*.3 | sort -u)
missing=$(comm -23 <(echo "$declared") <(echo "$described"))
[ -z "$missing" ] || bad "no man page describes $missing"

readelf -d "$library" | grep -q 'SONAME.*\[libseqnum\.so\.0\]' || bad "has another soname"
if [ -z "${SEQNUM_SANITIZER:-}" ]; then
        needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
        [ "$needed" = libc.so.6 ] || bad "needs more than libc: $needed"
fi
exit $status
