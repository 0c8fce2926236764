#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The real systemd as PID 1 of a throw-away host, to be sourced by tests. Its files
# are this host's below an overlay, so what is installed there is there too and
# nothing is changed here; it has a cgroup subtree, /dev/shm, /run and network
# namespaces of its own, and forgets all but its files when it is rebooted.
#
# Needs root, cgroup2 and overlayfs; says "skipped" with status 77 where one of them
# is not to be had. SANDBOX_ROOT: another root than this host's, say of mmdebstrap.
#
#   root                   the sandbox' files, seen from here
#   boot, reboot           begin, begin again; both wait until basic.target is up
#   in_sandbox COMMAND     as root; its stdin is /dev/null
#   as USER COMMAND        as one of its users
#   property UNIT NAME     of systemctl show
#   journal ARGUMENT...    of journalctl
#   is WHAT EXPECTED ACTUAL, holds WHAT COMMAND, wait_for SECONDS COMMAND
#   finish                 shuts down, counts, exits

# shellcheck disable=SC2034 # tests use what is set here

set -u
export LC_ALL=C

skip_all() {
        echo "skipped: $1"
        exit 77
}

[ "$(id -u)" = 0 ] || skip_all "it takes root to boot a systemd"
[ -x /lib/systemd/systemd ] || [ -n "${SANDBOX_ROOT:-}" ] || skip_all "there is no systemd here"

# All mounts are made in a namespace of our own: nothing can be left of them.
if [ -z "${SANDBOX_INSIDE:-}" ]; then
        unshare --mount --propagation private true 2> /dev/null ||
                skip_all "no mount namespaces here"
        SANDBOX_INSIDE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi

build=$(cd "${SEQNUM_BUILD:-build}" && pwd) || exit 1
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/seqnum-sandbox.$$.XXXXXX") || exit 1
root=$work/root
cgroup=
manager= # the process that waits for the sandbox
init=    # its PID 1, seen from here
passed=0
failed=0

# --- what is checked -------------------------------------------------------------

ok() {
        passed=$((passed + 1))
        echo "ok - $1"
}

