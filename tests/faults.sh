#!/usr/bin/env bash
# Every stage with a disk that fails at its n-th call, in the spirit of SQLite's ioerr.test: a full disk, an
# I/O error, a kill, at each write, fsync, rename and open. Nothing half written may stay, no success be told
# that was none, and the same command afterwards must give the same bytes.
#   tests/faults.sh        a few calls of each kind; part of make test
#   tests/faults.sh all    every one; make faults
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
skip() { echo "skipped: $*"; if [ -n "${SKIPPED:-}" ]; then echo "$*" >>"$SKIPPED"; fi; exit 0; }
command -v strace >/dev/null || skip "faults of the disk: no strace"
strace -qq -o /dev/null true 2>/dev/null || skip "faults of the disk: strace may not trace here"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 tests/faults.py target/release "$work" "${1:-few}"
