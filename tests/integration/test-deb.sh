#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The Debian packages under the real systemd (sandbox.sh): installed, upgraded while
# somebody draws, removed, installed again, purged. SANDBOX_ROOT runs it in another
# root than this host's, say a clean one of mmdebstrap.
# shellcheck disable=SC2154,SC2016 # sandbox.sh sets some; some is for a shell inside

[ -z "${SEQNUM_SANITIZER:-}" ] || {
        echo "skipped: packages have the plain build"
        exit 77
}
for command in dpkg-buildpackage dh lintian; do
        command -v "$command" > /dev/null || {
                echo "skipped: there is no $command here"
                exit 77
        }
done
# shellcheck disable=SC1091 # what it sets
. "$(dirname "$0")/sandbox.sh"

# --- building -------------------------------------------------------------------------

# In a directory of our own: another test may be building too.
if ! make -C "$source_dir" deb BUILD="$work/build" > "$work/log" 2>&1; then
        not_ok "make deb, with nothing that lintian would object to" "$(tail -n 40 "$work/log")"
        exit 1
fi
ok "make deb, with nothing that lintian would object to"
debs=("$work"/build/deb/{libseqnum0,libseqnum-dev,seqnumd}_*.deb)

# The next version, which differs in its number alone.
later() {
        local deb=$1 version

        version=$(dpkg-deb -f "$deb" Version)
        rm -rf "$work/repack"
        dpkg-deb -R "$deb" "$work/repack"
        sed -i "s/^Version: .*/Version: $version+later/; s/(= $version)/(= $version+later)/" \
                "$work/repack/DEBIAN/control"
        dpkg-deb --root-owner-group -b "$work/repack" "$work/later" > /dev/null
}
mkdir "$work/later"
for deb in "${debs[@]}"; do
        later "$deb"
done

# --- a life ------------------------------------------------------------------------------

make_root
rm -f "$root/usr/sbin/policy-rc.d" # containers have one that starts nothing
mkdir -p "$root/srv/debs" "$root/srv/later" "$root/etc/sysusers.d"
cp "${debs[@]}" "$root/srv/debs/"
cp "$work"/later/*.deb "$root/srv/later/"
boot
is "not there before" inactive "$(in_sandbox systemctl is-active seqnumd)"

install_from() { in_sandbox sh -c "DEBIAN_FRONTEND=noninteractive dpkg -i /srv/$1/*.deb" > "$work/log" 2>&1; }
holds "dpkg -i" install_from debs || cat "$work/log"
is "it runs" active "$(in_sandbox systemctl is-active seqnumd)"
is "and will at the next boot" "enabled enabled" \
        "$(in_sandbox systemctl is-enabled seqnumd.service seqnumd.socket | tr '\n' ' ' | sed 's/ $//')"
in_sandbox useradd --system --user-group --groups seqnum alice
printf '[sequence watched]\n' | tee -a "$root/etc/seqnumd/seqnumd.ini" > /dev/null
in_sandbox systemctl reload seqnumd
drawn() { [ "$(as alice seqnum next watched 2> /dev/null)" = 1 ]; }
holds "a member of the group draws" wait_for 5 drawn
cat > "$root/tmp/probe.c" << 'END'
#include <seqnum.h>
int main(void) { return seqnum_strerror(0) == 0; }
END
if [ -x "$root/usr/bin/cc" ]; then
        cp "$root/tmp/probe.c" "$root/srv/probe.c"
        holds "a program is built by the -dev package" in_sandbox sh -c \
                'cc -o /srv/probe /srv/probe.c $(pkg-config --cflags --libs seqnum) && /srv/probe'
fi

install -D "$build/tests/helpers/watch-draws" "$root/usr/libexec/watch-draws"
as alice /usr/libexec/watch-draws watched > "$work/watched" 2>&1 &
watcher=$!
sleep 0.3
before=$(property seqnumd MainPID)
holds "upgrade while somebody draws" install_from later || cat "$work/log"
is "it is another process then" "active 1" \
        "$(in_sandbox systemctl is-active seqnumd) $([ "$before" != "$(property seqnumd MainPID)" ] && echo 1)"
sleep 0.2
in_sandbox pkill -TERM -f "watch-draws watched"
wait $watcher
is "no draw failed, no number was skipped" "*failed=0 skipped=0 backwards=0 *" "$(cat "$work/watched")"
last=$(sed 's/.* last=//' "$work/watched")

holds "dpkg --remove" in_sandbox sh -c 'dpkg --remove seqnumd libseqnum-dev libseqnum0 > /dev/null 2>&1'
is "it is stopped" inactive "$(in_sandbox systemctl is-active seqnumd)"
holds "its state is kept" in_sandbox test -s /var/lib/seqnumd/seqnumd.db
holds "installed again" install_from later || cat "$work/log"
is "it goes on where it was" $((last + 1)) "$(as alice seqnum next watched)"
holds "dpkg --purge" in_sandbox sh -c 'dpkg --purge seqnumd libseqnum-dev libseqnum0 > /dev/null 2>&1'
holds "then its state is gone" in_sandbox sh -c \
        '! test -e /var/lib/seqnumd && ! test -e /dev/shm/seqnumd && ! test -e /etc/seqnumd'
finish
