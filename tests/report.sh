#!/usr/bin/env bash
# The report and the page, small: every table, chart and sentence is there in both languages, and a browser shows
# them. Needs for the browser: Chromium, Node and playwright-core; for the page a compiler for WebAssembly
# (tools/wasm/build.sh); for the PDF's text Debian's poppler-utils. What is missing is said and skipped.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
. tests/small.sh
out=$work/out

cargo test --release -p typeset --quiet
# The built-in test pictures' labels are known, and so are those of the twenty that are used here.
labels=samples/test_labels.csv
small "$out/prediction.csv" report OUT="$out" TEST_LABELS=$labels >"$work/log" 2>&1 || fail "$(tail -5 "$work/log")"
report=$out/report
for name in trials ways pairs evidence gains fields choice settings classes confusion calibration curves waterfall sensitivity lineage cost; do
    [ "$(wc -l <"$report/data/$name.csv")" -ge 2 ] || fail "$name.csv is empty"
done
pass "$(tail -1 "$work/log")"
again=$(small experiments OUT="$out" TEST_LABELS=$labels -n | grep -c '^ *target/release' || true)
[ "$again" = 0 ] || fail "$again stages would run a second time"
small report OUT="$out" TEST_LABELS=$labels SEEDS='1 2 3' -n | grep '^ *target/release' >"$work/plan"
! grep -qE -- '--seed [12] --out' "$work/plan" || fail "a new seed runs old ones: $(cat "$work/plan")"
[ "$(grep -c 'q4/plain' "$work/plan")" = 9 ] || fail "a third seed: $(cat "$work/plan")"
pass "a second make runs nothing, a third seed runs its own models only"
if small experiments OUT="$out" Q1_PARAMS= >"$work/log" 2>&1; then fail "a recipe without the report's settings"; fi
grep -q 'the report needs Q1_PARAMS, which recipe smoke does not set' "$work/log" || fail "$(cat "$work/log")"
pass "$(grep -m1 'the report needs' "$work/log")"

# 240 pictures make 7 steps of 32, two epochs show 448.
grep -q '^student,distill,[0-9.]*,448,' "$report/data/cost.csv" || fail "$(grep '^student,' "$report/data/cost.csv")"
pass "what a stage cost lies beside its output: $(grep '^student,' "$report/data/cost.csv")"

# --- what tables say is what compare says
row=$(grep '^stages,pruned,0,shipped,0,' "$report/data/pairs.csv")
told=$(target/release/report compare "$out/eval/pruned.csv" "$out/eval/shipped.csv" | grep 'McNemar')
only="only pruned right: $(cut -d, -f10 <<<"$row"), only shipped right: $(cut -d, -f11 <<<"$row");"
[[ $told == "$only"* ]] || fail "pairs.csv has $row, compare says $told"
# --- a tenth of the answers of one model against another's: Python counts them again
python3 - "$out" <<'END' | told || fail "Python counts otherwise"
import csv, json, math, pathlib, struct, sys
out = pathlib.Path(sys.argv[1])
def hits(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + n])
    part = lambda k: raw[8 + n + head[k]["data_offsets"][0] : 8 + n + head[k]["data_offsets"][1]]
    rows, classes = head["logits"]["shape"]
    values = struct.unpack(f"<{rows * classes}f", part("logits"))
    row = lambda i: values[i * classes : (i + 1) * classes]
    return [max(range(classes), key=lambda c: row(i)[c]) == label for i, label in enumerate(part("labels"))]
def p(b, c):
    return min(1.0, 2 * sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c))
eval_ = out / "eval"
rows = list(csv.DictReader(open(out / "report/data/pairs.csv")))
checked = 0
for r in rows:
    if r["question"] not in ("q1", "q4") or "quantization" in (r["a"], r["b"]):
        continue
    tests = []
    for seed in (1, 2):
        a, b = (hits(eval_ / r["question"] / f"{r[k]}-{seed}.answers.safetensors") for k in "ab")
        tests.append((sum(x and not y for x, y in zip(a, b)), sum(y and not x for x, y in zip(a, b)), len(a)))
    assert [sum(t[i] for t in tests) for i in (0, 1)] == [int(r["only_a"]), int(r["only_b"])], r
    assert abs(max(p(b, c) for b, c, _ in tests) - float(r["p"])) < 1e-9, r
    for name, side in (("a", lambda t: t[0] > t[1]), ("b", lambda t: t[1] > t[0])):
        assert (r["better"] == name) == (float(r["holm"]) < 0.05 and all(side(t) for t in tests)), r
    mean = sum((t[1] - t[0]) / t[2] for t in tests) / 2
    assert abs(mean - float(r["difference"])) < 1e-9, r
    checked += 1
