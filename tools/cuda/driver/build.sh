#!/usr/bin/env bash
# build.sh OUT_DIR FILE.cu ...
# A stand-in for the CUDA driver and cuBLAS's products that runs these kernels on the CPU: memory ends at
# guard pages and begins as NaN, launch limits are checked. It shows that the logic is right, not that a GPU
# runs it, and says nothing about speed. Threads are fibers, which wait for each other (__syncthreads, shuffles).
# Needs g++. EMU_CACHE: where what was compiled lies, if not in OUT_DIR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")
shift
work=$out/work
cache=${EMU_CACHE:-$out/made}
mkdir -p "$work" "$cache"
flags="-w -std=c++17 -fpermissive -fPIC -I$here -include $here/shim.h"
one() {
    local cu name made
    cu=$(realpath "$1") name=$(basename "$1" .cu)
    # What was compiled before from the same text, wherever it lay: a planted bug changes one file or few.
    made=$cache/$({ g++ -E -P $flags -x c++ "$cu"; cat "$here"/*.h; echo "$flags"; } | sha256sum | cut -c1-32).o
    if [ -e "$made" ]; then cp "$made" "$work/$name.pic.o"; return; fi
    {
        echo "#include \"$cu\""
        echo '#include "reg.h"'
        echo 'namespace { struct Init { Init() {'
        # As build.rs finds them.
        sed -n 's/.*extern "C" __global__ void \([a-z0-9_]*\)(.*/\1/p' "$cu" | while read -r kernel; do
            echo "emu_registry()[\"$kernel\"] = emu_wrap($kernel);"
        done
        echo '} } init_; }'
    } >"$work/$name.cpp"
    g++ -O2 $flags -fvisibility=hidden -I"$here" -c "$work/$name.cpp" -o "$work/$name.pic.o"
    cp "$work/$name.pic.o" "$made.$$" && mv "$made.$$" "$made"
}
rm -f "$work"/*.o
for cu in "$@"; do one "$cu" & done
g++ -O2 -fPIC -std=c++17 -I"$here" -c "$here/driver.cpp" -o "$work/driver.pic.o"
wait
[ "$(ls "$work"/*.pic.o | wc -l)" = $(($# + 1)) ] || { echo "a kernel does not compile as C++" >&2; exit 1; }
g++ -shared -Wl,--version-script="$here/exports.map" -Wl,-soname,libcuda.so.1 -o "$out/libcuda.so.1" "$work"/*.pic.o
"$here/library.sh" "$out" "$here/cublaslt.cpp" "$here/cudnn.cpp"
for library in libcublas.so.13 libcurand.so.10; do
    g++ -shared -o "$out/$library" "-Wl,-soname,$library" -x c++ /dev/null -L"$out" -l:libcuda.so.1
done
