#!/bin/bash
# SPDX-License-Identifier: MIT
#
# install-peers.sh PACKAGE...: install what `make bench` compares with (Debian), and
# have none of their services started, now or at the next boot: run.sh starts
# private ones. Services that were there before stay as they are.

set -eu
[ "$(id -u)" = 0 ] || { echo "install-peers.sh: must be root" >&2; exit 77; }
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.conf
services='redis-server postgresql uuidd'
present=
for service in $services; do
        ! systemctl cat "$service.service" >/dev/null 2>&1 || present="$present $service"
done

mine=
if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        mine=1
fi
trap '[ -z "$mine" ] || rm -f $policy' EXIT
if [ ! -e $clusters ]; then
        mkdir -p "$(dirname $clusters)"
        echo 'create_main_cluster = false' >$clusters
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold "$@"
for service in $services; do
        case " $present " in
        *" $service "*) ;;
        *) systemctl disable "$service.service" "$service.socket" >/dev/null 2>&1 || true ;;
        esac
done