assert checked == 13, checked
print(f"ok: {checked} paired tests over two seeds, counted again by Python")
END

python3 tests/bootstrap.py "$out" | told || fail "Python draws otherwise"

# --- question 1 is fair: two passes of the teacher and one of mending are the three of what begins afresh; and nothing
# but the loss differs in question 2, which the report says only where the files say it
python3 - "$report/data" <<'END' | told || fail "the passes of question 1"
import csv, sys
ways = [r for r in csv.DictReader(open(f"{sys.argv[1]}/ways.csv")) if r["question"] == "q1"]
found = {r["way"]: (int(r["passes"]), int(r["inherited"])) for r in ways}
fresh = dict.fromkeys(("none", "distillation", "architecture"), (3, 0))
assert found == fresh | {"pruning": (1, 2), "low-rank": (1, 2), "quantization": (0, 2)}, found
choice = list(csv.DictReader(open(f"{sys.argv[1]}/choice.csv")))
for row in choice:
    with open(f"{sys.argv[1]}/../../{row['model']}.epochs.csv") as file:
        top1 = [float(r["validation_top1"]) for r in csv.DictReader(file)]
    assert len(top1) > 1 and abs(max(top1) - top1[-1] - float(row["gain"])) < 1e-9, row
    assert top1.index(max(top1)) + 1 == int(row["chosen"]), row
print(f"ok: each way of question 1 has 3 passes, whose {len(choice)} chosen epochs are the best of theirs")
END

# --- test labels: the row of the table, counted again from the predictions; they train and choose nothing
right=$(paste -d, "$out/prediction.csv" <(awk -F, 'NR == FNR { label[$1] = $2; next } { print $1 "," label[$1] }' $labels "$out/prediction.csv") \
    | awk -F, 'NR > 1 && $2 == $4' | wc -l)
[ "$(awk -F, 'NR == 2 { print $7 "," $8 }' "$out/test/shipped.csv")" = "20,$right" ] || fail "of 20 $right are right, the table has $(cat "$out/test/shipped.csv")"
grep -q 'shipped, test' "$out/table.txt" || fail "$(cat "$out/table.txt")"
grep -q "^stages,shipped,.*,$(awk -v r="$right" 'BEGIN { print r / 20 }')$" "$report/data/trials.csv" || fail "trials.csv has no test accuracy $right / 20"
readers=$(find "$out" -name '*.flags' | while read -r file; do echo "$(cat "$file")"; done \
    | grep -E '^(train|distill|prune|quantize|infer logits) .*(testing|--labels)' || true)
[ -z "$readers" ] || fail "test pictures are read by: $readers"
sed 's/^0,.*/0,/' $labels >"$work/labels.csv"
if small "$work/lacking/testing.safetensors" OUT="$work/lacking" TEST_LABELS="$work/labels.csv" >"$work/log" 2>&1; then fail "a label that is none"; fi
grep -q 'neither a number nor one of the classes' "$work/log" || fail "$(tail -3 "$work/log")"
pass "$right of 20 test pictures are right, in the table and in the report; nothing else reads them"

# --- the pages
cp "$report/report.pdf" "$report/report.html" "$work/"
small report OUT="$out" TEST_LABELS=$labels LANG_REPORT=zh >"$work/log" 2>&1 || fail "$(tail -5 "$work/log")"
cp "$report/report.html" "$work/zh.html"
cp "$report/report.pdf" "$work/zh.pdf"
small report OUT="$out" TEST_LABELS=$labels >"$work/log" 2>&1
cmp "$work/report.pdf" "$report/report.pdf" && cmp "$work/report.html" "$report/report.html" || fail "another report of the same tables"
head -c 5 "$report/report.pdf" | heard '%PDF-' || fail "report.pdf is no PDF"
grep -qE 'src="http|href="http|url\(http|@import' "$report/report.html" && fail "report.html asks for other files"
if command -v pdftotext >/dev/null; then
    pdftotext -layout "$report/report.pdf" "$work/en.txt"
    pdftotext -layout "$work/zh.pdf" "$work/zh.txt"
    for text in "1. One big model" "2. Teachers and students" "3. Shares of a cut" "4. Three kinds" "9. Cost" "no significant difference" "3 times in all" "the loss is what differs" "What chose is not what judges"; do
        grep -q "$text" "$work/en.txt" || fail "the PDF lacks: $text"
    done
    for text in 網路剪枝 知識蒸餾 沒有顯著差異 運動鞋 最合適的溫度; do
        grep -q "$text" "$work/zh.txt" || fail "the Chinese PDF lacks: $text"
    done
    [ "$(pdffonts "$work/zh.pdf" | tail -n +3 | grep -cv ' yes ')" = 0 ] || fail "fonts that are not in the PDF: $(pdffonts "$work/zh.pdf")"
    pass "PDFs of $(pdfinfo "$report/report.pdf" 2>/dev/null | awk '/^Pages/ { print $2 }') pages, in English and Chinese, fonts inside"
