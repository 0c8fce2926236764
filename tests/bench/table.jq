# SPDX-License-Identifier: MIT
#
# bench.json as a table for people: medians with ratios, then each case with its
# spread, then what was to be reached.

def digits(n): pow(10; n) as $p | (. * $p | round) as $i | ($i / $p | floor | tostring)
        + if n > 0 then "." + ("000\($i % $p)")[-n:] else "" end;
def number: if . == null then "-" elif . < 0.0995 then digits(3) elif . < 9.995 then digits(2)
        elif . < 99.95 then digits(1) else digits(0) end;
def time: if . < 9999 then number elif . < 9999000 then (. / 1000 | number) + " us"
        else (. / 1000000 | number) + " ms" end;
def right(n): " " * (n - length) + .;
def left(n): . + (" " * (n - length) // "");
def uniq: reduce .[] as $x ([]; if any(.[]; . == $x) then . else . + [$x] end);
def heading: "  " + .subject + (if .placement == "scheduler" then ", unpinned" else "" end);
def cell: (.ns.median | time | right(9)) + (if .ratio then " x" + (.ratio.median | number) else "" end | left(8));

.measurements as $m
| "\(.host.cpu), \(.host.cpus) CPUs, Linux \(.host.kernel)",
"\(.rounds) interleaved rounds, \(.host.date). Medians: what a number costs a CPU, in ns unless",
"stated; behind x its ratio, in the same round, to the first line of the group.",
"",
(($m | map(.group) | uniq)[] as $group
| ($m | map(select(.group == $group))) as $rows
| ($rows | map(.processes) | unique) as $columns
| ($rows | map(heading | length + 2) + [36] | max) as $width
| (($group | left($width)) + ($columns | map("\(.) process\(if . > 1 then "es" else "" end)" | right(12) | left(17)) | add)
        | sub(" +$"; "")),
  (($rows | map({subject, placement}) | uniq)[] as $s
        | ($s | heading | left($width))
        + ($columns | map(. as $p | $rows | map(select(.subject == $s.subject
                and .placement == $s.placement and .processes == $p))
                | if length > 0 then .[0] | cell else "" end | left(17)) | add)
        | sub(" +$"; "")),
  ""),
"each case: median, tenth and ninetieth percentile" ,
($m[] | ("  " + .subject | left(34)) + ("\(.processes) \(.placement)" | left(12))
        + (.ns | [.median, .p10, .p90] | map(time | right(10)) | add)
        + (if .ratio then "   x" + (.ratio | [.median, .p10, .p90] | map(number | right(7)) | add) else "" end)),
"",
"to be reached",
(.targets[] | "  " + (if .reached then "yes" else "NO " end)
        + "  \(.subject)\(if .than == "ns" then ", ns" else " / " + .than end), \(.processes) \(.placement): \(.ratio.median | number)"
        + " (\(.ratio.p10 | number) to \(.ratio.p90 | number)), at most \(.at_most)"),
"",
(.facts | to_entries | map("\(.key) \(.value)") | join(", "))
