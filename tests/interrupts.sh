#!/usr/bin/env bash
# Ctrl-C, SIGTERM and SIGKILL at any moment: the same command goes on and ends with the same bytes.
# Every check prints a line; the first that fails ends the run.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
A=artifacts/smoke
pictures="--images $A/training.safetensors --validation $A/validation.safetensors"
# $1: recipe, $2: variable: the flags that make gives a stage, with two epochs.
flags() { make -s RECIPE="$1" --eval "flags: ; @: \$(info \$($2))" flags | sed -E 's/--epochs [0-9]+/--epochs 2/'; }

# A run that begins anew ends with the same bytes, too.
knows_itself() {
    if grep 'starting anew' "$work/stderr"; then fail "$1 does not know its own state"; fi
}

# --- the moments at which a run is stopped; each waits for process $1
claimed() { await "$1" test -e "$work/.stopped.safetensors.lock"; }
working() { await "$1" listening "$1"; }
# The state on the disk is another than when the run began: an epoch is over.
later() { [ "$(stamp "$state")" != "$began" ]; }
epoch() { await "$1" later; }

# $1: what, $2: signal, $3: moments, rest: the command without --out. Stopped at each of them, then run to its end.
goes_on() {
    local what=$1 signal=$2 moments=$3 out=$work/stopped.safetensors state=$work/stopped.state.safetensors stops=0 began
    shift 3
    "$@" --out "$work/whole.safetensors" >/dev/null
    for moment in $moments; do
        began=$(stamp "$state")
        # What a script starts in the background ignores Ctrl-C.
        env --default-signal=INT "$@" --out "$out" >/dev/null 2>"$work/stderr" &
        $moment $!
        kill -s "$signal" $! 2>/dev/null || true
        wait $! 2>/dev/null || true
        knows_itself "$what"
        [ ! -e "$out" ] || break
        stops=$((stops + 1))
        if [ "$signal" != KILL ] && [ -s "$work/stderr" ]; then
            grep -q 'interrupted; what was done is kept, give the same command again to go on' "$work/stderr" \
                || fail "$what stopped by $signal: $(cat "$work/stderr")"
        fi
    done
    [ $stops -gt 0 ] || fail "$what was over before it could be stopped"
    [ -e "$state" ] || fail "$what keeps nothing"
    "$@" --out "$out" >/dev/null 2>"$work/stderr"
    knows_itself "$what"
    case $what in train | distill*)
        grep -q '^continuing after epoch' "$work/stderr" || fail "$what does not go on: $(cat "$work/stderr")" ;;
    esac
    cmp "$out" "$work/whole.safetensors" || fail "$what, stopped by $signal, ends with other bytes"
    [ ! -e "$work/stopped.state.safetensors" ] || fail "$what leaves its state behind"
    left=$(find "$work" -name '*.part' -o -name '*.lock' | sed -n 1p)
    [ -z "$left" ] || fail "$what leaves $left behind"
    pass "$what, stopped $stops times by $signal, ends with the same bytes"
    rm -f "$work"/stopped.*
}
# shellcheck disable=SC2086
train="$bin/train $pictures $(flags food11-like-short TEACHER)"
epochs="claimed working epoch working"
for signal in INT TERM KILL; do
    goes_on train $signal "$epochs" $train
done
distill="$bin/distill $pictures --logits $A/logits.safetensors"
goes_on distill INT "$epochs" $distill $(flags food11 STUDENT)
goes_on "distill --init" KILL "$epochs" $distill --init $A/cut1.safetensors $(flags food11-like TUNE)
goes_on "distill --quant" TERM "$epochs" $distill --init $A/tuned1.safetensors --quant $A/plan.safetensors $(flags food11 QUANT)
pieces="claimed working working working"
goes_on "infer logits" INT "$pieces" $bin/infer logits --teacher $A/teacher.safetensors --teacher $A/student.safetensors \
    --images $A/training.safetensors --augment flip,mixup=0.3 --views 3
for i in 1 2; do
    $bin/train $pictures --arch plain --width 0.5 --epochs 1 --fold $i/2 --out "$work/fold-$i.safetensors" >/dev/null 2>&1
done
goes_on "infer logits of folds" INT "$pieces" $bin/infer logits --teacher "$work/fold-1.safetensors" \
    --teacher "$work/fold-2.safetensors" --images $A/training.safetensors --augment flip,mixup=0.3 --views 12
goes_on "quantize plan" TERM "$pieces" $bin/quantize plan --model $A/student.safetensors --images $A/validation.safetensors \
    --pictures 500 --budget 200000

# --- a state that is damaged, or of other settings, is set aside
$train --out "$work/whole.safetensors" >/dev/null
for how in damaged "other settings"; do
    $train --out "$work/x.safetensors" >/dev/null 2>&1 &
    await $! listening $!
    kill -TERM $! && wait $! 2>/dev/null || true
    state=$work/x.state.safetensors
    [ -e "$state" ] || fail "no state after an interruption"
    if [ "$how" = damaged ]; then
        head -c 1000 "$state" >"$work/short" && mv "$work/short" "$state"
        $train --out "$work/x.safetensors" >/dev/null 2>"$work/stderr"
        cmp "$work/x.safetensors" "$work/whole.safetensors" || fail "after a damaged state, other bytes"
    else
        $train --clip 1 --out "$work/x.safetensors" >/dev/null 2>"$work/stderr" || fail "$(cat "$work/stderr")"
    fi
    grep -q 'starting anew' "$work/stderr" || fail "a state that is $how: $(cat "$work/stderr")"
    [ -e "$state.old" ] || fail "a state that is $how is lost"
    pass "a state that is $how is set aside: $(cat "$work/stderr")"
    rm -f "$work"/x.*
done

# --- two runs with one --out
$train --out "$work/x.safetensors" >/dev/null 2>&1 &
await $! test -e "$work/.x.safetensors.lock"
if $train --out "$work/x.safetensors" >/dev/null 2>"$work/stderr"; then fail "two runs write one file"; fi
grep -q 'another run is writing it' "$work/stderr" || fail "$(cat "$work/stderr")"
wait
cmp "$work/x.safetensors" "$work/whole.safetensors" || fail "a second run disturbs the first"
pass "a second run with the same --out is refused"
