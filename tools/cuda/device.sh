#!/usr/bin/env bash
# device.sh [--budget SECONDS] [--out FOLDER] [--only PART]: everything that only a GPU can tell, on a machine that
# has one and may have nothing else: no Rust, no nvcc, no network. It runs in what pack.sh makes, on CUDA 13: driver
# 580 or later, with cuBLAS and cuRAND of 13 somewhere.
#
# Parts, in this order: facts (what the machine is; libraries), tests (correctness, small), full (correctness at full
# size), pipeline (pictures to a model file, twice: the same bytes), cudnn (the tests with convolutions by cuDNN),
# times (ours beside PyTorch's), profile (of every kernel), sanitizer. A part that fails stops no other; one for which
# too little time is left is left out and says so, as one does that is stopped. All limits together are twice the
# budget: what decides comes first, and pipeline then has 210 s at least. FOLDER (./out, or $OUT) gets eight files at
# most: a log of each, and table.txt, which is printed last, with the facts at its end. The exit code is 0 if tests,
# full and pipeline ran to their end and nothing failed that shows correctness, in cudnn and sanitizer either, else 1.
# For a try without a GPU: FULL_SIZE=40 is the side of full size's pictures; PIPELINE=tiny, TIMES=tiny the smallest;
# PATIENCE=5 gives every part five times its limit.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
budget=540 out=${OUT:-$PWD/out} only=
while [ $# -gt 0 ]; do
    case $1 in
        --budget) budget=$2 ;;
        --out) out=$2 ;;
        --only) only=$2 ;;
        *) sed -n '2,/^[^#]/s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
    shift 2 || { echo "device.sh: a value is missing" >&2; exit 2; }
done
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
bin=$root/bin
# What is of no use afterwards; what a part says, for all of them in one place.
work=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
say() { echo "$1|$2|$3" >>"$work/rows"; } # part, held or not or left open, what is to be known
has() { command -v "$1" >/dev/null; }
python=$(command -v python3 || true)

# --- libraries that the loader does not find by itself: beside the driver, in toolkits, in Python's packages
folders() {
    echo /usr/local/nvidia/lib64 /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /usr/lib/wsl/lib \
        /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/local/lib /opt/cuda/lib64
    [ -z "$python" ] || "$python" - <<'P'
import glob, site, sys
places = {*sys.path, *site.getsitepackages(), site.getusersitepackages()}
print(*(f for p in sorted(places) if p for f in [*glob.glob(p + "/nvidia/*/lib"), *glob.glob(p + "/torch/lib")]))
P
}
missing() { ldd "${@:-$bin/bench}" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u; }
find_libraries() {
    local library folder all programs=("$bin/bench" "$root"/cudnn/bench)
    [ -n "$(missing "${programs[@]}")" ] || return 0
    all=$(folders)
    # One that is found may need another.
    for _ in 1 2 3; do
        for library in $(missing "${programs[@]}"); do
            for folder in $all; do
                if [ -e "$folder/$library" ]; then
                    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
                    break
                fi
            done
        done
    done
}

facts() {
    date -u; uname -srm; nproc; grep -m1 'model name' /proc/cpuinfo; grep MemTotal /proc/meminfo
    cat "$root/ABOUT" 2>/dev/null
    if has nvidia-smi; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current --format=csv
        nvidia-smi | head -20
    else
        echo "no nvidia-smi"
    fi
    for tool in nvcc ncu nsys compute-sanitizer make cc; do echo "$tool: $(command -v $tool || echo none)"; done
    [ -z "$python" ] || "$python" -c 'import torch; print("torch", torch.__version__, torch.version.cuda, torch.backends.cudnn.version())'
    echo "LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
    ldd "$bin/bench" | sed 's/^/  /'
    local gone; gone=$(missing | tr '\n' ' ')
    if [ -n "$gone" ]; then say facts NO "libraries that are nowhere: $gone"; return 1; fi
    say facts yes "$( (nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi') | head -1)"
}

