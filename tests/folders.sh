#!/usr/bin/env bash
# A stranger's folder of photos: class folders and no recipe, from catalogue to table.
# Every check prints a line; the first that fails ends the run.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
. tests/small.sh

# --- three classes of the built-in pictures, twenty-five each, in folders with names that need care
photos=$work/photos out=$work/out
while IFS=: read -r class name; do
    mkdir -p "$photos/$name"
    find artifacts/smoke/photos/training -name "${class}_*" | sort | awk "NR <= 25" | xargs -I{} cp {} "$photos/$name/"
done <<<"0:T-shirt, \"top\"
5:sandal's
9:ankle boot"
folder() {
    make --no-print-directory submission DATA="$photos" OUT="$out" HOURS=0.003 BUDGET=40000 "$@" >"$work/log" 2>&1
}
folder || fail "a folder of classes: $(tail -3 "$work/log")"
grep -q '75 pictures, 3 classes' "$work/log" || fail "it is not said what was found: $(head -5 "$work/log")"
grep -q 'recipe auto: about ' "$work/log" || fail "it is not said how long it takes: $(head -8 "$work/log")"
[ "$(wc -l <"$out/catalogue.csv")" = 76 ] || fail "$(wc -l <"$out/catalogue.csv") lines in the catalogue"
tested=$(grep -c ',testing,' "$out/catalogue.csv")
grep -q "shipped, test .* $tested |" "$out/table.txt" || fail "no row about $tested test pictures: $(cat "$out/table.txt")"
[ "$(wc -l <"$out/prediction.csv")" = $((tested + 1)) ] || fail "$(wc -l <"$out/prediction.csv") lines of predictions"
$bin/report show "$out/model.bin" | heard "T-shirt, \"top\", ankle boot, sandal's" || fail "$($bin/report show "$out/model.bin" | grep classes)"
pass "a folder of classes: catalogue, recipe, table with $tested test pictures, predictions"

