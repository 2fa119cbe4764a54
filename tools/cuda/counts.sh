#!/usr/bin/env bash
# counts.sh [FOLDER]: what a training step and an answer launch and move through a GPU's memory, counted on the
# stand-in driver without a GPU, and from that an estimate of their times; a table on stdout, the counts themselves
# in FOLDER (target/cuda/counts/of). With REAL_NVCC the registers and the shared memory of every kernel besides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/tools/cuda target=$PWD/target/cuda
of=${1:-$target/counts/of}
shopt -s globstar
kernels=(common/cuda/src/**/*.cu)
export CUDA_COMPUTE_CAP=80 CUDA_HOME=$target/home CARGO_TARGET_DIR=$target
(
    export PATH=$here/bin:$PATH
    unset NVCC
    [ -e "$CUDA_HOME/lib/stubs/libcudart.so" ] || { echo "first tools/cuda/check.sh: it makes $CUDA_HOME" >&2; exit 1; }
    cargo build --release --locked --quiet -p bench --features common/cuda
)
# The compiler has kernels, which are what includes the shim, call counts.so at every access of memory.
mkdir -p "$target/counts/bin"
cat >"$target/counts/bin/g++" <<G
#!/bin/sh
case " \$* " in *shim.h*) set -- "\$@" -fsanitize=thread --param tsan-instrument-func-entry-exit=0 ;; esac
exec $(command -v g++) "\$@"
G
chmod +x "$target/counts/bin/g++"
EMU_CACHE=$target/counts/made PATH=$target/counts/bin:$PATH "$here/driver/build.sh" "$target/counts" "${kernels[@]}"
g++ -O2 -shared -fPIC -std=c++17 -o "$target/counts/counts.so" "$here/driver/counts.cpp" -ldl
rm -rf "$of" && mkdir -p "$of"
bench=$target/release/bench
count() { # file, flags of bench
    LD_LIBRARY_PATH=$target/counts:$CUDA_HOME/lib/stubs LD_PRELOAD=$target/counts/counts.so EMU_COUNTS=$1 \
        "$bench" --device cuda "${@:2}" >/dev/null
}
while read -r name size batch flags; do
    case=$of/$name-$size
    mkdir "$case"
    echo "{\"batch\": $batch}" >"$case/case"
    read -ra all <<<"--size $size --batch $batch $flags"
    LD_LIBRARY_PATH=$target/driver:$CUDA_HOME/lib/stubs "$bench" --mode traffic "${all[@]}" >"$case/traffic"
    for mode in train forward; do count "$case/$mode" --mode $mode --steps 1 "${all[@]}"; done
done <<<"${CASES:-studentnet-w2 64 32 --arch studentnet --width 2
resnet18 64 32 --arch resnet18}"
if [ -n "${REAL_NVCC:-}" ]; then
    for kernel in "${kernels[@]}"; do
        for generation in ${GENERATIONS:-80 90}; do
            "$REAL_NVCC" -std=c++17 -O3 -arch=sm_$generation -cubin -Xptxas -v -o "$of/cubin" "$kernel" 2>>"$of/ptxas"
        done
    done
fi
python3 "$here/counts.py" "$of" ${REAL_NVCC:+"$of/ptxas"}
