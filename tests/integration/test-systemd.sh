#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The units under the real systemd (sandbox.sh): installed as `make install` does,
# and put through what a service lives through. Who may draw, what a restart costs
# those who draw, what it may not touch, and what becomes of it when it is killed,
# hangs, finds its configuration broken or its disk full.
# shellcheck disable=SC2154,SC2016 # sandbox.sh sets some; some is for a shell inside

case ${SEQNUM_SANITIZER:-} in
'') ;;
*)
        echo "skipped: the units run the plain build; a sanitizer does not live with their limits"
        exit 77
        ;;
esac
# shellcheck disable=SC1091 # what it sets
. "$(dirname "$0")/sandbox.sh"

begun=$SECONDS
make_root
make -s -C "$source_dir" install DESTDIR="$root" PREFIX=/usr BUILD="$build" || exit 1
install -D "$build/tests/helpers/watch-draws" "$root/usr/libexec/watch-draws"
install -D "$build/tests/preload/slow-disk.so" "$root/usr/lib/slow-disk.so"
mkdir -p "$root/etc/sysusers.d"
cat > "$root/etc/sysusers.d/sandbox.conf" << END
u alice
m alice seqnum
u mallory
g billing
u bill
m bill billing
END
systemd-sysusers --root="$root" 2> "$work/sysusers" || cat "$work/sysusers"

refused() { ! in_sandbox "$@" > "$work/out" 2>&1; }

# --- on paper -----------------------------------------------------------------------

# Not to touch the host's /run: systemd-analyze notes there when it loaded units.
analyze() { unshare --mount sh -c 'mount -n -t tmpfs tmpfs /run && exec systemd-analyze "$@"' sh "$@"; }

mkdir "$work/units"
for unit in seqnumd.service seqnumd.socket; do
        sed 's,^Exec\(Start\|Reload\)=.*,Exec\1=/bin/true,' "$root/lib/systemd/system/$unit" \
                > "$work/units/$unit"
        template=${unit/./@.}
        sed 's,^Exec\(Start\|Reload\)=.*,Exec\1=/bin/true,' "$root/lib/systemd/system/$template" \
                > "$work/units/${template/@/@billing}"
done
is "systemd-analyze verify has nothing to say" "" \
        "$(analyze verify --man=no --recursive-errors=no "$work"/units/* 2>&1)"
exposure=$(analyze security --no-pager --offline=true --threshold=8 "$work/units/seqnumd.service" \
        2>&1) || not_ok "an exposure of at most 0.8" "$exposure"
ok "systemd-analyze security: $(tail -n 1 <<< "$exposure" | tr -dc ' -~')"

# --- first boot ----------------------------------------------------------------------

cat > "$root/etc/seqnumd/seqnumd.ini" << END
[sequence orders]
[sequence watched]
END
# No other target is started here. The watchdog is made impatient, and the disk slow at will.
for unit in seqnumd.service seqnumd.socket; do
        mkdir -p "$root/etc/systemd/system/basic.target.wants"
        ln -s "/lib/systemd/system/$unit" "$root/etc/systemd/system/basic.target.wants/$unit"
done
mkdir -p "$root/etc/systemd/system/seqnumd.service.d"
cat > "$root/etc/systemd/system/seqnumd.service.d/test.conf" << END
[Service]
WatchdogSec=2
Environment=LD_PRELOAD=/usr/lib/slow-disk.so SEQNUM_SLOW_DISK=/etc/slow-disk
END
boot

is "it is up" active "$(in_sandbox systemctl is-active seqnumd)"
is "of a type that says when it is ready" "notify*" "$(property seqnumd Type)"
is "which tells what it does" "serving 2 sequences in /seqnumd" "$(property seqnumd StatusText)"
is "the manager keeps its segment" 1 "$(property seqnumd NFileDescriptorStore)"
is "a user of the group draws" "1" "$(as alice seqnum next orders)"
is "and over the socket" 2 "$(as alice redis-cli -s /run/seqnumd/seqnumd.sock incr orders)"
as mallory seqnum next orders > "$work/out" 2>&1
is "one who is not in it is refused, with status 77" 77 $?
is "and told why" "*not permitted*" "$(cat "$work/out")"
is "also at the socket" "*Permission denied*" \
        "$(as mallory redis-cli -s /run/seqnumd/seqnumd.sock incr orders 2>&1)"
