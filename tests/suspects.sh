#!/usr/bin/env bash
# Wrong labels are found: one in twenty of 1,000 of the built-in pictures gets another class, and teachers of three folds,
# trained for seconds, say which. Beside them teachers that have learnt the wrong labels.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
[ -d artifacts/smoke/photos ] || { mkdir -p artifacts/smoke/photos && tar -xzf samples/pictures.tar.gz -C artifacts/smoke/photos; }
cargo build --release -q -p prepare -p train -p infer -p report
photos=artifacts/smoke/photos/training

# --- every third picture in the order of the names; of these 50 get a wrong class, by a generator of fixed seed
python3 - "$photos" "$work" <<'P'
import os, random, shutil, sys

photos, work = sys.argv[1:]
chosen = sorted(os.listdir(photos))[::3][:1000]
draw = random.Random(5)
wrong = set(draw.sample(range(len(chosen)), len(chosen) // 20))
os.mkdir(work + "/photos")
with open(work + "/wrong", "w") as told:
    for i, name in enumerate(chosen):
        label, rest = name.split("_", 1)
        if i in wrong:
            label = str((int(label) + draw.randrange(1, 10)) % 10)
        shutil.copy(os.path.join(photos, name), f"{work}/photos/{label}_{i}_{rest}")
        if i in wrong:
            print(f"{label}_{i}_{rest}", file=told)
P
n=$(ls "$work/photos" | wc -l) planted=$(wc -l <"$work/wrong")
$bin/prepare images "$work/photos" --size 28 --out "$work/t" >/dev/null
$bin/prepare images artifacts/smoke/photos/validation --size 28 --out "$work/v" >/dev/null

# Long enough, and without augmentation, to learn what it is shown by heart.
teach() { $bin/train --images "$work/t" --validation "$work/v" --arch plain --width 0.5 --epochs 15 --batch 20 --lr 4e-3 \
    --seed 1 "$@" >"$work/log" 2>&1 || fail "train $*: $(tail -3 "$work/log")"; }
# $1: a name, rest: teachers. How many of the planted ones are among the first N, N as many as were planted, and among
# those that are called probably wrong.
found() {
    local name=$1 teachers=()
    shift
    for one in "$@"; do teachers+=(--teacher "$work/$one"); done
    $bin/infer logits "${teachers[@]}" --images "$work/t" --out "$work/$name.logits" >"$work/log" 2>&1 \
        || fail "infer logits of $name: $(tail -3 "$work/log")"
    $bin/report suspects --images "$work/t" --logits "$work/$name.logits" --csv "$work/$name.csv" --html "$work/$name.html" >"$work/$name.told"
    first=$(tail -n +2 "$work/$name.csv" | head -n "$planted" | cut -d, -f1 | grep -cxFf "$work/wrong" || true)
    called=$(awk -F, '$7 == "yes"' "$work/$name.csv" | wc -l)
    right=$(awk -F, '$7 == "yes" { print $1 }' "$work/$name.csv" | grep -cxFf "$work/wrong" || true)
}
for i in 1 2 3; do teach --fold $i/3 --out "$work/fold-$i"; done
found unseen fold-1 fold-2 fold-3
unseen=$first unseen_right=$right
# By chance one in twenty of the first 50, 2.5.
[ "$unseen" -ge 25 ] || fail "of $planted wrong labels $unseen are among the first $planted suspects of $n"
pass "of $planted wrong labels among $n, $unseen are the first $planted suspects (by chance 2.5); of $called called probably wrong $right are"
heard "had not seen it, nor its label (3 folds)" <"$work/unseen.told" || fail "$(cat "$work/unseen.told")"
[ "$(grep -o '<img' "$work/unseen.html" | wc -l)" = 100 ] || fail "a page of $(grep -o '<img' "$work/unseen.html" | wc -l) pictures"
pass "the table says of all $(($(wc -l <"$work/unseen.csv") - 1)) what is known, the page shows the first hundred"

# --- a teacher of everything, trained as long, finds fewer, and that it may have learnt them is said
teach --out "$work/all"
found seen all
heard "may have learnt these labels" <"$work/seen.told" || fail "$(cat "$work/seen.told")"
[ "$first" -lt "$unseen" ] && [ "$right" -lt "$unseen_right" ] || fail "of a teacher that has learnt them $first and $right"
pass "of a teacher that has learnt them $first are the first $planted, and of $called called probably wrong $right are"
