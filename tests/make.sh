#!/usr/bin/env bash
# The bookkeeping: what make believes is true after kills, full disks, damage, two at once, edited photos.
# Every check prints a line; the first that fails ends the run.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# --- a small data set of the built-in pictures
. tests/small.sh
out=$work/out seed=1
submission() {
    make --no-print-directory submission DATA="$data" OUT="$out" RECIPE=smoke PREPARE='--size 32' CLASSES="$classes" \
        TEACHER="--arch plain --width 0.5 --epochs 3 --seed $seed" LOGITS='--augment flip --views 2' \
        STUDENT='--arch studentnet --width 0.5 --epochs 3 --seed 3' PRUNE_STEPS=1 TUNE='--epochs 1 --seed 4' \
        QUANTIZE='--bits 8' "$@" >"$work/log" 2>&1
}
refused() {
    local what=$1 text=$2
    shift 2
    if submission "$@"; then fail "$what was accepted"; fi
    grep -q "$text" "$work/log" || fail "$what: $(tail -3 "$work/log")"
    pass "$what: $(grep -m1 "$text" "$work/log")"
}
shipped() { if [ -e model.bin ]; then sum model.bin; else echo none; fi; }
root=$(shipped)
submission HAND_IN="$work/hand-in.bin" || fail "the first run: $(tail -3 "$work/log")"
cmp "$out/model.bin" "$work/hand-in.bin" || fail "the hand-in is another file"
first=$(sum "$out/model.bin") teacher=$out/teacher.safetensors
pass "a small submission, and its copy for the hand-in"

# --- killed between a stage and its flags, then the same command: nothing is lost
before=$(stamp "$teacher")
rm "$teacher.flags"
submission
[ "$before" = "$(stamp "$teacher")" ] || fail "a lost .flags trains the teacher anew"
grep -q 'teacher.safetensors: made by this very command before, kept' "$work/log" || fail "$(cat "$work/log")"
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file after a lost .flags"
pass "a lost .flags costs no training"
# --- then another command: flags and header agree
rm "$teacher.flags"
seed=2 submission
grep -q -- '--seed 2' "$teacher.flags" || fail "flags of another seed: $(cat "$teacher.flags")"
target/release/report show "$teacher" | heard 'seed 2' || fail "$(target/release/report show "$teacher")"
seed=1 submission
[ "$(sum "$out/model.bin")" = "$first" ] || fail "back to seed 1, another file"
pass "a lost .flags and another seed: header and flags say seed 2; and back again"
# --- a stage that fails leaves no flags behind that say it succeeded
if submission TEACHER='--arch plain --lr -1'; then fail "a negative learning rate"; fi
[ ! -e "$teacher.flags" ] || fail "flags of a stage that failed"
[ -e "$teacher" ] || fail "a stage that failed took its artifact along"
submission
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file after a failed stage"
pass "a failed stage loses nothing"

# --- the disk is full when the flags are written
rm "$teacher.flags" && mkdir "$teacher.flags.part"
touch "$teacher.flags.part/in-the-way"
if submission; then fail "flags that cannot be written are success"; fi
[ "$before" = "$(stamp "$teacher")" ] || [ -e "$teacher" ] || fail "make deleted a finished model"
rm -r "$teacher.flags.part"
submission
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file after a full disk"
pass "flags that cannot be written cost nothing"

# --- an apostrophe
classes='"T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot'"'"'s"' submission
grep -q "Boot's" "$out/training.safetensors.flags" || fail "$(cat "$out/training.safetensors.flags")"
target/release/report show "$out/model.bin" | heard "Boot's" || fail "the class name is lost"
submission
pass "a class name with an apostrophe"

# --- a photo that is edited in place is seen; one that is only looked at is not
submission
if grep -q '^target/release' "$work/log"; then fail "something runs twice: $(grep -m1 '^target' "$work/log")"; fi
photo=$(find "$data/training" -type f | sort | tail -1)
images=$(sum "$out/training.safetensors")
cp "$photo" "$work/photo.jpg"
cp "$(find "$data/training" -type f | sort | sed -n 1p)" "$photo"
submission
[ "$images" != "$(sum "$out/training.safetensors")" ] || fail "an edited photo is not seen"
cp "$work/photo.jpg" "$photo"
submission
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file from the same photos"
pass "an edited photo is seen, and its return"