else
    skip "the report's PDFs: no pdftotext (poppler-utils)"
fi
modules=${NODE_MODULES:-target/node/node_modules}
chromium=${CHROMIUM:-$(command -v chromium || true)}
if [ -n "$chromium" ] && [ -d "$modules/playwright-core" ]; then
    export CHROMIUM=$chromium NODE_MODULES=$modules
    for page in "$report/report.html" "$work/zh.html"; do node tests/report.mjs "$page" | told; done
else
    skip "the report and the page in a browser: Chromium and playwright-core are needed"
fi

# --- the page that classifies
refused=$(target/release/report page --model "$out/model.bin" --wasm "$work/none.wasm" --out "$work/p.html" 2>&1) && fail "no engine"
grep -q 'rustup target add wasm32-unknown-unknown' <<<"$refused" || fail "$refused"
engine=target/page.wasm
tools/wasm/build.sh $engine >"$work/log" 2>&1 || { skip "the page: $(tail -1 "$work/log")"; engine=; }
if [ -n "$engine" ] && command -v node >/dev/null; then
    cp common/photos/tests/pictures/*.jpg "$data/testing/"
    $bin/infer check --model artifacts/smoke/model.bin --photos "$data/testing" --onnx-python "$work/none" --page $engine >"$work/log"
    grep -qE '^page, node v[0-9.]+ +[0-9]+ .*e-[0-9]+ +0$' "$work/log" || fail "infer check: $(cat "$work/log")"
    pass "infer check: $(grep '^page' "$work/log" | tr -s ' '); $(tail -1 "$work/log")"
elif [ -n "$engine" ]; then
    skip "infer check of the page: no node"
fi
if [ -n "$engine" ] && [ -n "${CHROMIUM:-}" ] && [ -n "${NODE_MODULES:-}" ]; then
    target/release/report page --model artifacts/smoke/model.bin --examples artifacts/smoke/photos/validation --out "$work/page.html" | tee "$work/told"
    [ "$(stat -c %s "$work/page.html")" -le 650000 ] || fail "the page has $(stat -c %s "$work/page.html") bytes"
    mkdir "$work/large" && head -c 30000 /dev/zero >"$work/large/0_0.jpg"
    told=$(target/release/report page --model artifacts/smoke/model.bin --examples "$work/large" --out "$work/none.html" 2>&1)
    grep -q '0 examples for 10 classes' <<<"$told" || fail "$told"
    node tests/page.mjs "$work/page.html" artifacts/smoke/eval/shipped.answers.safetensors artifacts/smoke/photos/validation | told
    # JPEGs of all kinds, pictures of other sizes, at 128 px with the widest student there is.
    mkdir "$work/jpegs"
    i=0
    for file in common/photos/tests/pictures/*.jpg; do cp "$file" "$work/jpegs/$((i++ % 10))_j$i.jpg"; done
    find "$data/training" -name '?_*.png' | sort | awk 'NR % 7 == 1' | xargs -I{} cp {} "$work/jpegs/" # of every class
    $bin/prepare images "$work/jpegs" --size 128 --classes "$(tr -d '"' <<<"$classes")" --out "$work/j.safetensors" >/dev/null
    $bin/train --images "$work/j.safetensors" --validation "$work/j.safetensors" --arch studentnet --width 2 --epochs 1 \
        --out "$work/big.safetensors" >/dev/null
    $bin/quantize pack --model "$work/big.safetensors" --bits 2 --calibrate "$work/j.safetensors" --false-reject 0.3 --out "$work/big.bin" >/dev/null
    $bin/infer eval --model "$work/big.bin" --images "$work/j.safetensors" --out "$work/big.csv" >/dev/null
    $bin/report page --model "$work/big.bin" --out "$work/big.html" >/dev/null
    node tests/page.mjs "$work/big.html" "$work/big.answers.safetensors" "$work/jpegs" | told
fi
