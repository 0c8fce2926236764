#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The servers of others that are installed, to be sourced by run.sh: each private,
# on a Unix socket in $dir, never on TCP, and in `servers` to be stopped at the end.
#
# libuuid asks uuidd at a path that is compiled in. run.sh therefore runs in a mount
# namespace of its own, in which that path is a directory of ours.
# shellcheck disable=SC2154 # dir, servers, made: run.sh's

# PostgreSQL refuses to be root.
as_postgres=()
[ "$(id -u)" != 0 ] || as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups)

start_redis() {
        command -v redis-server >/dev/null || return 0
        local policy
        for policy in everysec always; do
                mkdir "$dir/redis-$policy"
                redis-server --port 0 --unixsocket "$dir/redis-$policy.sock" \
                        --dir "$dir/redis-$policy" --save '' --appendonly yes \
                        --appendfsync "$policy" --daemonize no >"$dir/redis-$policy.log" 2>&1 &
                servers+=($!)
                case $policy in
                everysec) export BENCH_REDIS=$dir/redis-$policy.sock BENCH_REDIS_PID=$! ;;
                always) export BENCH_REDIS_ALWAYS=$dir/redis-$policy.sock BENCH_REDIS_ALWAYS_PID=$! ;;
                esac
                until_ready "redis-$policy" test -S "$dir/redis-$policy.sock"
        done
}

start_postgres() {
        local programs
        programs=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
        [ -n "$programs" ] || return 0
        mkdir "$dir/postgres"
        [ "$(id -u)" != 0 ] || chown postgres: "$dir/postgres"
        "${as_postgres[@]}" "$programs/initdb" -D "$dir/postgres/data" -U bench -A trust -N \
                >"$dir/postgres.log" 2>&1
        "${as_postgres[@]}" "$programs/postgres" -D "$dir/postgres/data" -c listen_addresses= \
                -c "unix_socket_directories=$dir/postgres" >>"$dir/postgres.log" 2>&1 &
        servers+=($!)
        export BENCH_POSTGRES=$dir/postgres BENCH_POSTGRES_PID=$!
        until_ready postgres psql -X -q -h "$dir/postgres" -U bench -c 'create sequence bench' postgres
}

start_uuidd() {
        local uuidd
        uuidd=$(PATH=$PATH:/usr/sbin:/sbin command -v uuidd) || return 0
        [ -n "${BENCH_OWN_MOUNTS:-}" ] || return 0
        if [ ! -d /run/uuidd ]; then
                mkdir /run/uuidd
                made+=(/run/uuidd)
        fi
        mkdir "$dir/uuidd"
        mount --bind "$dir/uuidd" /run/uuidd
        if [ -d /var/lib/libuuid ]; then
                mkdir "$dir/libuuid"
                mount --bind "$dir/libuuid" /var/lib/libuuid
        fi
        "$uuidd" --no-fork --no-pid --timeout 0 --socket /run/uuidd/request >"$dir/uuidd.log" 2>&1 &
        servers+=($!)
        export BENCH_UUIDD=/run/uuidd/request BENCH_UUIDD_PID=$!
        until_ready uuidd test -S /run/uuidd/request
}

start_peers() {
        start_redis
        start_postgres
        start_uuidd
}