# --- damage
flip() { python3 - "$1" "$2" <<'P'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    b = f.read(1)[0]
    f.seek(int(sys.argv[2]))
    f.write(bytes([b ^ 1]))
P
}
cp -p "$out/model.bin" "$work/good.bin"
flip "$out/model.bin" $(($(stat -c %s "$out/model.bin") - 9))
touch -r "$work/good.bin" "$out/model.bin"
refused "a flipped bit in the file that ships" "damaged: its sum is" HAND_IN="$work/hand-in.bin"
cmp "$work/good.bin" "$work/hand-in.bin" || fail "a damaged file replaced the good copy"
rm "$out/model.bin"
submission
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file after damage"
pass "removed, it is made again"

# --- two at once
submission TEACHER="--arch plain --width 0.5 --epochs 300 --seed 9" 2>/dev/null &
await $! test -e "${teacher%.safetensors}.state.safetensors"
mv "$work/log" "$work/log.first"
refused "a second make in the same folder" "another make works in"
# The lock says which process is make; it stops its stage and waits for it.
owner=$(readlink "$out/.make")
kill -TERM "${owner%@*}" && wait $! 2>/dev/null || true
[ ! -e "$out/.teacher.safetensors.lock" ] || fail "a stage that make stopped leaves its lock"
submission || fail "after a make that was stopped: $(tail -3 "$work/log")"
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file after two makes at once"
ln -sfn "$(bash -c 'echo $$')@$(uname -n)" "$out/.make"
submission || fail "the lock of a make that ended: $(tail -2 "$work/log")"
pass "the lock of a make that ended is taken over"

# --- killed anywhere, run again with the same or another seed: always the file of that seed
seed=2 submission || fail "seed 2: $(tail -3 "$work/log")"
second=$(sum "$out/model.bin")
[ "$second" != "$first" ] || fail "the seed changes nothing"
# Whether make has begun this artifact: its line is the last.
begun() { grep -q -- "--out '$out/$1'" "$work/log"; }
kills=0 made=2
for artifact in teacher.safetensors eval/teacher.csv logits.safetensors student.safetensors cut1.safetensors \
    tuned1.safetensors model.bin eval/shipped.csv prediction.csv; do
    for then in same other; do
        now=$((3 - made)) # of the two seeds the one that has everything made again
        : >"$work/log"
        set -m # a group of its own, to be killed as a whole
        seed=$now submission &
        await $! begun $artifact
        kill -9 -- -$! 2>/dev/null || true
        wait $! 2>/dev/null || true
        set +m
        kills=$((kills + 1))
        [ $then = other ] || made=$now
        seed=$made submission || fail "killed at $artifact: $(tail -3 "$work/log")"
        [ "$(sum "$out/model.bin")" = "$([ $made = 1 ] && echo "$first" || echo "$second")" ] \
            || fail "killed at $artifact and run with $then seed: another file than that of seed $made"
        grep -q -- "--seed $made" "$teacher.flags" || fail "flags of another seed than $made"
        target/release/report show "$teacher" | heard "seed $made" || fail "flags and header disagree"
    done
done
pass "$kills kills of the pipeline, each run again with the same or another seed, end with that seed's file"

# --- every stage's artifact stays when make is stopped while it writes the flags
{ make -npq report OUT="$out" TEACHER_B="$teacher" 2>/dev/null || true; make -npq suspects OUT="$out" FOLDS=3 2>/dev/null || true; } | awk '/^[^#\t ].*: / { target = $1; precious = 0 }
    /^#  Precious file/ { precious = 1 }
    /^\t\$\(stage\)$/ { stages++; if (!precious) print target } END { print stages }' >"$work/stages"
[ "$(wc -l <"$work/stages")" = 1 ] && [ "$(cat "$work/stages")" -gt 150 ] || fail "not in .PRECIOUS: $(cat "$work/stages")"
pass "$(cat "$work/stages") artifacts are never removed by make"

# --- question 1's narrow networks have maps as large as the teacher's that is cut
make -n report OUT="$out" TEACHER="--arch resnet18 --stem-stride 2 --width 0.25" 2>/dev/null \
    | heard -e "--arch resnet18 --stem-stride 2 --params .*q1/none-1" || fail "the teacher's family without its stem"
pass "the teacher's family is made narrow with its stem"