# Runs a test program; its row says how many passed.
tested() { # part, program, arguments
    local part=$1 name began=$SECONDS log counts; name=$(basename "$2")
    log=$(mktemp)
    "${@:2}" --test-threads=1 --nocapture >"$log" 2>&1
    local code=$?
    cat "$log"
    counts=$(grep -oE '[0-9]+ passed; [0-9]+ failed' "$log" | tail -1)
    local failed; failed=$(grep -oE '^test [a-z_0-9:]+ \.\.\. FAILED|^    [a-z_0-9:]+$' "$log" | sort -u | head -3 | tr '\n' ' ')
    rm -f "$log"
    if [ $code = 0 ]; then say "$part" yes "$name: $counts, $((SECONDS - began)) s"
    else say "$part" NO "$name: exit $code, ${counts:-no test ended} $failed"; return 1; fi
}
tests() {
    local bad=0 test
    for test in "$root"/tests/*; do
        [ "$(basename "$test")" = full ] || tested tests "$test" || bad=1
    done
    return $bad
}
# The same with convolutions by cuDNN, full size included.
cudnn() {
    if [ ! -e "$root/cudnn/bench" ]; then say cudnn left 'not packed'; return 0; fi
    local gone bad=0 test; gone=$(missing "$root/cudnn/bench" | tr '\n' ' ')
    if [ -n "$gone" ]; then say cudnn left "libraries that are nowhere: $gone"; return 0; fi
    for test in "$root"/cudnn/tests/*; do FULL_SIZE=${FULL_SIZE:-128} tested cudnn "$test" || bad=1; done
    return $bad
}
full() { FULL_SIZE=${FULL_SIZE:-128} tested full "$root/tests/full"; }

times() {
    local few=() cudnn=()
    [ ! -e "$root/cudnn/bench" ] || [ -n "$(missing "$root/cudnn/bench")" ] || cudnn=(--cudnn "$root/cudnn/bench")
    [ "${TIMES:-}" != tiny ] || few=(--rounds 1 --steps 1 --cases 1)
    if [ -n "$python" ]; then
        # The last case begins before 80 % of that, and is to end.
        (cd "$root/bench" && "$python" torch_cuda.py --bench "$bin/bench" --budget $(($1 * 7 / 10)) "${cudnn[@]}" "${few[@]}") || { say times NO "see times.txt"; return 1; }
    else
        echo "no python3: our steps alone, 64 px, batch 32"
        "$bin/bench" --device cuda --arch studentnet --width 2 --mode train && "$bin/bench" --device cuda --arch resnet18 --mode train \
            || { say times NO "see times.txt"; return 1; }
    fi
    say times yes "see times.txt"
}

# Every kernel of training steps: by events; and, where ncu is, its counters.
profile() {
    local nets=('--arch studentnet --width 2' '--arch resnet18') net flags bad=0 limit counters='; no ncu' more
    [ "${TIMES:-}" != tiny ] || nets=('--arch studentnet --width 0.3 --size 16 --batch 2')
    export CRUMB_CUDA=no-graph
    for net in "${nets[@]}"; do
        read -ra flags <<<"$net --mode train --device cuda"
        echo "== $net: by events, of all steps, those that warm up among them; short kernels may read too long (profile.c)"
        LD_PRELOAD=$root/profile.so${EVENTS:+:$EVENTS} PROFILE=$work/events "$bin/bench" "${flags[@]}" --steps 10 && [ -s "$work/events" ] || bad=1
        cat "$work/events"; rm -f "$work/events"
    done
    if has ncu; then
        counters=' and ncu' more=${#nets[@]}
        for net in "${nets[@]}"; do
            read -ra flags <<<"$net --mode train --device cuda"
            limit=$((($1 - SECONDS - 5) / more)) more=$((more - 1))
            [ $limit -le 50 ] || limit=50
            if [ $limit -lt 5 ]; then counters="; no time for ncu"; break; fi
            echo "== $net: ncu, at most $limit s"
            # Two steps that warm up and one: ncu.py tells of the last.
            timeout -k 3 "$limit" ncu --clock-control none --csv --print-units base --metrics \
                gpu__time_duration.sum,dram__bytes_read.sum,dram__bytes_write.sum,sm__warps_active.avg.pct_of_peak_sustained_active,launch__registers_per_thread,sm__throughput.avg.pct_of_peak_sustained_elapsed \
                "$bin/bench" "${flags[@]}" --steps 1 >"$work/ncu" 2>&1
            echo "ncu: exit $?"
            if [ -z "$python" ]; then head -c 2000000 "$work/ncu"
            elif ! "$python" "$root/ncu.py" "$work/ncu"; then tail -5 "$work/ncu"; counters='; ncu told of no launch'; fi
        done
    fi
    if [ $bad = 0 ]; then say profile yes "by events$counters; see profile.txt"; else say profile NO "see profile.txt"; return 1; fi
}

# The pipeline twice, and the same answers from cpu and cuda.
pipeline() {
    local flags=() run began make
    make=$(command -v make || echo "$bin/make")
    if [ "${PIPELINE:-}" = tiny ]; then
        flags=(PREPARE='--size 16' TEACHER='--arch resnet18 --width 0.1 --epochs 1 --seed 1' LOGITS='--augment flip --views 1'
            STUDENT='--arch studentnet --width 0.3 --epochs 1 --seed 3' PRUNE_STEPS=1 TUNE='--epochs 1 --seed 4' QUANTIZE='--bits 8')
    fi
    cd "$root" || return 1
    for run in 1 2; do
        began=$SECONDS
        # What is built is here: cargo has nothing to do.
        PATH=$root/nothing-to-build:$PATH "$make" --no-print-directory submission RECIPE=smoke DEVICE=cuda BIN="$bin" OUT="$work/run$run" \
            "${flags[@]}" || { say pipeline NO "make submission failed; see pipeline.txt"; return 1; }
        echo "run $run: $((SECONDS - began)) s"
    done
    for file in model.bin prediction.csv teacher.safetensors; do
        cmp "$work/run1/$file" "$work/run2/$file" || { say pipeline NO "$file differs between two runs"; return 1; }
    done
    for device in cpu cuda; do
        "$bin/infer" predict --model "$work/run1/model.bin" --photos "$work/run1/photos/testing" --device $device --out "$work/$device.csv" >/dev/null \
            || { say pipeline NO "infer predict --device $device failed"; return 1; }
    done
    local all off
    all=$(wc -l <"$work/cpu.csv")
    off=$(diff "$work/cpu.csv" "$work/cuda.csv" | grep -c '^<')
    # Of two classes that are as likely either may win; of a hundred pictures that is one at most.
    if [ $((100 * off)) -gt "$all" ]; then say pipeline NO "$off of $all answers differ between cpu and cuda"; return 1; fi
    say pipeline yes "two runs, the same bytes, $((SECONDS - began)) s each; $off of $all answers differ between cpu and cuda"
    cat "$work/run1/table.txt"
}

# A tool has found something where it exits with 9, or 101 with a test that fails under it. All else tells of nothing: time
# that was up, a tool that does not run here.
sanitizer() {
    if ! has compute-sanitizer; then echo "no compute-sanitizer"; say sanitizer left 'no compute-sanitizer here'; return 0; fi
    local tool program code limit asked why ended='' bad=0 log=$work/sanitizer
    for tool in memcheck initcheck racecheck synccheck; do
        why=
        # Kernel by kernel. Buffers of just the size that was asked for, so that a step beyond one is seen; but they are
        # filled then, and to initcheck all of them would be initialized.
        asked=exact,no-graph
        [ $tool != initcheck ] || asked=no-graph
        for program in "cuda of_equal_values" "cuda steps_repeat" "views views"; do
            limit=$(($1 - SECONDS - 5))
            [ $limit -le 60 ] || limit=60
            if [ $limit -lt 5 ]; then why=${why:-no time for $program}; break; fi
            read -ra program <<<"$program"
            CRUMB_CUDA=$asked timeout -k 3 "$limit" compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 20 \
                "$root/tests/${program[0]}" "${program[1]}" --test-threads=1 2>&1 | tee "$log"
            code=${PIPESTATUS[0]}
            if grep -iqE 'device not supported|not supported on this' "$log"; then
                say sanitizer left "compute-sanitizer: $(grep -im1 'not supported' "$log" | sed 's/^=* *//')"; return $bad
            fi
            echo "$tool ${program[*]}: exit $code"
            case $code in
                0) grep -qE ' [1-9][0-9]* passed' "$log" || why="no test ran of ${program[*]}" ;;
                9 | 101) bad=1 why=found; say sanitizer NO "$tool ${program[*]}: exit $code, $(grep -m1 -o 'ERROR SUMMARY.*\|RACECHECK SUMMARY.*' "$log")" ;;
                124 | 137) why="$limit s were too few for ${program[*]}" ;;
                *) why="exit $code of ${program[*]}" ;;
            esac
        done
        case $why in '') ended=${ended:+$ended, }$tool ;; found) ;; *) say sanitizer left "$tool: $why" ;; esac
    done
    [ -z "$ended" ] || say sanitizer yes "$ended"
    return $bad
}

