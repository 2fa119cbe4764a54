#!/usr/bin/env bash
# pack.sh [--stand-in] [FILE.tar.xz]: what a machine with a GPU and nothing else needs to run device.sh: the stages, the
# bench and the tests of CUDA, built by a real nvcc and stripped, the pictures and the recipes, in one file below 60 MB
# (target/pack/crumb-cuda.tar.xz). There, with CUDA 13's driver (580 or later):
#   tar -xf crumb-cuda.tar.xz && crumb-cuda/device.sh
#   where there is no xz: python3 -c 'import tarfile; tarfile.open("crumb-cuda.tar.xz").extractall()'
#   --stand-in: with the stand-in nvcc and its driver instead, to try device.sh without a GPU; the folder alone
#   CUDNN=yes: bench and tests with the feature cudnn, too, which device.sh runs where there is a libcudnn
#   CUDA_DIR=DIR: where tools/cuda/cuda_home.sh has put, or will put, nvcc
# A change of our kernels is built in minutes; the first time candle's take nvcc half as long again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/tools/cuda most=60000000
stand_in=
if [ "${1:-}" = --stand-in ]; then stand_in=yes; shift; fi
if [ -n "$stand_in" ]; then
    target=$PWD/target/cuda
    export PATH=$here/bin:$PATH CUDA_COMPUTE_CAP=80 CUDA_HOME=$target/home
    unset NVCC REAL_NVCC
    [ -e "$CUDA_HOME/lib/stubs/libcudart.so" ] || { echo "first tools/cuda/check.sh: it makes $CUDA_HOME" >&2; exit 1; }
else
    target=$PWD/target/pack
    dir=${CUDA_DIR:-$target/cu13}
    [ -e "$dir/env.sh" ] || "$here/cuda_home.sh" "$dir"
    # shellcheck source=/dev/null
    . "$dir/env.sh"
fi
export CARGO_TARGET_DIR=$target
file=${1:-$target/crumb-cuda.tar.xz}
folder=$target/crumb-cuda
stages=(prepare train distill prune quantize infer report bench)

cargo build --release --locked "${stages[@]/#/-p}" --features common/cuda
# Of each test its program, but of those that read sources, which are not there.
tests() { # feature, package, tests
    cargo test --release --locked -p "$2" --features "$2/$1" "${@:3}" --no-run --message-format=json \
        | python3 -c 'import json, sys
for m in map(json.loads, sys.stdin):
    if m.get("executable") and m["target"]["kind"] == ["test"]: print(m["target"]["name"], m["executable"])'
}
own=()
for test in common/cuda/tests/*.rs; do grep -q CARGO_MANIFEST_DIR "$test" || own+=(--test "$(basename "$test" .rs)"); done
programs=$(tests cuda cuda "${own[@]}"; tests cuda common --test operations --test networks)

rm -rf "$folder"
mkdir -p "$folder"/{bin,tests,samples,recipes,report,bench,nothing-to-build}
for stage in "${stages[@]}"; do strip -o "$folder/bin/$stage" "$target/release/$stage"; done
while read -r name program; do strip -o "$folder/tests/$name" "$program"; done <<<"$programs"
if [ "${CUDNN:-}" = yes ]; then
    mkdir -p "$folder/cudnn/tests"
    cargo build --release --locked -p bench --features common/cudnn
    strip -o "$folder/cudnn/bench" "$target/release/bench"
    programs=$(tests cudnn cuda "${own[@]}")
    while read -r name program; do strip -o "$folder/cudnn/tests/$name" "$program"; done <<<"$programs"
fi
cc -O2 -shared -fPIC -o "$folder/profile.so" "$here/profile.c" -ldl
# Should there be none.
cp "$(command -v make)" "$folder/bin/make"
cp "$here/device.sh" "$here/ncu.py" Makefile "$folder/"
cp samples/pictures.tar.gz samples/test_labels.csv samples/NOTICE "$folder/samples/"
cp recipes/*.mk "$folder/recipes/"
cp report/questions.mk "$folder/report/"
cp bench/torch_cuda.py bench/torch_step.py bench/timing.py "$folder/bench/"
cp LICENSE* "$folder/"
printf '#!/bin/sh\n# What make asks cargo to build is built.\n' >"$folder/nothing-to-build/cargo"
chmod +x "$folder/nothing-to-build/cargo"
commit=$(git rev-parse --short HEAD)$([ -z "$(git status --porcelain)" ] || echo +)
echo "crumb $commit, ${stand_in:+STAND-IN }$(nvcc --version | grep -o 'release [^,]*'): for CUDA 13, driver 580 or later" >"$folder/ABOUT"
if [ -n "$stand_in" ]; then
    g++ -O2 -shared -fPIC -std=c++17 -o "$folder/events.so" "$here/driver/events.cpp"
    echo "$folder: $(du -sm "$folder" | cut -f1) MB, for the stand-in driver"
    exit
fi
# candle's kernels are in every program, of 33 MB at most: the window reaches those of the one before, a larger one gained
# nothing, and whoever unpacks needs memory of its size.
tar -C "$target" --sort=name --owner=0 --group=0 -cf - crumb-cuda | xz -T1 -6 --lzma2=preset=6,dict=64MiB >"$file.part"
bytes=$(stat -c %s "$file.part")
[ "$bytes" -lt $most ] || { echo "pack.sh: $bytes bytes, $most are the most" >&2; rm "$file.part"; exit 1; }
mv "$file.part" "$file"
echo "$file: $bytes bytes of at most $most, $(du -sm "$folder" | cut -f1) MB unpacked: $(cat "$folder/ABOUT")"