# --- who may read and write what stages leave is the user's umask
for mask in 077:600 002:664; do
    (umask ${mask%:*} && submission OUT="$work/masked" HAND_IN="$work/masked/hand-in.bin") || fail "umask $mask: $(tail -3 "$work/log")"
    others=$(find "$work/masked" -type f ! -perm ${mask#*:} | sed -n 1,3p)
    [ -z "$others" ] || fail "with umask ${mask%:*}, not of mode ${mask#*:}: $others"
    pass "with umask ${mask%:*} all $(find "$work/masked" -type f | wc -l) files have mode ${mask#*:}"
    rm -r "$work/masked"
done

# --- without STUDENT the teacher itself is cut, tuned and stored
submission OUT="$work/itself" STUDENT= || fail "without STUDENT: $(tail -3 "$work/log")"
[ ! -e "$work/itself/student.safetensors" ] && ! grep -q '^| student ' "$work/itself/table.txt" || fail "a student all the same"
grep -q -- "--model $work/itself/teacher.safetensors" "$work/itself/cut1.safetensors.flags" || fail "$(cat "$work/itself/cut1.safetensors.flags")"
submission OUT="$work/itself" STUDENT= QUANTIZE= QUANT= PLAN='--pictures 60' || fail "without QUANT: $(tail -3 "$work/log")"
[ ! -e "$work/itself/quantized.safetensors" ] && grep -q -- "--plan $work/itself/plan.safetensors" "$work/itself/model.bin.flags" \
    || fail "$(cat "$work/itself/model.bin.flags")"
pass "without QUANT the planned network ships"
rm -r "$work/itself"
refused "folds where the teacher itself is made smaller" "without STUDENT one teacher is made smaller: leave FOLDS out" STUDENT= FOLDS=3
refused "weights that are not given" "INIT=efficientnet-lite0-57934424.pth" RECIPE=food11-like-b
pass "without STUDENT the teacher itself is made smaller"

# --- a teacher from elsewhere, and no word about how its pictures were cut
cp "$teacher" "$work/teacher.bin"
submission TEACHER_FILE="$work/teacher.bin" || fail "a teacher from elsewhere: $(tail -3 "$work/log")"
grep -q -- '--fit center' "$out/training.safetensors.flags" || fail "pictures of another fit than the teacher's"
submission
[ "$(sum "$out/model.bin")" = "$first" ] || fail "another file after a teacher from elsewhere"
pass "pictures follow a teacher from elsewhere"

# --- several teachers: each without a fold, or each of another seed
folds=$work/folds
submission OUT="$folds" FOLDS=2 || fail "two folds: $(tail -3 "$work/log")"
for i in 1 2; do
    target/release/report show "$folds/fold-$i-of-2.safetensors" | heard "fold $i/2" || fail "teacher $i left out no fold"
done
[ ! -e "$folds/teacher.safetensors" ] || fail "a teacher of everything beside those of folds"
grep -q 'fold-2-of-2 ' "$folds/table.txt" || fail "$(cat "$folds/table.txt")"
before=$(sum "$folds/model.bin") trained=$(stamp "$folds/fold-1-of-2.safetensors")
submission OUT="$folds" FOLDS=2
if grep -q '^target/release' "$work/log"; then fail "something runs twice: $(grep -m1 '^target' "$work/log")"; fi
pass "FOLDS=2 trains two teachers, and nothing twice"
# Lost flags of teachers and logits, and a kill while the second is trained: what is finished is kept.
rm "$folds"/fold-1-of-2.safetensors.flags "$folds"/fold-2-of-2.safetensors "$folds"/fold-2-of-2.safetensors.flags "$folds"/logits.safetensors.flags
: >"$work/log"
set -m
submission OUT="$folds" FOLDS=2 &
await $! grep -q -- "--out '$folds/fold-2-of-2.safetensors'" "$work/log"
kill -9 -- -$! 2>/dev/null || true
wait $! 2>/dev/null || true
set +m
grep -q 'fold-1-of-2.safetensors: made by this very command before, kept' "$work/log" || fail "$(cat "$work/log")"
submission OUT="$folds" FOLDS=2 || fail "after a kill: $(tail -3 "$work/log")"
[ "$trained" = "$(stamp "$folds/fold-1-of-2.safetensors")" ] || fail "the first teacher is trained anew"
[ "$(sum "$folds/model.bin")" = "$before" ] || fail "another file after a kill while the second teacher is trained"
pass "a kill while the second teacher is trained leaves the first alone, and the file is the same"
target/release/infer logits --teacher "$folds/fold-1-of-2.safetensors" --images "$folds/training.safetensors" \
    --out "$work/half" >"$work/half.told" 2>&1 && fail "half of the folds was accepted"
grep -q 'fold 2/2: all teachers have seen its pictures' "$work/half.told" || fail "$(cat "$work/half.told")"
make --no-print-directory suspects DATA="$data" OUT="$folds" RECIPE=smoke PREPARE='--size 32' CLASSES="$classes" FOLDS=2 \
    TEACHER="--arch plain --width 0.5 --epochs 3 --seed $seed" >"$work/log" 2>&1 || fail "suspects: $(tail -3 "$work/log")"
if grep -q 'release/train' "$work/log"; then fail "suspects trains anew"; fi
heard 'had not seen it, nor its label (2 folds)' <"$work/log" || fail "$(tail "$work/log")"
pass "suspects asks the teachers that are there: $(grep -m1 'probably wrong' "$work/log" | sed 's/.*: //')"
submission OUT="$folds" TEACHERS=2 || fail "two seeds: $(tail -3 "$work/log")"
target/release/report show "$folds/logits.safetensors" | heard 'teacher 1' || fail "logits of one teacher"
[ "$trained" = "$(stamp "$folds/fold-1-of-2.safetensors")" ] || fail "TEACHERS=2 trains over a teacher of FOLDS=2"
pass "TEACHERS=2 asks two of other seeds, and leaves those of folds alone"
refused "folds and seeds" "or in their seeds: give one of them" FOLDS=2 TEACHERS=2
for odd in 1 0 2.9 1e1 02 101 '2 3' %; do
    if submission OUT="$folds" FOLDS="$odd"; then fail "FOLDS=$odd was accepted"; fi
    grep -qF "FOLDS=$odd: expected a whole number, 2 to 100" "$work/log" || fail "FOLDS=$odd: $(tail -3 "$work/log")"
done
refused "teachers and a half" "TEACHERS=2.9: expected a whole number, 2 to 100" TEACHERS=2.9
for goal in report experiments; do
    refused "the $goal of several teachers" "not for the report, which is about one teacher: leave FOLDS out" $goal FOLDS=2
done
if make --no-print-directory suspects OUT="$work/nothing" >"$work/log" 2>&1; then fail "suspects trains a teacher that has seen them"; fi
grep -q 'suspects: give FOLDS=5, the number of teachers' "$work/log" || fail "suspects of no teacher: $(tail -3 "$work/log")"
pass "suspects trains no teacher that has seen what it judges"
refused "folds of a teacher from elsewhere" "a teacher that is there already is not trained" FOLDS=2 TEACHER_FILE="$teacher"
rm -r "$folds"

# --- three classes under a recipe that names ten
mkdir "$work/three"
for split in training validation testing; do
    mkdir "$work/three/$split"
done
cp "$data"/training/[012]_* "$work/three/training" && cp "$data"/validation/[012]_* "$work/three/validation"
cp "$data"/testing/* "$work/three/testing"
refused "ten names for three classes" "10 classes are named, its pictures have 3, and of Dress, Coat" \
    DATA="$work/three" OUT="$work/of-three"
submission DATA="$work/three" OUT="$work/of-three" CLASSES= || fail "a recipe without names: $(tail -3 "$work/log")"
target/release/report show "$work/of-three/model.bin" | heard 'classes *0, 1, 2$' \
    || fail "$(target/release/report show "$work/of-three/model.bin" | grep classes)"
pass "a recipe that leaves names out, and three classes"

# --- messages
refused "an unknown recipe" 'no recipe "nothing"' RECIPE=nothing
refused "a folder that is not there" "there is no such folder or file" DATA="$work/nowhere"
refused "a space in a path" "must not contain spaces" DATA="$work/a b"
for odd in '(' ')' '&' "'" '$' '"' '`' ';' '|' '#' ':' '\' '%' '*' '!' '='; do
    if submission DATA="$work/a${odd}b"; then fail "a path with $odd was accepted"; fi
    grep -qF "DATA must not contain $odd: make a" "$work/log" || fail "a path with $odd: $(tail -3 "$work/log")"
done
pass "what make or a shell would take for something else in a path is refused by name"
mkdir "$work/home" && ln -s "$data" "$work/home/data"
HOME=$work/home submission DATA='~/data' OUT='~/out' -n || fail "a path in the home folder: $(tail -3 "$work/log")"
grep -q -- "--out '$work/home/out/model.bin'" "$work/log" || fail "a ~ that is not the home folder: $(grep -m1 -- --out "$work/log")"
pass "a ~ that the shell leaves to make is the home folder"
refused "a checkpoint of Lightning's" "TEACHER_FILE must not contain =" TEACHER_FILE="$work/epoch=1-step=2.ckpt"
refused "a command in a path" "DATA must not contain" DATA="$work/a;touch\${IFS}$work/ran"
[ ! -e "$work/ran" ] || fail "what stood in a path was run"
refused "make of 2006" "GNU make 4.2 or newer is needed, this is 3.81" MAKE_VERSION=3.81
cp -r "$data" "$work/no-testing" && rm -r "$work/no-testing/testing" && mkdir "$work/no-testing/testing"
refused "nothing to predict" "nothing in the folder testing" DATA="$work/no-testing" OUT="$work/none"
[ ! -e "$work/none" ] || fail "it was trained for nothing"
[ "$root" = "$(shipped)" ] || fail "a test wrote model.bin"
pass "model.bin at the root is untouched"
