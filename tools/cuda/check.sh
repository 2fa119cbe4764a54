#!/usr/bin/env bash
# Everything about CUDA that can be checked without a GPU, with no downloads but crates: lints, the kernels
# as C++ behind a stand-in driver against the CPU engine, in both orders of threads; planted bugs that must be
# found; a small submission from end to end. Ends with a line of counts.
#   tools/cuda/check.sh            the stand-in nvcc, which compiles nothing
#   REAL_NVCC=… tools/cuda/check.sh   the same, and every kernel by that nvcc, its registers and spills
#   BUGS=all tools/cuda/check.sh      the same, three times as many planted bugs, and every test in every mode, which takes half an
#                                     hour more
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/tools/cuda target=$PWD/target/cuda
kernels=common/cuda/src
shopt -s globstar # kernels lie beside what launches them, in folders below
checks=0
pass() { checks=$((checks + 1)); echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
trap 'rm -rf "${work:-}"' EXIT
work=$(mktemp -d)

# --- a toolkit that has what builds ask for: nvcc's version, and libraries to link with
export PATH=$here/bin:$PATH CUDA_COMPUTE_CAP=80 CUDA_HOME=$target/home CARGO_TARGET_DIR=$target
cargo fetch --locked --quiet
mkdir -p "$CUDA_HOME/lib"
"$here/link_stubs.sh" "$CUDA_HOME/lib/stubs"
# Nothing that is called is in the run-time library, but candle's build links with it.
echo 'int cudaStub(void) { return 35; }' | cc -shared -fPIC -x c - -Wl,-soname,libcudart.so.13 \
    -o "$CUDA_HOME/lib/stubs/libcudart.so.13"
ln -sf libcudart.so.13 "$CUDA_HOME/lib/stubs/libcudart.so"
"$here/driver/build.sh" "$target/driver" $kernels/**/*.cu
export LD_LIBRARY_PATH=$target/driver:$CUDA_HOME/lib/stubs
export STAND_IN=1 # its products are rounded as it says, so that tests may be strict

if [ -n "${REAL_NVCC:-}" ]; then
    # Those of common/cuda/build.rs that this nvcc knows.
    generations=$(for g in 75 80 86 89 90 100 120; do "$REAL_NVCC" --list-gpu-code | grep -qx "sm_$g" && echo $g || true; done)
    for kernel in $kernels/**/*.cu; do
        as=; case $kernel in */render.cu) as=-fmad=false ;; esac
        for generation in $generations; do
            "$REAL_NVCC" -std=c++17 -O3 $as -arch=sm_$generation -cubin -Xptxas -v -o "$work/cubin" "$kernel" 2>>"$work/ptxas" \
                || fail "nvcc: $(tail -5 "$work/ptxas")"
        done
    done
    most=$(grep -oE 'Used [0-9]+ registers' "$work/ptxas" | grep -oE '[0-9]+' | sort -n | tail -1)
    spills=$(grep 'spill stores' "$work/ptxas" | grep -vc '0 bytes spill stores, 0 bytes spill loads' || true)
    pass "$("$REAL_NVCC" --version | grep -o 'release [^,]*'): $(grep -c 'Compiling entry' "$work/ptxas") kernels for generations" $generations, \
        "$most registers at most, $spills that spill"
fi

cargo clippy --release --locked --workspace --exclude typeset --all-targets --features common/cuda -- -D warnings
pass "clippy with CUDA"

# --- the executor against the CPU engine, candle in f64 and PyTorch's numbers
cargo test --release --locked -p cuda --features cuda/cuda --test cuda -- --nocapture
pass "the executor on the stand-in driver, threads in ascending order"
EMU_ORDER=descending cargo test --release --locked -p cuda --features cuda/cuda --test cuda
pass "the same, threads in descending order"
cargo test --release --locked -p common --features common/cuda --test operations -- --nocapture
pass "every operation on --device cuda against f64"
cargo test --release --locked -p common --features common/cuda --test networks
pass "PyTorch's numbers on --device cuda"
cargo test --release --locked -p cuda --features cuda/cuda --lib --test dense -- --nocapture
pass "dense convolutions in f32, tf32 and bf16"
cargo test --release --locked -p cuda --features cuda/cuda --test views -- --nocapture
pass "views rendered on the device"
cargo test --release --locked -p cuda --features cuda/cuda --test device -- --nocapture
pass "graphs, transfers, failures, what opening a device costs"

