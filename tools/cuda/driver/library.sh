#!/usr/bin/env bash
# library.sh OUT_DIR FILE.cpp ...
# Stand-ins for NVIDIA's libraries beside the driver's in OUT_DIR, which they queue their work with.
set -euo pipefail
out=$(realpath -m "$1")
shift
for file in "$@"; do
    case $(basename "$file" .cpp) in
        cublaslt) name=libcublasLt.so.13 ;;
        cudnn) name=libcudnn.so.9 ;;
        *) echo "no library: $file" >&2; exit 1 ;;
    esac
    g++ -O2 -fPIC -std=c++17 -shared "-Wl,-soname,$name" -o "$out/$name" "$file" -L"$out" -l:libcuda.so.1
done
