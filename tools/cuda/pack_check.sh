#!/usr/bin/env bash
# pack_check.sh FILE.tar.xz [FOLDER]: what is packed starts where nothing is but a C library, C++'s and CUDA's own,
# up to the driver that is not there, and says what is missing, one library at a time. Needs unshare and chroot.
# FOLDER (target/cuda-libs): NVIDIA's libraries out of Python's wheels, 490 MB, fetched if it is not there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
file=$(realpath "${1:?pack_check.sh FILE.tar.xz}") libraries=${2:-$PWD/target/cuda-libs}
[ -d "$libraries/nvidia" ] || python3 -m pip install -q --no-deps --target "$libraries" \
    nvidia-cublas==13.1.0.3 nvidia-curand==10.4.0.35 nvidia-cuda-runtime==13.0.96
checks=0
pass() { checks=$((checks + 1)); echo "ok: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
# Beside the libraries, which are linked, not copied.
room=$(mktemp -d "$libraries/room.XXXX")
trap 'rm -rf "$room"' EXIT
mkdir -p "$room"/{lib64,lib,cuda,stub,tmp}
# As where there is no xz.
(cd "$room" && python3 -W ignore -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall()' "$file")
cp -L /lib64/ld-linux-x86-64.so.2 "$room/lib64/"
for library in libc.so.6 libm.so.6 libgcc_s.so.1 libstdc++.so.6 libdl.so.2 libpthread.so.0 librt.so.1; do
    cp -L "$(ldconfig -p | awk -v l=$library '$1 == l && /x86-64/ { print $NF; exit }')" "$room/lib/"
done
find "$libraries/nvidia" -name 'lib*.so.*' -exec ln -f {} "$room/cuda/" \;
in_room() { # LD_LIBRARY_PATH, program, arguments; stderr and the exit code
    local code=0
    env -i PATH="$PATH" LD_LIBRARY_PATH="$1" RUST_BACKTRACE=0 unshare -r chroot "$room" "${@:2}" 2>&1 || code=$?
    echo "exit $code"
}
programs=$(cd "$room" && ls crumb-cuda/bin/* crumb-cuda/tests/* | grep -v /make)
needed=$(for p in $programs; do readelf -d "$room/$p" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'; done | sort -u)
echo "needed: $(tr '\n' ' ' <<<"$needed")"
with=
for program in $programs; do
    # What asks no network needs no device.
    readelf -d "$room/$program" | grep -q 'NEEDED.*libcuda\.so' || continue
    with="$with $program"
    said=$(in_room /lib:/cuda "/$program" --help)
    [[ $said == *"error while loading shared libraries: libcuda.so.1: cannot open shared object file"*"exit 127" ]] \
        || fail "$program without a driver: $said"
done
pass "without a driver: $(head -1 <<<"$said") ($(wc -w <<<"$with") of $(wc -w <<<"$programs") programs)"
[ -n "$with" ] || fail "no program is for CUDA"
# A driver without a device: the stub that toolkits bring to link with.
stub=$(find "${STUBS:-${CUDA_DIR:-target/pack/cu13}/nvidia/cu13/lib/stubs}" -name libcuda.so.1 | head -1)
[ -n "$stub" ] || fail "no stub of libcuda.so.1: STUBS names a folder of stubs, CUDA_DIR a toolkit"
cp "$stub" "$room/stub/"
said=$(in_room /lib:/cuda:/stub /crumb-cuda/bin/bench --device cuda)
[[ $said == *"no CUDA device 0"*"exit 1" ]] || fail "a driver without a device: $said"
pass "a driver without a device: $(head -1 <<<"$said")"
for library in $(grep -vE '^(libc|libm|libdl|librt|libpthread|libgcc_s|ld-linux-x86-64|libcuda)\.so' <<<"$needed"); do
    at=$(find "$room/lib" "$room/cuda" -name "$library" | head -1)
    [ -n "$at" ] || fail "$library is needed and in no wheel"
    mv "$at" "$room/tmp/"
    said=$(in_room /lib:/cuda:/stub /crumb-cuda/bin/bench --device cuda)
    mv "$room/tmp/$library" "$at"
    [[ $said == *"error while loading shared libraries: $library: cannot open shared object file"* ]] || fail "without $library: $said"
    pass "without $library: $(head -1 <<<"$said")"
done
echo "$checks checks of $(basename "$file"): $(sed -n 1p "$room/crumb-cuda/ABOUT")"