# --- bugs, one at a time, in copies of the kernels: the tests must see each
program() { # package, test, feature
    cargo test --release --locked -p "$1" --features "$1/${3:-cuda}" --test "$2" --no-run --message-format=json 2>/dev/null \
        | TEST=$2 python3 -c 'import json, os, sys; print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("target", {}).get("name") == os.environ["TEST"] and m.get("executable")][-1])'
}
operations=$(program common operations)
engine=$(program cuda cuda)
dense=$(program cuda dense)
views=$(program cuda views)
device=$(program cuda device)
# As a GPU has it and a CPU has not: work that waits in its stream until somebody synchronizes, and memory pools; then
# buffers of the very size that was asked for, full of NaN.
for mode in "EMU_LAZY=1 EMU_POOLS=1" "EMU_LAZY=1 CRUMB_CUDA=exact"; do
    for test in "$engine" "$dense" "$views" "$device"; do
        # Of the executor's tests, a minute in all, those of single kernels.
        some=()
        if [ "$test" = "$engine" ] && [ "${BUGS:-}" != all ]; then some=(kernels::); fi
        env $mode "$test" "${some[@]}" >"$work/log" 2>&1 || fail "$mode: $(tail -20 "$work/log")"
    done
    pass "the same under $mode"
done
# A bug is found by a test that has run, not by a driver that does not load or a program that is not there.
has_run() { grep -qE '^running [0-9]+ tests?$' "$work/log" || fail "$1: no test has run: $(tail -5 "$work/log")"; }
# The test that failed; what was said last where a program ended before it could say so.
by_what() { grep -m1 -oE 'test [a-z_0-9:]+ \.\.\. FAILED' "$work/log" || tail -1 "$work/log"; }
# Whether a test program fails, told at the first failure: the others would go on for a minute.
finds() {
    "$1" >"$work/log" 2>&1 &
    local pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if grep -q '\.\.\. FAILED' "$work/log"; then
            kill "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
            return 0
        fi
        sleep 0.1
    done
    ! wait "$pid" 2>/dev/null
}
# The first bug in every file of kernels is planted always, the others with BUGS=all: each takes from seconds to a minute.
left=0
planted() { # file, what, from, to; without: no bug, which must not be found
    if [ $# -gt 0 ] && [ "${BUGS:-}" != all ]; then
        case " ${seen:-} " in *" $1 "*) left=$((left + 1)); return;; esac
        seen="${seen:-} $1"
    fi
    rm -rf "$work/kernels" && cp -r $kernels "$work/kernels"
    [ $# -eq 0 ] || FROM=$3 TO=$4 python3 - "$work/kernels/$1" <<'P'
import os, sys
text = open(sys.argv[1]).read()
assert text.count(os.environ["FROM"]) >= 1, f"{os.environ['FROM']!r} is not in {sys.argv[1]}"
open(sys.argv[1], "w").write(text.replace(os.environ["FROM"], os.environ["TO"], 1))
P
    EMU_CACHE=$target/driver/made "$here/driver/build.sh" "$work/driver" "$work"/kernels/**/*.cu
    local tests=("$engine" "$operations" "$dense") test
    if [ $# -eq 0 ]; then
        for test in "$dense" "$views"; do
            LD_LIBRARY_PATH=$work/driver:$CUDA_HOME/lib/stubs "$test" >"$work/log" 2>&1 || fail "no bug, and found: $(tail -5 "$work/log")"
        done
        pass "nothing is found in a copy without a bug"
        return
    fi
    case $1 in
        render.cu) tests=("$views") ;;
        op/dense.cu) tests=("$dense" "$operations" "$engine") ;;
    esac
    for test in "${tests[@]}" not-found; do
        [ "$test" != not-found ] || fail "not found: $2"
        # A race shows in one order of threads or the other.
        for order in ascending descending; do
            LD_LIBRARY_PATH=$work/driver:$CUDA_HOME/lib/stubs EMU_ORDER=$order finds "$test" && break 2
        done
    done
    has_run "$2"
    pass "found: $2 ($(by_what))"
}
planted
planted op/dense.cu "a bound that is one too far" "xx < s.w) values" "xx <= s.w) values"
planted op/dense.cu "a tap that is turned round backwards" "(row * k + ky) * k + kx" "(row * k + kx) * k + ky"
planted op/dense.cu "a bias that begins with every four channels" "bias + ch * V" "bias + ch"
planted op/dense.cu "pairs of bf16 turned round" "bf16(x.v[0]) | bf16(x.v[1]) << 16" "bf16(x.v[1]) | bf16(x.v[0]) << 16"
planted op/dense.cu "taps of any window turned round" "s.by_k, &kx), s.by_k, &ky" "s.by_k, &ky), s.by_k, &kx"
planted op/dense.cu "bf16 that is cut, not rounded" "bits + 0x7fffu + ((bits >> 16) & 1u)" "bits"
planted op/grouped.cu "a column of the margin that is read" "if (ix < s.w) v = load<V>(line + ix * s.c);" "v = load<V>(line + ix * s.c);"
planted op/grouped.cu "a block that goes beyond its tiles" "end < t.count ? end : t.count" "end"
planted op/grouped.cu "a tile of four on lines of fewer" "if (q * 4 + o >= s.ow) break;" ""
planted op/grouped.cu "mirrored taps that are not" "turned ? K * K - 1 - tap : tap" "tap"
planted op/grouped.cu "a stride whose odd pixels are taken for even" "const bool odd = from & 1;" "const bool odd = false;"
planted op/grouped.cu "taps that are read before they are there" "weight[first * K * K + q];
  }
  __syncthreads();" "weight[first * K * K + q];
  }"
