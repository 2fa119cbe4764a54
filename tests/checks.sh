# Sourced by every test. A check prints `ok: …`, one that cannot be made here `skipped: …`; the first that fails
# ends the run. The last line counts both, and $SKIPPED, a file, gets what was skipped for the end of make test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
bin=target/release
touch "$work/.told"
# Prints the lines of a program that checks, and keeps them to be counted, as ours are.
told() { tee -a "$work/.told"; }
pass() { told <<<"ok: $*"; }
skip() { told <<<"skipped: $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
ended() {
    local status=$? left
    left=$(jobs -p)
    # What they have started, too.
    for process in $left; do kill $(pgrep -P "$process" || true) "$process" 2>/dev/null || true; done
    if [ $status = 0 ]; then
        sed -n 's/^skipped: //p' "$work/.told" | sort -u >"$work/.skipped"
        [ -z "${SKIPPED:-}" ] || cat "$work/.skipped" >>"$SKIPPED"
        echo "$(basename "$0"): $(grep -c '^ok: ' "$work/.told" || true) checks, $(wc -l <"$work/.skipped") skipped"
    fi
    rm -rf "$work"
    exit $status
}
trap ended EXIT

# $1: a process, rest: a condition. Waits until it holds; fails when the process ends before. Nothing that is
# waited for takes two minutes.
await() {
    local process=$1 tries=0
    shift
    until "$@"; do
        kill -0 "$process" 2>/dev/null || { "$@" && return; fail "a process ended before: $*"; }
        [ $((tries += 1)) -le 12000 ] || fail "waited two minutes for: $*"
        sleep 0.01
    done
}
# Whether a process ($1) catches SIGINT, as Linux tells: a stage does as soon as it works.
listening() { (((0x$(awk '$1 == "SigCgt:" { print $2 }' "/proc/$1/status" 2>/dev/null || echo 0) & 2) != 0)); }
# As grep -q at the end of a pipe, but it reads to the end: what writes into the pipe is not killed for a reader that
# has left, which pipefail would take for a failure.
heard() { local status=0; grep -q "$@" || status=$?; cat >/dev/null; return $status; }
# What is another after a file was replaced, but not after its time was set: when it was made, and its number.
stamp() { stat -c %w.%i "$1" 2>/dev/null || echo none; }
sum() { sha256sum <"$1"; }