find_libraries
if [ -n "$only" ]; then
    "$only" "$budget"
    code=$?
    [ -n "${WORK:-}" ] || cat "$work/rows"
    exit $code
fi

# --- all of them: each in a process of its own, with a limit
rm -f "$out"/*.txt
export WORK=$work
held=0
part() { # name, seconds that it must have, seconds it gets at most
    local began=$SECONDS left=$((budget - SECONDS)) limit=$(($3 * ${PATIENCE:-1})) code log=$out/$1.txt
    [ "$1" != facts ] || log=$out/table.txt
    [ $left -ge "$2" ] || { say "$1" left "$left s of $budget were left, too few"; return 1; }
    [ $limit -le $left ] || limit=$left
    echo "$1 …" >&2
    timeout -k 5 "$limit" bash "$root/device.sh" --out "$out" --only "$1" --budget "$limit" >"$log" 2>&1
    code=$?
    # 137 is that of one that did not heed its first signal, or of one that had no memory left.
    if [ $code = 124 ] || { [ $code = 137 ] && [ $((SECONDS - began)) -ge "$limit" ]; }; then say "$1" left "stopped after $limit s"
    elif [ $code != 0 ]; then grep -q "^$1|NO" "$work/rows" || say "$1" NO "exit $code; see $(basename "$log")"; fi
    return $code
}
must() { part "$@" || held=1; }                                  # is to be shown
may() { part "$@"; ! grep -q "^$1|NO" "$work/rows" || held=1; } # is not to be refuted
if part facts 5 30; then
    must tests 10 180
    must full 20 120
    # Two runs.
    must pipeline 150 240
    may cudnn 20 120
    [ -e "$root/cudnn/bench" ] || rm -f "$out/cudnn.txt"
    part times 30 180
    part profile 30 120
    may sanitizer 60 240
else
    held=1
fi
facts=$(cat "$out/table.txt")
{
    echo "device.sh: $(cat "$root/ABOUT" 2>/dev/null), $SECONDS s of $budget"
    awk -F'|' '{ printf "%-10s %-5s %s\n", $1, $2, $3 }' "$work/rows"
    [ $held = 0 ] && echo "correctness held" || echo "correctness did NOT hold, or was not shown"
} | tee "$out/table.txt"
printf '\n%s\n' "$facts" >>"$out/table.txt"
grep -hE '^\|' "$out/times.txt" 2>/dev/null
exit $held
