#!/usr/bin/env bash
# The report's experiments through a real Slurm: its jobs run at once, one is killed, the next make runs it again.
# As root, with Debian's slurm-wlm and munge; the stages are built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fail() { echo "FAILED: $*" >&2; exit 1; }
pass() { echo "ok: $*"; }
work=$(mktemp -d)
trap 'tools/slurm/stop.sh "$work/slurm" || true; rm -rf "$work"' EXIT
tools/slurm/start.sh "$work/slurm" || fail "no cluster"
export SLURM_CONF=$work/slurm/slurm.conf
out=$work/out
. tests/small.sh
# Trainings of some seconds, so that there is time to kill one.
experiments() { small experiments OUT="$out" LEARN="--epochs 40 --batch 32" RUN="srun --quiet --ntasks=1 --cpus-per-task=1" THREADS=1 -j 4 "$@"; }

# --- a job is killed while the others go on
experiments >"$work/log" 2>&1 &
make=$!
killed=
for try in $(seq 600); do
    # A training, and not the first: others run beside it.
    killed=$(squeue -h -t R -o '%i %j' | awk '$2 ~ /train|distill/ { print $1 }' | tail -1)
    [ "$(squeue -h -t R | wc -l)" -ge 2 ] && [ -n "$killed" ] && break
    kill -0 $make 2>/dev/null || break
    sleep 0.05
done
most=$(squeue -h -t R | wc -l)
squeue -o '%.6i %.12j %.2t %.6M %R'
[ "$most" -ge 2 ] || fail "jobs do not run at once"
pass "$most jobs run at once"
scancel "$killed"
if wait $make; then fail "make succeeded though job $killed was killed"; fi
grep -q "Error" "$work/log" || fail "$(tail -5 "$work/log")"
pass "job $killed was killed, and make says so: $(grep -m1 -oE '\*\*\* .*' "$work/log")"
for try in $(seq 100); do [ -z "$(squeue -h)" ] && break; sleep 0.2; done

# --- the next make runs it again, and no other of those that were done
done_before=$(find "$out" -name '*.flags' | wc -l)
experiments >"$work/log2" 2>&1 || fail "$(tail -5 "$work/log2")"
ran=$(grep -c '^srun ' "$work/log2")
all=$(find "$out" -name '*.flags' | wc -l)
[ "$ran" -le $((all - done_before + 2)) ] || fail "$ran stages ran again, $((all - done_before)) were missing"
pass "the next make ran the $ran stages that were missing of $all"
grep -h 'JobState=CANCELLED' "$work/slurm/jobs.log" | grep -q "JobId=$killed " || fail "$(tail -3 "$work/slurm/jobs.log")"
completed=$(grep -c 'JobState=COMPLETED' "$work/slurm/jobs.log")
pass "Slurm's own log: $completed jobs completed, job $killed cancelled"
sed -n "/JobId=$killed /p; \$p" "$work/slurm/jobs.log" | cut -c1-160
rest=$(experiments -n 2>/dev/null | grep -c '^srun ' || true)
[ "$rest" = 0 ] || fail "$rest stages would run once more"
pass "nothing is left to run"
