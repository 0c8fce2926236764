#!/bin/bash
# SPDX-License-Identifier: MIT
#
# report.sh DIRECTORY: of its samples.tsv (and latency.tsv, scale.dat) make
# bench.json, bench.txt and, where gnuplot is, the plots. Needs jq.

set -eu -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
touch facts

cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
jq -n -f "$here/report.jq" \
        --rawfile samples samples.tsv --rawfile facts facts \
        --rawfile targets "$here/targets.tsv" \
        --argjson host "$(jq -n --arg cpu "${cpu:-$(uname -m)}" --argjson cpus "$(nproc)" \
                --arg kernel "$(uname -r)" --arg date "$(date -u +%Y-%m-%d)" \
                '{$cpu, $cpus, $kernel, $date}')" >bench.json
jq -r -f "$here/table.jq" bench.json | tee bench.txt
if command -v gnuplot >/dev/null; then
        "$here/plot.sh" .
else
        echo "no plots: gnuplot is not installed (make bench-deps)" >&2
fi
echo "in $PWD: bench.txt, bench.json, samples.tsv" *.svg
