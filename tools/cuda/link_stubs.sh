#!/usr/bin/env bash
# link_stubs.sh DIR: libraries to link with, as the toolkit's own stubs are, for the cudarc that Cargo.lock names.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
manifest=$(cd "$here/../.." && cargo metadata --format-version 1 --locked --features common/cuda \
    | python3 -c 'import json, sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
python3 "$here/link_stubs.py" "$(dirname "$manifest")" "$1" 13 >/dev/null