# --- nothing runs twice, and a recipe stays what it is
grep -q 'epoch [0-9]* of ' "$work/log" || fail "nothing was trained: $(tail -3 "$work/log")"
recipe=$(sum "$out/recipe.mk")
folder
if grep -q '^target/release' "$work/log"; then fail "something runs twice: $(grep -m1 '^target' "$work/log")"; fi
touch "$photos/ankle boot"/*
folder || fail "touched photos: $(tail -3 "$work/log")"
[ "$recipe" = "$(sum "$out/recipe.mk")" ] || fail "photos that are only touched change the recipe"
if grep -q 'epoch [0-9]* of ' "$work/log"; then fail "photos that are only touched train anew"; fi
pass "photos that are touched change neither recipe nor models"

# --- a table of the same photos says the same
(cd "$photos" && echo file,label && find . -name '*.*g' | sed 's|^\./||' | sort | while read -r file; do
    label=${file%/*}
    echo "\"${file//\"/\"\"}\",\"${label//\"/\"\"}\""
done) >"$work/photos.csv"
cp "$work/photos.csv" "$photos/all.csv"
$bin/prepare catalogue "$photos/all.csv" --out "$work/of-table.csv" >/dev/null || fail "a table of files and labels"
cmp "$work/of-table.csv" "$out/catalogue.csv" || fail "a table says other than the folders"
table() { make --no-print-directory -n DATA="$photos/all.csv" OUT="$work/tabled" HOURS=0.003 BUDGET=40000 "$@" >"$work/log" 2>&1; }
table submission || fail "make of a table: $(tail -3 "$work/log")"
table submission || fail "make of a table, again: $(tail -3 "$work/log")"
if grep -q '^target/release/prepare catalogue' "$work/log"; then fail "a table is read anew each time"; fi
table submission OUT="$work/doubted" TEACHERS=2 || fail "two teachers before there is a recipe: $(tail -3 "$work/log")"
rm "$photos/all.csv"
pass "a table of files and labels makes the same catalogue"

# --- another folder of the same name, weights to start from, the same answers everywhere
if folder DATA="$work/data"; then fail "another folder takes the artifacts of the first"; fi
grep -q "was made of $photos: give OUT=" "$work/log" || fail "$(tail -3 "$work/log")"
pass "another folder does not take the artifacts of the first"
if folder RECIPE=smoke OUT="$work/named" INIT="$out/teacher.safetensors" -n; then fail "INIT beside --arch"; fi
grep -q 'INIT: TEACHER has --arch' "$work/log" || fail "$(tail -3 "$work/log")"
folder OUT="$work/tuned" INIT="$out/teacher.safetensors" || fail "INIT: $(tail -3 "$work/log")"
grep -q "its last layer is kept" "$work/log" || fail "INIT: $(grep -m1 'last layer' "$work/log")"
grep -q '^PREPARE := --size [0-9]* --exif$' "$work/tuned/recipe.mk" || fail "$(grep PREPARE "$work/tuned/recipe.mk")"
[ ! -e "$work/tuned/student.safetensors" ] && grep -q '^| pruned ' "$work/tuned/table.txt" || fail "$(cat "$work/tuned/table.txt")"
grep -q -- '--per parameter --params 133333 ' "$work/tuned/cut1.safetensors.flags" || fail "$(cat "$work/tuned/cut1.safetensors.flags")"
grep -q -- "--plan $work/tuned/plan.safetensors" "$work/tuned/model.bin.flags" || fail "$(cat "$work/tuned/model.bin.flags")"
pass "a teacher goes on from weights, and is itself made smaller: $(grep -o 'its last layer is kept' "$work/log")"
if folder OUT="$work/tuned" INIT="$out/teacher.safetensors" TEACHERS=2; then fail "two teachers, of which one is made smaller"; fi
grep -q 'without STUDENT one teacher is made smaller: leave TEACHERS out' "$work/log" || fail "$(tail -3 "$work/log")"
make --no-print-directory help DATA="$photos" OUT="$out" TEACHERS=2 >"$work/log" || fail "help of two teachers"
folder OUT="$work/tuned" FOLDS=3 -n || fail "folds, without INIT, where there was one: $(tail -3 "$work/log")"
if folder OUT="$work/tuned" INIT="$out/teacher.safetensors" FOLDS=3 suspects; then fail "a fourth teacher beside those that doubt labels"; fi
grep -q 'without STUDENT one teacher is made smaller: leave FOLDS out' "$work/log" || fail "$(tail -3 "$work/log")"
folder_report() { make --no-print-directory report DATA="$photos" OUT="$work/tuned" HOURS=0.003 BUDGET=40000 INIT="$out/teacher.safetensors" "$@"; }
if folder_report >"$work/log" 2>&1; then fail "a report without a student"; fi
grep -q 'where the teacher itself is made smaller there is no report' "$work/log" || fail "$(tail -3 "$work/log")"
pass "where the teacher is made smaller there is one, and no report"
make --no-print-directory check-everywhere DATA="$photos" OUT="$out" HOURS=0.003 BUDGET=40000 >"$work/log" 2>&1 || fail "check-everywhere: $(tail -3 "$work/log")"
grep -q 'the same logits by [2-9] ways' "$work/log" || fail "check-everywhere: $(tail -3 "$work/log")"
pass "$(grep 'the same logits' "$work/log")"

# --- copies and leaks: exit code 3, a table and a page
mkdir -p "$work/copied/train/a" "$work/copied/train/b" "$work/copied/test/a"
cp "$photos/ankle boot"/* "$work/copied/train/a" && cp "$photos/sandal's"/* "$work/copied/train/b"
cp "$(find "$work/copied/train/a" -type f | sort | sed -n 1p)" "$work/copied/test/a/again.png"
status=0
$bin/prepare check "$work/copied" --csv "$work/finds.csv" --html "$work/finds.html" >"$work/log" || status=$?
[ $status = 3 ] || fail "a leak has exit code $status: $(cat "$work/log")"
grep -q 'again.png' "$work/finds.csv" || fail "$(cat "$work/finds.csv")"
grep -q 'data:image/jpeg;base64' "$work/finds.html" || fail "a page without pictures"
pass "a picture in training and testing: $(sed -n 1p "$work/log")"

# --- a recipe by name takes such folders, too
make --no-print-directory -n submission DATA="$photos" OUT="$work/named" RECIPE=smoke CLASSES= >"$work/log" 2>&1 \
    || fail "smoke on class folders: $(tail -3 "$work/log")"
grep -q -- "--catalogue $work/named/catalogue.csv --split training --size 36" "$work/log" || fail "$(grep -m1 'prepare images' "$work/log")"
pass "a recipe by name goes by a catalogue where there are class folders"

# --- what is wrong is said before anything is trained
wrong() {
    local what=$1 text=$2
    if make --no-print-directory submission DATA="$work/wrong" OUT="$work/of-wrong" HOURS=0.003 >"$work/log" 2>&1; then fail "$what was accepted"; fi
    grep -q "$text" "$work/log" || fail "$what: $(tail -3 "$work/log")"
    [ ! -e "$work/of-wrong/training.safetensors" ] || fail "$what: pictures were prepared"
    pass "$what: $(grep -m1 "$text" "$work/log")"
    rm -rf "$work/wrong" "$work/of-wrong"
}
mkdir -p "$work/wrong/only" && cp "$photos/ankle boot"/* "$work/wrong/only"
wrong "one class" "all pictures are of one class"
mkdir -p "$work/wrong/a" "$work/wrong/b" && cp "$photos/ankle boot"/* "$work/wrong/a"
wrong "an empty class" "the folder of this class holds no picture"
mkdir -p "$work/wrong" && cp "$photos/ankle boot"/* "$work/wrong"
for file in "$work/wrong"/*; do mv "$file" "${file%/*}/IMG_${file##*_}"; done
wrong "a flat folder of photos without classes" "put each photo into a folder called as its class"
mkdir -p artifacts && if make --no-print-directory clean RECIPE=auto >"$work/log" 2>&1; then fail "clean of no folder"; fi
[ -d artifacts ] || fail "clean removed every artifact"
if make --no-print-directory -n submission RECIPE=auto >"$work/log" 2>&1; then fail "auto without pictures"; fi
grep -q 'RECIPE=auto is written for pictures: give DATA=' "$work/log" || fail "$(tail -3 "$work/log")"
pass "recipe auto asks for pictures"
