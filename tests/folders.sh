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
recipe=$(sum "$out/recipe.mk")
folder
if grep -q '^target/release' "$work/log"; then fail "something runs twice: $(grep -m1 '^target' "$work/log")"; fi
touch "$photos/ankle boot"/*
folder || fail "touched photos: $(tail -3 "$work/log")"
[ "$recipe" = "$(sum "$out/recipe.mk")" ] || fail "photos that are only touched change the recipe"
if grep -q 'training  *best' "$work/log"; then fail "photos that are only touched train anew"; fi
pass "photos that are touched change neither recipe nor models"

# --- a table of the same photos says the same
(cd "$photos" && echo file,label && find . -name '*.*g' | sed 's|^\./||' | sort | while read -r file; do
    label=${file%/*}
    echo "\"${file//\"/\"\"}\",\"${label//\"/\"\"}\""
done) >"$work/photos.csv"
cp "$work/photos.csv" "$photos/all.csv"
$bin/prepare catalogue "$photos/all.csv" --out "$work/of-table.csv" >/dev/null || fail "a table of files and labels"
cmp "$work/of-table.csv" "$out/catalogue.csv" || fail "a table says other than the folders"
rm "$photos/all.csv"
pass "a table of files and labels makes the same catalogue"

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
if make --no-print-directory -n submission RECIPE=auto >"$work/log" 2>&1; then fail "auto without pictures"; fi
grep -q 'RECIPE=auto is written for pictures: give DATA=' "$work/log" || fail "$(tail -3 "$work/log")"
pass "recipe auto asks for pictures"
