#!/usr/bin/env bash
# device_check.sh: what device.sh concludes from what it sees, tried with scripts in place of all programs: a minute, no
# build, no GPU. DEVICE=FILE: another device.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checks=0
pass() { checks=$((checks + 1)); echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/crumb-cuda
mkdir -p "$root"/{bin,tests,bench,nothing-to-build} "$work/path"
script() { printf '#!/usr/bin/env bash\n%s\n' "$2" >"$1"; chmod +x "$1"; } # file, text
cp "${DEVICE:-$here/device.sh}" "$root/device.sh"
cp "$here/ncu.py" "$root/"
echo "crumb of scripts" >"$root/ABOUT"
for test in cuda views full; do script "$root/tests/$test" 'echo "test result: ok. ${PASSED:-3} passed; 0 failed"'; done
script "$root/bin/bench" 'if [ -n "${PROFILE:-}" ]; then echo "1.0 3 333 adamw" >"$PROFILE"; fi'
script "$root/bin/infer" 'while [ $# -gt 1 ]; do [ "$1" = --out ] && printf "a,0\nb,1\n" >"$2"; shift; done'
printf 'submission:\n\tmkdir -p $(OUT)/photos/testing && cd $(OUT) && touch model.bin prediction.csv teacher.safetensors table.txt\n' \
    >"$root/Makefile"
echo 'import sys; print("| asked of times |", *sys.argv, "|")' >"$root/bench/torch_cuda.py"
# A GPU's tools. TOOL says how this one does.
script "$work/path/nvidia-smi" 'echo "NVIDIA of scripts, 580.00"'
script "$work/path/compute-sanitizer" 'echo "$2 with $CRUMB_CUDA" >>"$ASKED"
case ${TOOL:-} in
    slow) sleep 100 ;;
    refuses) echo "========= Error: Device not supported."; exit 101 ;;
    "$2") "${@:7:1}"; echo "========= ERROR SUMMARY: 2 errors"; exit 9 ;;
    fails) exit 101 ;;
    breaks) exit 139 ;;
    *) "${@:7}" ;;
esac'
# Two steps that warm up, with a kernel that comes in them alone, and a third.
script "$work/path/ncu" 'echo "==PROF== Connected"
echo "\"ID\",\"Kernel Name\",\"Metric Name\",\"Metric Value\""
i=0; for kernel in fill shoot adamw shoot adamw "shoot(float *)" adamw tail; do
    i=$((i + 1)); echo "\"$i\",\"$kernel\",\"gpu__time_duration.sum\",\"$((1000 * i))\""
done'
export PATH=$work/path:$PATH ASKED=$work/asked OUT=$work/out
unset WORK
rows() { grep -E '^[a-z]+ +(yes|NO|left) ' "$OUT/table.txt" || true; }
whole() { # seconds; the exit code
    local code=0
    rm -rf "$OUT" "$ASKED"
    "$root/device.sh" --budget "$1" >"$work/log" 2>&1 || code=$?
    echo $code
}
one() { # part, seconds; what it says, and its exit code
    local code=0
    rm -f "$ASKED"
    "$root/device.sh" --budget "$2" --only "$1" >"$work/log" 2>&1 || code=$?
    { grep "^$1|" "$work/log" || true; echo "exit $code"; }
}