is "alice does not administer" "*NOPERM*" \
        "$(as alice redis-cli -s /run/seqnumd/seqnumd.sock seq.drop orders 2>&1)"
is "nothing was taken by that" 3 "$(as alice seqnum next orders)"

# --- what it may not -------------------------------------------------------------------

main_pid() { property seqnumd MainPID; }
pid=$(main_pid)
status() { in_sandbox sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status"; }
is "it runs as seqnum" seqnum "$(in_sandbox stat -c %U "/proc/$pid")"
is "no capability" 0000000000000000 "$(status CapBnd)"
is "no new privileges" 1 "$(status NoNewPrivs)"
is "a filter of system calls" 2 "$(status Seccomp)"

echo secret > "$root/root/secret"
its=/proc/$pid/root # the files as it sees them, also to root from here
is "/etc is read-only to it" "*Read-only file system*" "$(in_sandbox touch "$its/etc/probe" 2>&1)"
is "so is all else" "*Read-only file system*" "$(in_sandbox touch "$its/var/lib/probe" 2>&1)"
is "but its state" "" "$(in_sandbox touch "$its/var/lib/seqnumd/probe" 2>&1)"
holds "what is in /root it does not see" in_sandbox test ! -e "$its/root/secret"
is "it can run no other program" "*Permission denied*" \
        "$(in_sandbox nsenter -t "$pid" -m -r -w -- setpriv --reuid seqnum true 2>&1)"
is "it has no network" "lo" \
        "$(in_sandbox sed -n 's/^ *\([a-z0-9]*\):.*/\1/p' "/proc/$pid/net/dev" | tr -d '\n')"
is "its /dev/shm is that of its clients" "$(in_sandbox stat -c %d:%i /dev/shm/seqnumd)" \
        "$(in_sandbox stat -c %d:%i "$its/dev/shm/seqnumd")"

# --- reload ------------------------------------------------------------------------------

printf '[sequence third]\nstart = 300\n' >> "$root/etc/seqnumd/seqnumd.ini"
holds "reload" in_sandbox systemctl reload seqnumd
third() { [ "$(as alice seqnum peek third 2> /dev/null)" = 300 ]; }
holds "a sequence added to the file is there" wait_for 5 third
cp "$root/etc/seqnumd/seqnumd.ini" "$work/good.ini"
echo 'incremnt = 7' >> "$root/etc/seqnumd/seqnumd.ini"
holds "a bad file makes the reload fail" refused systemctl reload seqnumd
is "and the service goes on" "active 4" \
        "$(in_sandbox systemctl is-active seqnumd) $(as alice seqnum next orders)"
said() { journal -u seqnumd | grep -q -- "$1"; }
holds "the journal has line, key and what would be right" wait_for 5 said \
        "seqnumd.ini:5: .*incremnt.*did you mean increment"
cp "$work/good.ini" "$root/etc/seqnumd/seqnumd.ini"

# --- killed, hung, restarted: while somebody draws -----------------------------------------

watch() {
        as alice /usr/libexec/watch-draws watched > "$work/watched" 2>&1 &
        watcher=$!
        sleep 0.3
}
# watched WHAT: it ends, and had a good time
watched() {
        local draws='' failed_draws='' skipped='' backwards='' longest_usec=''

        in_sandbox pkill -TERM -f "watch-draws watched"
        wait "$watcher"
        read -r draws failed_draws skipped backwards longest_usec last < <(
                sed -n 's/draws=\(.*\) failed=\(.*\) skipped=\(.*\) backwards=\(.*\) longest_usec=\(.*\) first=.* last=\(.*\)/\1 \2 \3 \4 \5 \6/p' \
                        "$work/watched"
        )
        is "$1: draws that failed, numbers skipped, out of order" "0 0 0" \
                "$failed_draws $skipped $backwards"
        echo "# $draws draws, the longest took $longest_usec us"
        grep -v = "$work/watched"
}
replaced() { # by another process than $pid
        local now

        now=$(main_pid)
        [ "$now" != 0 ] && [ "$now" != "$pid" ]
}
restarted() { replaced && [ "$(property seqnumd ActiveState)" = active ]; }

watch
pid=$(main_pid)
in_sandbox kill -KILL "$pid"
killed_at=$(date +%s%3N)
holds "killed: it is restarted" wait_for 10 restarted
took=$(($(date +%s%3N) - killed_at))
holds "within a second ($took ms)" test "$took" -lt 1000
sleep 0.2
watched "SIGKILL"
is "by the manager" 1 "$(property seqnumd NRestarts)"

watch
pid=$(main_pid)
in_sandbox kill -STOP "$pid"
holds "hung: the watchdog has it restarted" wait_for 15 restarted
holds "and says so" wait_for 5 said "Watchdog timeout"
watched "hang"

pid=$(main_pid)
echo stuck > "$root/etc/slow-disk"
as alice redis-cli -s /run/seqnumd/seqnumd.sock incrby orders 1000000 > /dev/null 2>&1 &
holds "its disk hangs: the watchdog sees that too" wait_for 15 replaced
rm "$root/etc/slow-disk"
wait $!
drawable() { as alice seqnum next orders > /dev/null 2>&1; }
holds "and draws go on when it does not" wait_for 10 drawable

watch
holds "restart" in_sandbox systemctl restart seqnumd
sleep 0.2
watched "restart"

# --- the segment's name is removed while no daemon looks -------------------------------------

watch
pid=$(main_pid)
inode=$(in_sandbox stat -c %i /dev/shm/seqnumd)
in_sandbox sh -c "kill -KILL $pid; rm /dev/shm/seqnumd"
holds "the name was removed and the daemon killed: it is restarted" wait_for 10 restarted
named_anew() { [ "$(in_sandbox stat -c %i /dev/shm/seqnumd 2> /dev/null || echo "$inode")" != "$inode" ]; }
holds "with another segment" wait_for 5 named_anew
sleep 0.3
watched "clients of the old one moved at once"
is "which the manager keeps now" 1 "$(property seqnumd NFileDescriptorStore)"
is "and a newcomer draws behind them" "$((last + 1))" "$(as alice seqnum next watched)"

# --- the journal ------------------------------------------------------------------------------

serving=0c08041c50744d3ba1759dcf267f3e96
is "an event has the fields to find it by" /seqnumd \
        "$(journal MESSAGE_ID=$serving SEQNUM_INSTANCE=/seqnumd -n 1 -o json | jq -r .SEQNUM_INSTANCE)"
is "a sequence's too" third \
        "$(journal SEQNUM_SEQUENCE=third -n 1 -o json | jq -r .SEQNUM_SEQUENCE)"
in_sandbox journalctl --update-catalog > "$work/out" 2>&1
is "the catalog explains it" "*Programs draw from the segment*" \
        "$(journal -x -n 1 MESSAGE_ID=$serving | tr '\n' ' ')"

# --- stop, socket activation, reboot ---------------------------------------------------------------

before=$(as alice seqnum next orders)
in_sandbox systemctl stop seqnumd 2> /dev/null
is "stopped" "inactive success" "$(property seqnumd ActiveState) $(property seqnumd Result)"
is "the socket still listens" active "$(in_sandbox systemctl is-active seqnumd.socket)"
is "who connects has it started" $((before + 1)) \
        "$(as alice redis-cli -s /run/seqnumd/seqnumd.sock incr orders)"
is "it is up again" active "$(property seqnumd ActiveState)"
reboot
is "after a reboot it is up" active "$(in_sandbox systemctl is-active seqnumd)"
is "and nothing was skipped" $((before + 2)) "$(as alice seqnum next orders)"

# --- two instances ----------------------------------------------------------------------------------

printf '[service]\ngroup = billing\n[sequence invoices]\nkind = gapless\n' > "$root/etc/seqnumd/billing.ini"
mkdir -p "$root/etc/systemd/system/seqnumd@billing.service.d" \
        "$root/etc/systemd/system/seqnumd@billing.socket.d"
printf '[Service]\nSupplementaryGroups=billing\n' \
        > "$root/etc/systemd/system/seqnumd@billing.service.d/group.conf"
printf '[Socket]\nSocketGroup=billing\n' > "$root/etc/systemd/system/seqnumd@billing.socket.d/group.conf"
in_sandbox systemctl daemon-reload
holds "a second instance starts" in_sandbox systemctl start seqnumd@billing
is "with a group of its own" 1 "$(as bill seqnum -s /seqnumd.billing next invoices)"
is "at its own socket" 2 "$(as bill redis-cli -s /run/seqnumd.billing/seqnumd.sock incr invoices)"
as alice seqnum -s /seqnumd.billing next invoices > /dev/null 2>&1
is "from which the other's members are kept" 77 $?
is "also at its socket" "*Permission denied*" \
        "$(as alice redis-cli -s /run/seqnumd.billing/seqnumd.sock incr invoices 2>&1)"
as bill seqnum next orders > /dev/null 2>&1
is "and the other way round" 77 $?
is "their states are apart" "700 seqnum 700 seqnum" \
        "$(in_sandbox stat -c '%a %U' /var/lib/seqnumd /var/lib/seqnumd.billing | tr '\n' ' ' | sed 's/ $//')"
is "the journal tells them apart" /seqnumd.billing \
        "$(journal MESSAGE_ID=$serving -n 1 -o json | jq -r .SEQNUM_INSTANCE)"
in_sandbox systemctl stop seqnumd@billing.socket seqnumd@billing

# --- what no restart mends, found at boot ----------------------------------------------------------

drawn=$(as alice seqnum next orders)
goes_on() { # WHAT: nothing was skipped
        drawn=$((drawn + 1))
        is "$1" "$drawn" "$(as alice seqnum next orders)"
}
outcome() {
        echo "$(property seqnumd ActiveState) $(property seqnumd Result)" \
                "$(property seqnumd ExecMainStatus) $(property seqnumd NRestarts)"
}
not_starting() { [ "$(property seqnumd ActiveState)" != activating ]; }

echo 'nonsense' >> "$root/etc/seqnumd/seqnumd.ini"
reboot
holds "a broken configuration at boot: it is tried" wait_for 10 not_starting
sleep 0.3
is "once, and ends with the status that says why" "failed exit-code 78 0" "$(outcome)"
is "the rest of the host is up" "seqnumd.service" \
        "$(in_sandbox systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | tr '\n' ' ' | sed 's/ $//')"
cp "$work/good.ini" "$root/etc/seqnumd/seqnumd.ini"
holds "mended, it starts" in_sandbox systemctl start seqnumd
goes_on "where it was"

# At the next boot the state is on a disk of 2 MiB with not a byte left.
cat > "$root/etc/systemd/system/small-disk.service" << 'END'
[Unit]
DefaultDependencies=no
Before=seqnumd.service seqnumd.socket
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cp -a /var/lib/seqnumd /var/lib/seqnumd.kept && \
        mount -t tmpfs -o size=2M,mode=700,uid=$(id -u seqnum),gid=$(id -g seqnum) tmpfs /var/lib/seqnumd && \
        cp -a /var/lib/seqnumd.kept/. /var/lib/seqnumd/ && \
        cat /dev/zero > /var/lib/seqnumd/ballast; true'
END
ln -s ../small-disk.service "$root/etc/systemd/system/basic.target.wants/small-disk.service"
reboot
full() { said "disk is full\|No space left\|disk full\|database or disk is full"; }
holds "a full disk at boot: it says so" wait_for 5 full
tried_again() { [ "$(property seqnumd NRestarts)" -gt 1 ]; }
holds "and is tried again and again" wait_for 5 tried_again
in_sandbox rm /var/lib/seqnumd/ballast
in_sandbox systemctl reset-failed seqnumd 2> /dev/null
serves() { in_sandbox systemctl start seqnumd 2> /dev/null && [ "$(property seqnumd ActiveState)" = active ]; }
holds "with room again it serves" wait_for 10 serves
goes_on "and nothing was skipped"

took=$((SECONDS - begun))
holds "all of it takes less than a minute ($took s)" test $took -lt 60
finish