planted op/grouped.cu "statistics about a pivot that is not the block's" "m.sum[0][j] = fmaf(n, delta, s);" "m.sum[0][j] = s;"
planted op/batch_norm.cu "a variance without its second term" "delta * (s + s + n * delta)" "delta * (s + s)"
planted index.cuh "a mask that forgets the lower bound" "v > lo && v < hi ? grad" "v < hi ? grad"
planted op/batch_norm.cu "a stored mean without the bias before it" "m + (bias ? bias[i] : 0.f) - running" "m - running"
planted op/batch_norm.cu "a bias with no gradient where it has one" "inverse > 0.f ? 0.f : scale[i] * g" "0.f"
planted op/max_pool.cu "a maximum that goes to the last of equals" "!(v > best.v[j])" "!(v >= best.v[j])"
planted op/mul.cu "a gate of the picture before" "(b * by_gate.d + factor)" "factor"
planted op/blur.cu "a border that is repeated, not mirrored" "2 * ((int)n - 1) - i" "(int)n - 1"
planted index.cuh "a clamp that hides what is no number" "v < lo ? lo : v > hi ? hi : v" "fminf(fmaxf(v, lo), hi)"
planted slide.cuh "a multiplier that is used before its shift" "__umulhi(n + n, by.m) >> by.s" "__umulhi(n, by.m) >> by.s"
planted slide.cuh "a stride that is not asked for" "from & 1 ? positions : from >> 1" "from >> 1"
planted sums.cuh "a shuffle of half a warp" "for (u32 step = 16; step >> cut.log; step /= 2)" "for (u32 step = 8; step >> cut.log; step /= 2)"
planted sums.cuh "a shuffle that joins other columns" "step >> cut.log; step /= 2" "step; step /= 2"
planted sums.cuh "a tree that does not wait for its warps" "warps[threadIdx.x / 32][m][lane * V + j] = sum[m][j];
  __syncthreads();" "warps[threadIdx.x / 32][m][lane * V + j] = sum[m][j];"
planted sums.cuh "a tree that writes what the one before it still reads" "  __syncthreads(); // of what an earlier tree left nobody is still reading
" ""
planted sums.cuh "a warp that leaves nothing in shared memory" "if (lane >> cut.log == 0)" "if (lane >> cut.log == 0 && threadIdx.x < 224)"
planted sums.cuh "parts of which the last are left out" "part < parts; part" "part + 1 < parts; part"
planted optimizer.cu "a second moment that is not squared" "(1.f - beta2) * g * g" "(1.f - beta2) * g"
planted optimizer.cu "a norm of one warp" "for (u32 w = 0; w < 8; ++w) sum" "for (u32 w = 0; w < 1; ++w) sum"
planted optimizer.cu "an average of what is updated alone" "  follow(average, i, share, now);
}

