#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `make aarch64`: builds everything for aarch64 and runs the unit tests under
# qemu-user, where loads and stores may be in another order than on x86-64 and a
# fetch_add is one instruction or a loop:
#
#   llsc      load-exclusive/store-exclusive loops (armv8-a), on a CPU without LSE
#   lse       one instruction, ldaddal (armv8.1-a)
#   outline   either, chosen at run time as Debian's compiler does, on both CPUs
#
# Needs gcc-aarch64-linux-gnu and qemu-user-static (make aarch64-deps). Libraries for
# arm64 are downloaded from the archives that apt knows and unpacked below $BUILD:
# nothing is installed, and dpkg's and apt's own state are left alone.
#
# What qemu does is as strict as its host: that it passes shows that code and layout
# are right there, not that the orders are weak enough to be wrong.

set -eu
build=$(mkdir -p "${BUILD:-build}/aarch64" && cd "${BUILD:-build}/aarch64" && pwd)
triplet=aarch64-linux-gnu
root=$build/root
packages='libc6-dev libsystemd-dev libinih-dev libsqlite3-dev libjansson-dev libcmocka-dev uthash-dev'

for tool in $triplet-gcc qemu-aarch64-static dpkg-deb apt-get; do
        command -v "$tool" >/dev/null || {
                echo "aarch64.sh: $tool is not installed (make aarch64-deps)" >&2
                exit 77
        }
done

# apt with a state of its own, of an arm64 host on which nothing is installed.
foreign_apt() {
        apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
                -o Dir::State="$build/apt/state" -o Dir::State::status="$build/apt/status" \
                -o Dir::Cache="$build/apt/cache" -o APT::Sandbox::User=root \
                -o Debug::NoLocking=1 "$@"
}

fill_root() {
        mkdir -p "$build/apt/state/lists/partial" "$build/apt/cache/archives/partial"
        : >"$build/apt/status"
        foreign_apt update
        # shellcheck disable=SC2086 # several
        foreign_apt install -y --no-install-recommends --download-only $packages
        mkdir -p "$root.new"
        for package in "$build"/apt/cache/archives/*.deb; do
                dpkg-deb -x "$package" "$root.new"
        done
        mv "$root.new" "$root"
        rm -rf "$build/apt"
}

# build_as NAME FLAGS
build_as() {
        make -s -j"$(nproc)" BUILD="$build/$1" CC="$triplet-gcc --sysroot=$root" \
                AR=$triplet-ar CFLAGS="-O2 -g $2" cross-tests
}

# Which instruction is the claim?
claims_by() {
        $triplet-objdump -d --no-show-raw-insn --disassemble=seqnum_next \
                "$build/$1/libseqnum.so" | grep -c "$2" >/dev/null
}

# run_on CPU NAME
run_on() {
        local test failed=0
        for test in "$build/$2"/tests/unit/test-*; do
                [[ $test != *.[od] && -x $test ]] || continue
                if timeout 600 qemu-aarch64-static -cpu "$1" -L "$root" -E SEQNUM_BUILD="$build/$2" \
                        "$test" >"$build/output" 2>&1; then
                        printf '%-8s %-12s %-24s ok\n' "$2" "$1" "${test##*/}"
                        passed=$((passed + 1))
                else
                        printf '%-8s %-12s %-24s FAILED\n' "$2" "$1" "${test##*/}"
                        sed 's/^/    | /' "$build/output"
                        failed=1
                fi
        done
        [ $failed = 0 ] || all_passed=
}

export PKG_CONFIG_LIBDIR=$root/usr/lib/$triplet/pkgconfig:$root/usr/share/pkgconfig
export PKG_CONFIG_SYSROOT_DIR=$root
[ -d "$root" ] || fill_root
all_passed=1
passed=0

build_as llsc '-march=armv8-a -mno-outline-atomics'
claims_by llsc ldaxr
run_on cortex-a57 llsc
build_as lse '-march=armv8.1-a'
claims_by lse ldaddal
run_on max lse
build_as outline '-march=armv8-a -moutline-atomics'
claims_by outline __aarch64_ldadd8_acq_rel
run_on cortex-a57 outline
run_on max outline

echo "$passed passed"
[ -n "$all_passed" ]
