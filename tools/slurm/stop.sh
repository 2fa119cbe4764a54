#!/usr/bin/env bash
# tools/slurm/stop.sh FOLDER: ends what start.sh FOLDER began.
set -euo pipefail
folder=$(cd "$1" && pwd)
for name in slurmd slurmctld; do
    [ ! -s "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
done