// correct1" "  if (kinds[i] & 1) follow(average, i, share, now);
}

// correct1"
planted sums.cu "a gradient that is added up before it is masked" "g.v[j] = inside(v.v[j], lo, hi, g.v[j]);
      sum[j] += g.v[j];" "sum[j] += g.v[j];
      g.v[j] = inside(v.v[j], lo, hi, g.v[j]);"
planted op/add.cu "a sum that normalizes both by the factors of the first" "normalize(w, scale_b, shift_b);" "normalize(w, scale_a, shift_a);"
planted index.cuh "a loss of the first 16 classes of 32" "for (u32 step = 16; step; step /= 2) v" "for (u32 step = 8; step; step /= 2) v"
planted loss.cu "a loss of the first 32 classes of 64" "c += 32) sum += exp" "c += 64) sum += exp"
planted grid.cu "rounding half up" "rintf(u * top)" "floorf(u * top + 0.6f)"
planted grid.cu "a grid that hides what is no number" "clamped(rintf(u * top), -top, top)" "fminf(fmaxf(rintf(u * top), -top), top)"
planted render.cu "a mirror that is off by one" "2 * n - 1 - i" "2 * n - 2 - i"
planted render.cu "a rectangle that is a pixel too high" "y < place[4]" "y <= place[4]"

# --- waits that are forgotten in what launches them: seen where work waits in its stream, and there alone
for wait in streams:graphs_change_nothing events:many_pictures_arrive_whole; do
    forgotten() { EMU_HASTY=${wait%:*} EMU_LAZY=$1 "$device" "${wait#*:}" >"$work/log" 2>&1; }
    forgotten 0 || fail "a wait that nobody needs: $(tail -5 "$work/log")"
    if forgotten 1; then fail "not found: waits for $wait that are forgotten"; fi
    has_run "waits for ${wait%:*}"
    pass "found: waits for ${wait%:*} that are forgotten (${wait#*:})"
done

# --- NVIDIA's libraries, which stand-ins of their own files stand for: each with nothing to offer, and with a bug
EMU_LT=none LD_LIBRARY_PATH=$target/driver:$CUDA_HOME/lib/stubs "$dense" >/dev/null 2>&1 || fail "dense convolutions by cuBLAS"
CRUMB_CUDA=few-patches LD_LIBRARY_PATH=$target/driver:$CUDA_HOME/lib/stubs "$dense" >/dev/null 2>&1 || fail "picture by picture"
pass "dense convolutions where cuBLASLt has no algorithm: by cuBLAS; and picture by picture"
cargo clippy --release --locked -p cuda -p common --all-targets --features common/cudnn -- -D warnings
[ "${BUGS:-}" != all ] || cargo test --release --locked -p cuda --features cuda/cudnn --test cuda
with_cudnn=$(program cuda dense cudnn)
EMU_STATS=1 LD_LIBRARY_PATH=$target/driver:$CUDA_HOME/lib/stubs "$with_cudnn" >"$work/log" 2>&1 || fail "$(tail -5 "$work/log")"
grep -qE 'cuDNN: [1-9][0-9]* forward, [1-9][0-9]* input and [1-9]' "$work/log" || fail "cuDNN was not asked"
for when in none bad late; do
    EMU_CUDNN=$when LD_LIBRARY_PATH=$target/driver:$CUDA_HOME/lib/stubs "$with_cudnn" >/dev/null 2>&1 || fail "without its algorithms: $when"