not_ok() {
        failed=$((failed + 1))
        echo "NOT OK - $1"
        shift
        [ $# = 0 ] || printf '#   %s\n' "$@"
}

# is WHAT EXPECTED ACTUAL; EXPECTED is a pattern
is() {
        # shellcheck disable=SC2053 # a pattern
        if [[ $3 == $2 ]]; then ok "$1 ($3)"; else not_ok "$1" "expected '$2'" "got      '$3'"; fi
}

holds() {
        local what=$1

        shift
        if "$@"; then ok "$what"; else not_ok "$what" "$*"; fi
}

wait_for() {
        local end=$((SECONDS + $1))

        shift
        until "$@"; do
                [ $SECONDS -lt $end ] || return 1
                sleep 0.02
        done
}

# --- beginning and end -------------------------------------------------------------

kill_cgroup() {
        [ -n "$cgroup" ] && [ -d "$cgroup" ] || return 0
        echo 1 > "$cgroup/cgroup.kill" 2> /dev/null
        for _ in $(seq 50); do
                find "$cgroup" -depth -type d -exec rmdir {} + 2> /dev/null
                [ -d "$cgroup" ] || return 0
                sleep 0.05
        done
        return 1
}

power_off() {
        kill_cgroup || echo "warning: $cgroup is left"
        [ -z "$manager" ] || wait_for 10 gone
        manager=
        init=
}

clean_up() {
        local status=$?

        trap - EXIT
        power_off
        umount -R "$root" 2> /dev/null
        umount "$work/upper" 2> /dev/null
        [ -z "${mounted_cgroup:-}" ] || umount "$mounted_cgroup"
        rm -rf --one-file-system "$work"
        exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

finish() {
        if [ $failed != 0 ] && [ -n "$init" ]; then
                echo "--- journal"
                in_sandbox journalctl --no-pager -q -b | tail -n 120
        fi
        power_off
        echo "$passed passed, $failed failed"
        exit $((failed > 0))
}

# A cgroup2 hierarchy, ours or the host's, and in it a subtree of our own.
make_cgroup() {
        local top self

        top=$(findmnt -rn -t cgroup2 -o TARGET | head -n 1)
        if [ -z "$top" ]; then
                mounted_cgroup=$work/cgroup
                mkdir "$mounted_cgroup"
                mount -n -t cgroup2 cgroup2 "$mounted_cgroup" 2> /dev/null ||
                        skip_all "no cgroup2 here"
                top=$mounted_cgroup
        fi
        self=$(sed -n 's/^0:://p' /proc/self/cgroup)
        cgroup=$(mktemp -d "$top${self%/}/seqnum-sandbox.$$.XXXXXX" 2> /dev/null) ||
                skip_all "no cgroup of our own to be had"
        chmod 755 "$cgroup"
        [ -e "$cgroup/cgroup.kill" ] || skip_all "the kernel is older than 5.14"
}

# The files: an overlay, whose upper part lives until we end.
make_root() {
        mkdir "$work/upper" "$root"
        mount -n -t tmpfs -o mode=755 tmpfs "$work/upper" || skip_all "no tmpfs to be had"
        mkdir "$work/upper/files" "$work/upper/work"
        mount -n -t overlay overlay "$root" \
                -o "lowerdir=${SANDBOX_ROOT:-/},upperdir=$work/upper/files,workdir=$work/upper/work" \
                2> /dev/null || skip_all "no overlayfs here"
        # None of this host's own units, mounts and names.
        rm -rf "$root"/etc/systemd/system/* "$root"/etc/systemd/network "$root"/var/lib/seqnumd*
        rm -rf "$root"/var/log/journal "$root"/etc/seqnumd
        : > "$root/etc/fstab"
        tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
        echo sandbox > "$root/etc/hostname"
        mkdir -p "$root/etc/systemd/journald.conf.d"
        printf '[Journal]\nStorage=persistent\nSyncIntervalSec=1s\n' \
                > "$root/etc/systemd/journald.conf.d/sandbox.conf"
}

# Becomes PID 1. Written to a file, for bash has to be replaced by systemd.
write_init() {
        cat > "$work/init" << 'INIT'
set -eu
R=$1
mount() { command mount -n "$@"; }
mount --make-rprivate /
mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
mount --bind "$R/proc/sys" "$R/proc/sys"
mount -o remount,bind,ro "$R/proc/sys"
[ ! -e "$R/proc/sysrq-trigger" ] || mount --bind /dev/null "$R/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$R/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid tmpfs "$R/dev"
while read -r name major minor; do
        mknod -m 666 "$R/dev/$name" c "$major" "$minor"
done << NODES
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
console 1 3
NODES
mkdir "$R/dev/pts" "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/dev/shm"
ln -s /proc/self/fd "$R/dev/fd"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$R/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/tmp"
mkdir "$R/run/old"
cd "$R"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
mount --make-rshared /
# "container": systemd leaves kernel modules, clock and the like alone.
exec setpriv --bounding-set=-sys_rawio,-sys_module,-sys_boot,-sys_time,-syslog,-audit_control,-audit_read,-mac_admin,-mac_override,-wake_alarm,-block_suspend \
        env -i container=sandbox PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        /lib/systemd/systemd --system --unit=basic.target --show-status=no
INIT
}

has_become_systemd() {
        kill -0 "$manager" 2> /dev/null || return 0
        init=$(cat "/proc/$manager/task/$manager/children" 2> /dev/null)
        init=${init%% *}
        [[ -n $init && $(readlink "/proc/$init/exe") == */systemd ]]
}

is_up() {
        kill -0 "$manager" 2> /dev/null || return 0
        case $(in_sandbox systemctl is-system-running 2> /dev/null) in
        running | degraded) ;;
        *) return 1 ;;
        esac
}

boot() {
        make_cgroup
        write_init
        (
                echo "$BASHPID" > "$cgroup/cgroup.procs" || exit 1
                exec setpriv --pdeathsig KILL unshare --pid --mount --uts --ipc --net --cgroup \
                        --fork --kill-child bash "$work/init" "$root"
        ) < /dev/null > "$work/console" 2>&1 &
        manager=$!
        disown # or bash says so when it is killed
        if ! wait_for 20 has_become_systemd || ! wait_for 60 is_up || [ -z "$init" ] ||
                ! kill -0 "$manager" 2> /dev/null; then
                cat "$work/console"
                not_ok "systemd boots in the sandbox"
                exit 1
        fi
}

# A clean shutdown, then begin again with the files that are left.
reboot() {
        in_sandbox systemctl --no-block exit 0
        wait_for 30 gone || not_ok "the sandbox shuts down"
        power_off
        boot
}

gone() { ! kill -0 "$manager" 2> /dev/null; }

# --- inside ---------------------------------------------------------------------------

in_sandbox() { nsenter -t "$init" -m -u -i -n -p -C -r -w -- "$@" < /dev/null; }

as() {
        local user=$1

        shift
        in_sandbox setpriv --reuid "$user" --regid "$user" --init-groups "$@"
}

property() { in_sandbox systemctl show "$1" -p "$2" --value; }
journal() { in_sandbox journalctl -q --no-pager "$@"; }
