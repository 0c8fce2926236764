#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Runs the examples of README.md against a private instance: each fenced block
# that follows a line "<!-- example: FILE -->" is taken out of the page as it
# stands, built if need be, and run; what it draws must be what comes next.
# Examples name the default socket: that alone is replaced.

# shellcheck disable=SC1091,SC2154 # what it sets
. "$(dirname "$0")/harness.sh"

socket=$tmp/seqnumd.sock
cat > "$tmp/ini" << END
[service]
shm = $SEQNUM_SHM
state = $tmp/state
socket = $socket
group =
[sequence orders]
start = 100
[sequence invoice/*]
kind = gapless
END
start_daemon
mkdir "$tmp/bin" "$tmp/examples" || exit 1
export PATH=$tmp/bin:$PATH LD_LIBRARY_PATH=$build
ln -s "$seqnum" "$tmp/bin/seqnum"
cd "$tmp/examples" || exit 1

awk '
        /^<!-- example: .* -->$/ { file = $3; next }
        file && /^```/ { if (inside) { inside = 0; close(file); file = "" } else inside = 1; next }
        inside { print > file }
' "$source_dir/README.md"
sed -i "s|/run/seqnumd/seqnumd.sock|$socket|" ./*

missing=
wanted() {
        [ -s "$1" ] && return
        not_ok "README.md has an example $1"
        missing=1
}
for file in orders.c stock.c invoice.c invoice.sh orders.cc orders.py incr.py incr.sh; do
        wanted $file
done
[ -z "$missing" ] || exit 1
same "every example is run by this test" 8 "$(find . -type f | wc -l)"

# --- C and C++, as the page says they are built ---------------------------------

flags=(-Wall -Wextra -Werror -I"$source_dir/client" -L"$build" -lseqnum)
build_with() {
        "$1" -o "$3" "$2" "${flags[@]}" > err 2>&1 && return
        not_ok "$2 compiles without a warning" "$(cat err)"
}
case ${SEQNUM_SANITIZER:-} in
tsan | asan) skip "C and C++: they would have to be built with the sanitizer" ;;
*)
        build_with "${CC:-cc}" orders.c orders
        expect "orders.c draws" 0 100 ./orders
        build_with "${CC:-cc}" stock.c stock
        expect "stock.c draws" 0 "101 to 1101" ./stock
        expect "stock.c gave the rest back" 0 "1102 to 2102" ./stock
        build_with "${CC:-cc}" invoice.c invoice
        expect "invoice.c commits" 0 "Invoice 1" ./invoice
        expect "invoice.c goes on" 0 "Invoice 2" ./invoice
        build_with "${CXX:-c++}" orders.cc orders-cc
        expect "orders.cc draws" 0 2103 ./orders-cc
        ;;
esac

# --- the shell --------------------------------------------------------------------

number=$("$seqnum" peek invoice/shell 2> /dev/null || echo 1)
sed -i 's|invoice/acme|invoice/shell|' invoice.sh
run sh invoice.sh
same "invoice.sh succeeds" 0 "$status"
same "invoice.sh writes the invoice" "Invoice $number" "$(cat "invoice-$number.txt")"
expect "invoice.sh used one number up" 0 $((number + 1)) "$seqnum" peek invoice/shell

# --- Python, by the library --------------------------------------------------------

if [ -n "${SEQNUM_SANITIZER:-}" ]; then
        skip "orders.py: python would have to be built with the sanitizer"
else
        number=$("$seqnum" peek orders)
        expect "orders.py draws" 0 "$number" /usr/bin/python3 orders.py
fi

# --- Redis clients -------------------------------------------------------------------

number=$("$seqnum" peek orders)
if command -v redis-cli > /dev/null; then
        expect "incr.sh draws" 0 "$number" sh incr.sh
        number=$((number + 1))
else
        skip "incr.sh: there is no redis-cli"
fi
if /usr/bin/python3 -c 'import redis' 2> /dev/null; then
        expect "incr.py draws" 0 "$number" /usr/bin/python3 incr.py
        expect "incr.py draws a run" 0 $((number + 101)) "$seqnum" peek orders
else
        skip "incr.py: there is no module redis for python3"
fi

finish