done
pass "with the feature cudnn: clippy, dense convolutions ($(grep -o 'cuDNN: .*' "$work/log")), and where it has no algorithm"
in_library() { # stand-in, what, from, to, test: as if we had described it so; from and to the same: must not be found
    rm -rf "$work/driver" "$work/stand-ins" && cp -r "$target/driver" "$work/driver" && cp -r "$here/driver" "$work/stand-ins"
    FROM=$3 TO=$4 python3 - "$work/stand-ins/$1.cpp" <<'P'
import os, sys
text = open(sys.argv[1]).read()
assert text.count(os.environ["FROM"]) == 1, f"{os.environ['FROM']!r} is not once in {sys.argv[1]}"
open(sys.argv[1], "w").write(text.replace(os.environ["FROM"], os.environ["TO"]))
P
    "$here/driver/library.sh" "$work/driver" "$work/stand-ins/$1.cpp"
    if LD_LIBRARY_PATH=$work/driver:$CUDA_HOME/lib/stubs "$5" >"$work/log" 2>&1; then
        [ "$3" = "$4" ] || fail "not found: $2"
        pass "not found, as it is none: $2"
        return
    fi
    [ "$3" != "$4" ] || fail "$2: $(tail -5 "$work/log")"
    has_run "$2"
    pass "found: $2 ($(by_what))"
}
in_library cudnn "a copy of cuDNN's" "->step = u;" "->step = u;" "$with_cudnn"
in_library cublaslt "a copy of cuBLASLt's" "if (bias) v += bias[i];" "if (bias) v += bias[i];" "$dense"
# What cuDNN refuses, such as a description of another stride, is made by products: slower, and right.
in_library cudnn "weights of another order" "* r.w.h + ky) * r.w.w + kx) * r.w.c + c" "* r.w.c + c) * r.w.h + ky) * r.w.w + kx" "$with_cudnn"
in_library cudnn "tf32 where f32 is asked for" "->math == DEFAULT_MATH" "->math != 9" "$with_cudnn"
in_library cublaslt "a bias of another layer" "if (bias) v += bias[i];" "if (bias) v += bias[0];" "$dense"
CRUMB_CUDA=few-patches in_library cublaslt "a sum that begins anew" "be == 0 ? 0.f : be" "be == 0 ? 0.f : 0" "$dense"

# --- a submission from end to end, and what a device that is not there is told
mkdir -p "$work/photos" && tar -xzf samples/pictures.tar.gz -C "$work/photos"
for split in training:120 validation:40 testing:20; do # of every class
    mkdir -p "$work/data/${split%:*}"
    find "$work/photos/${split%:*}" -type f | sort | awk -v n="${split#*:}" 'NR % 25 == 1 && k++ < n' \
        | xargs -I{} cp {} "$work/data/${split%:*}/"
done
make --no-print-directory submission FEATURES=cuda DEVICE=cuda BIN="$target/release" OUT="$work/out" RECIPE=smoke \
    DATA="$work/data" CLASSES=0,1,2,3,4,5,6,7,8,9 PREPARE='--size 16' PRUNE_STEPS=1 TUNE='--epochs 1 --seed 4' \
    TEACHER='--arch resnet18 --width 0.1 --epochs 1 --seed 1' LOGITS='--augment flip --views 1' \
    STUDENT='--arch studentnet --width 0.3 --epochs 1 --seed 3' QUANTIZE='--bits 8' >"$work/log" 2>&1 \
    || fail "a submission on the stand-in: $(tail -3 "$work/log")"
pass "make submission DEVICE=cuda: $(stat -c %s "$work/out/model.bin") bytes"
if "$target/release/infer" eval --model "$work/out/model.bin" --images "$work/out/validation.safetensors" --device cuda:7 2>"$work/stderr" >/dev/null
then fail "a device that is not there"; fi
grep -q 'no CUDA device 7' "$work/stderr" || fail "$(cat "$work/stderr")"
pass "a device that is not there: $(cat "$work/stderr")"
if EMU_MEMORY=12000000 "$target/release/train" --images "$work/out/training.safetensors" --validation "$work/out/validation.safetensors" \
    --arch resnet18 --width 0.2 --epochs 1 --batch 64 --device cuda --out "$work/large.safetensors" 2>"$work/stderr" >/dev/null
then fail "a batch that does not fit"; fi
grep -q 'try --batch' "$work/stderr" || fail "$(cat "$work/stderr")"
pass "a batch that does not fit: $(cat "$work/stderr")"
answers() { "$target/release/infer" predict --model "$work/out/model.bin" --photos "$work/data/testing" --device "$1" --out "$work/$1.csv" >/dev/null; }
answers cpu && answers cuda
off=$(cmp -l "$work/cpu.csv" "$work/cuda.csv" | wc -l)
[ "$off" -le 1 ] || fail "$off answers differ between cpu and cuda"
pass "the same answers on cpu and cuda but for $off"
"$here/device_check.sh" >"$work/log" 2>&1 || fail "device.sh: $(tail -5 "$work/log")"
pass "what device.sh concludes: $(tail -1 "$work/log")"
echo "$checks checks of CUDA, $left bugs left to BUGS=all; on a stand-in driver: no GPU has run this"
