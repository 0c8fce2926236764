#!/bin/bash
# SPDX-License-Identifier: MIT
#
# plot.sh DIRECTORY: of its bench.json, latency.tsv and scale.dat (what there is of
# them) make processes.svg, latency.svg and scale.svg, for the README. Each has a
# background of its own, so that it is legible wherever it is shown.

set -eu
cd "$1"
look='set terminal svg size 860,400 font "sans-serif,13" noenhanced background "#ffffff" linewidth 1.5
set border 3 linecolor "#555555"
set tics nomirror
set grid linecolor "#dddddd"
set key outside right top vertical Left reverse samplen 1.5 spacing 1.2
set linetype 1 linecolor "#888888" pointtype 7 pointsize 0.6
set linetype 2 linecolor "#0b6fb8" pointtype 7 pointsize 0.6
set linetype 3 linecolor "#1a9850" pointtype 7 pointsize 0.6
set linetype 4 linecolor "#c2570c" pointtype 7 pointsize 0.6
set linetype 5 linecolor "#7b3fa0" pointtype 7 pointsize 0.6
set linetype 6 linecolor "#b8860b" pointtype 7 pointsize 0.6
set linetype 7 linecolor "#c51b7d" pointtype 7 pointsize 0.6
set linetype 8 linecolor "#00868b" pointtype 7 pointsize 0.6
set linetype 9 linecolor "#000000" pointtype 7 pointsize 0.6
set linetype cycle 9'

# blocks FILE: lines "subject TAB x TAB y ..." as gnuplot's blocks, titles in front
blocks() {
        awk -F'\t' '
                !seen[$1]++ { order[++n] = $1 }
                { title = $1; sub(/^[^\t]*\t/, ""); lines[title] = lines[title] $0 "\n" }
                END { for (i = 1; i <= n; i++) printf "\"%s\"\n%s\n\n", order[i], lines[order[i]] }
        ' "$1" >"$1.blocks"
}

# curves FILE STYLE: the plot command for all blocks
curves() {
        blocks "$1"
        echo "plot for [i=0:$(($(cut -f1 "$1" | sort -u | wc -l) - 1))] '$1.blocks' index i using 1:2$2 title columnheader(1)"
}

jq -r '.measurements[] | select(.group == "draw" and .placement == "pinned")
        | [.subject, .processes, .ns.median, .ns.p10, .ns.p90] | @tsv' bench.json >processes.dat
if [ -s processes.dat ]; then
        gnuplot <<END
$look
set output "processes.svg"
set title "what a number costs a CPU, by processes drawing at once (median; bars p10 to p90)"
set logscale xy 2
set logscale y 10
set xtics (1, 2, 4, 8)
set xrange [0.9:8.9]
set xlabel "processes"
set ylabel "ns a number"
$(curves processes.dat ':3:4 with yerrorlines')
END
fi

# As many points as can be seen.
if [ -s latency.tsv ]; then
        awk -F'\t' '$1 != last || $3 < 0.96 * fraction { print; last = $1; fraction = $3 }' \
                latency.tsv >latency.dat
        gnuplot <<END
$look
set output "latency.svg"
set title "how many draws take longer than that; each timed alone"
set logscale xy
set format y "%.0e"
set format x "%.0s%c"
set xrange [10:1e8]
set xlabel "ns"
set ylabel "fraction of draws"
set yrange [1e-7:1]
$(curves latency.dat ' with steps')
END
fi

if [ -s scale.dat ]; then
        gnuplot <<END
$look
set output "scale.svg"
set multiplot layout 1,2
set key inside left top
set logscale xy
set format x "%.0s%c"
set format y "%.0s %cB"
set xlabel "sequences"
set yrange [1e5:1e11]
set title "memory"
plot "scale.dat" using 1:6 with linespoints linetype 2 title "daemon", \
     "scale.dat" using 1:7 with linespoints linetype 4 title "segment"
set format y "%.0s %cs"
set yrange [1e-9:1e3]
set title "time"
plot "scale.dat" using 1:5 with linespoints linetype 5 title "restart", \
     "scale.dat" using 1:(\$3/1e6) with linespoints linetype 3 title "open a name", \
     "scale.dat" using 1:(\$4/1e9) with linespoints linetype 2 title "draw a number"
unset multiplot
END
fi
