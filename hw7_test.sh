#!/usr/bin/env bash
# bash hw7_test.sh <data directory> <prediction csv>
# Predicts the pictures of <data directory>/testing (or of the folder itself) with model.bin alone, or with
# the file that MODEL names; says on stderr which it is.
set -euo pipefail
# With it, cd looks elsewhere for relative paths, and prints where it went.
unset CDPATH
[ $# -eq 2 ] || { echo "usage: bash hw7_test.sh <data directory> <prediction csv>" >&2; exit 2; }
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
photos=$1
model=${MODEL:-$here/model.bin}
[ -d "$photos" ] || { echo "error: no such folder: $photos" >&2; exit 1; }
[ -d "$photos/testing" ] && photos=$photos/testing
[ -f "$model" ] || { echo "error: $model is missing: run make submission DATA=..., or name another file: \
MODEL=artifacts/smoke/model.bin" >&2; exit 1; }
# Where class numbers can be seen, the model must have them.
classes=()
for split in training validation; do [ -d "$1/$split" ] && [ -r "$1/$split" ] && classes+=(--classes-of "$1/$split"); done
infer=$here/target/release/infer
[ -x "$infer" ] || cargo build --release --quiet --manifest-path "$here/Cargo.toml" -p infer
"$infer" predict --model "$model" --photos "$photos" ${classes[@]+"${classes[@]}"} --out "$2"
