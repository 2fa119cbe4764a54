#!/usr/bin/env bash
# Every stage with a disk that fails at its n-th call, in the spirit of SQLite's ioerr.test: a full disk, an
# I/O error, a kill, at each write, fsync, rename and open. Nothing half written may stay, no success be told
# that was none, and the same command afterwards must give the same bytes.
#   tests/faults.sh        a few calls of each kind; part of make test
#   tests/faults.sh all    every one; make faults
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
if ! command -v strace >/dev/null; then
    skip "faults of the disk: no strace"
elif ! strace -qq -o /dev/null true 2>/dev/null; then
    skip "faults of the disk: strace may not trace here"
else
    mkdir "$work/faults"
    python3 -u tests/faults.py $bin "$work/faults" "${1:-few}" | told
fi
