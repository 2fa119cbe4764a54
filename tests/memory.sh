#!/usr/bin/env bash
# The kernels' unsafe code under valgrind: reads and writes outside of what was allocated, and decisions on
# values that were never written; small shapes, the instruction sets that valgrind knows (up to AVX2). Then
# under AddressSanitizer, which knows all of them. Minutes: everything is compiled once more.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
command -v valgrind >/dev/null || { skip "memory errors in the kernels: no valgrind"; exit 0; }
programs=$(cargo test --release -p reference --no-run --message-format=json 2>/dev/null \
    | python3 -c 'import json, sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("executable") and m["target"]["kind"] == ["test"]:
        print(m["target"]["name"], m["executable"])')
export RAYON_NUM_THREADS=1
while read -r name program; do
    case $name in
        layers | convolution | slimming) ;;
        *) continue ;; # the others run whole trainings
    esac
    valgrind --quiet --error-exitcode=99 --max-stackframe=8000000 "$program" --test-threads=1 >/dev/null
    pass "valgrind finds nothing in $name"
done <<<"$programs"

# An unstable flag of a stable compiler, hence the first variable.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --release --quiet -p reference --target "$host" \
    --target-dir target/asan --test layers --test convolution --test executors --test slimming >/dev/null
pass "AddressSanitizer finds nothing"
