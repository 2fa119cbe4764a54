#!/usr/bin/env bash
# bash hw7_test.sh <data directory> <prediction csv>
# Predicts the pictures of <data directory>/testing (or of the folder itself) with model.bin alone.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: bash hw7_test.sh <data directory> <prediction csv>" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
photos=$1
[ -d "$photos" ] || { echo "error: no such folder: $photos" >&2; exit 1; }
[ -d "$photos/testing" ] && photos=$photos/testing
[ -f "$here/model.bin" ] || { echo "error: $here/model.bin is missing: run make submission" >&2; exit 1; }
infer=$here/target/release/infer
[ -x "$infer" ] || cargo build --release --quiet --manifest-path "$here/Cargo.toml" -p infer
"$infer" predict --model "$here/model.bin" --photos "$photos" --out "$2"
