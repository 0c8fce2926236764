# SPDX-License-Identifier: MIT
#
# Samples, one a line ($samples), to medians, spreads and ratios. A ratio is that of
# two samples of the same round; what is stated is the median of those, not the ratio
# of the medians.

def quantile(q): sort | .[(length - 1) * q | round];
def spread: {median: quantile(0.5), p10: quantile(0.1), p90: quantile(0.9)};
def lines: split("\n") | map(select(length > 0 and (startswith("#") | not)) | split("\t"));
def uniq: reduce .[] as $x ([]; if any(.[]; . == $x) then . else . + [$x] end);
def at: "\(.processes)\t\(.placement)\t\(.round)";

($samples | lines | map({
        group: .[0], subject: .[1], processes: (.[2] | tonumber), placement: .[3],
        than: (if .[4] == "" then null else .[4] end), round: (.[5] | tonumber),
        ns: (.[6] | tonumber)})) as $all
| ($all | map({key: "\(.subject)\t\(at)", value: .ns}) | from_entries) as $ns
| def ratios(than):
        map($ns["\(than)\t\(at)"] as $base | select($base) | .ns / $base)
        | if length > 0 then spread else null end;
  ($samples | split("\n") | map(select(startswith("#")) | split("\t") | .[1:3]) | uniq) as $order
| {
        host: $host,
        facts: ($facts | split("\n") | map(select(length > 0) | split(" ")
                | {key: .[0], value: .[1]}) | from_entries),
        rounds: ($all | map(.round) | unique | length),
        measurements: ($all | group_by([.group, .subject, .processes, .placement])
                | map(.[0] as $one | {
                        group: $one.group, subject: $one.subject, processes: $one.processes,
                        placement: $one.placement, samples: length, ns: (map(.ns) | spread),
                        than: $one.than,
                        ratio: (if $one.than then ratios($one.than) else null end)})
                | sort_by(.group as $g | .subject as $s | ([$order | index([[$g, $s]])]),
                        .placement, .processes)),
        targets: ($targets | lines | map(. as $t
                | ($all | map(select(.subject == $t[1] and .processes == ($t[3] | tonumber)
                        and .placement == $t[4]))
                        | if $t[2] != "ns" then ratios($t[2])
                          elif length > 0 then map(.ns) | spread else null end) as $ratio
                | select($ratio)
                | {point: $t[0], subject: $t[1], than: $t[2], processes: ($t[3] | tonumber),
                   placement: $t[4], at_most: ($t[5] | tonumber), $ratio,
                   reached: ($ratio.median <= ($t[5] | tonumber))}))
}