code=$(whole 400)
[ "$code" = 0 ] || fail "nothing fails: $(cat "$work/log")"
grep -q '^sanitizer  yes   memcheck, initcheck, racecheck, synccheck$' "$OUT/table.txt" || fail "$(rows)"
pass "where nothing fails, correctness holds: $(rows | wc -l) rows"
[ "$(find "$OUT" -mindepth 1 | wc -l)" -le 8 ] || fail "more than eight files: $(ls -A "$OUT")"
sed '1,/^correctness held/d' "$OUT/table.txt" | grep -q MemTotal || fail "the facts are not in the table"
pass "$(ls "$OUT" | tr '\n' ' ')"
rows | awk '{ print $1 }' | uniq | grep -A9 full | head -2 | grep -q pipeline || fail "what decides does not come first: $(rows)"
budget=$(grep -oE -- '--budget [0-9]+' "$OUT/times.txt" | cut -d' ' -f2)
[ "$budget" = 126 ] || fail "times has 180 s and is told of $budget"
pass "times is told of less than it has"
sort -u "$ASKED" | grep -q 'memcheck with exact' || fail "$(cat "$ASKED")"
! grep -q 'initcheck with.*exact' "$ASKED" || fail "initcheck, and every buffer is filled"
pass "initcheck finds buffers as they were allocated"
grep -q '^all: 2 launches of the last of 3 steps, 13.0 µs' "$OUT/profile.txt" || fail "$(cat "$OUT/profile.txt")"
pass "$(grep -m1 '^all: ' "$OUT/profile.txt")"

[ "$(one profile 9)" = $'profile|yes|by events; no time for ncu; see profile.txt\nexit 0' ] || fail "$(cat "$work/log")"
script "$work/path/ncu" 'echo "==ERROR== LibraryNotLoaded"; exit 1'
[ "$(one profile 120)" = $'profile|yes|by events; ncu told of no launch; see profile.txt\nexit 0' ] || fail "$(cat "$work/log")"
pass "a profile by events is one, whatever ncu does"

said=$(TOOL=racecheck whole 400)
[ "$said" = 1 ] && [ "$(rows | grep -c '^sanitizer  NO    racecheck .*exit 9, ERROR SUMMARY: 2 errors')" = 3 ] || fail "exit $said: $(rows)"
grep -q '^sanitizer  yes   memcheck, initcheck, synccheck$' "$OUT/table.txt" || fail "$(rows)"
pass "what a tool finds is a NO, and the others are a yes"
said=$(TOOL=fails one sanitizer 400)
[[ $said == *'NO|memcheck cuda of_equal_values: exit 101'*'exit 1' && $said != *yes* ]] || fail "$said"
pass "so is a test that fails under it"
said=$(TOOL=slow one sanitizer 12)
[[ $said == *'left|memcheck: '*' s were too few'*'left|synccheck: no time'*'exit 0' && $said != *yes* && $said != *NO* ]] || fail "$said"
pass "runs that were stopped are neither: $(head -1 <<<"$said")"
said=$(TOOL=refuses one sanitizer 400)
[ "$said" = $'sanitizer|left|compute-sanitizer: Error: Device not supported.\nexit 0' ] || fail "$said"
pass "nor is a tool that refuses the device"
said=$(TOOL=breaks one sanitizer 400)
[[ $said == *'left|memcheck: exit 139'*'exit 0' && $said != *yes* && $said != *NO* ]] || fail "$said"
said=$(PASSED=0 one sanitizer 400)
[[ $said == *'left|memcheck: no test ran'*'exit 0' && $said != *yes* && $said != *NO* ]] || fail "$said"
pass "nor one that breaks, nor a run of no test"

script "$root/tests/full" 'sleep 100'
code=$(whole 23)
[ "$code" = 1 ] || fail "full did not end: exit $code"
said=$(rows)
[[ $said == *'full       left  stopped after '*'pipeline   left '* && $said != *NO* ]] || fail "$said"
pass "a part that was stopped is no failure, but nothing is shown: exit 1"
script "$root/tests/full" 'echo "test result: FAILED. 2 passed; 1 failed"; exit 101'
script "$root/tests/cuda" 'echo "test result: ok. 3 passed; 0 failed"'
code=$(whole 400)
[ "$code" = 1 ] && rows | grep -q '^full       NO ' && rows | grep -q '^pipeline   yes ' || fail "exit $code: $(rows)"
pass "a part that fails is one, and stops no other"
echo "$checks checks of what device.sh concludes"
