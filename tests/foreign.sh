#!/usr/bin/env bash
# Files from and for other programs: the course's pickles, PyTorch, onnxruntime.
# PYTHON names an interpreter with numpy, safetensors and onnxruntime, and for the checks against
# PyTorch torch and torchvision; what it lacks is skipped, with a line that says so.
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

# --- encode8 and encode16 byte for byte, on pairs of real files
models=../shared/models
if [ -d $models ]; then
    same() {
        $bin/prepare model "$models/$1" --out "$work/float.safetensors" >/dev/null
        $bin/quantize pack --model "$work/float.safetensors" --format "$3" --budget 600000 --out "$work/coded.pkl" >/dev/null
        cmp "$work/coded.pkl" "$models/$2" || fail "$3 of $1 differs from $2"
        pass "$3 of $1 equals $2, $(stat -c %s "$work/coded.pkl") bytes"
    }
    same student_model_deeper_203ep.bin shannon112_model.bin encode8
    same joshchang1112_semi_student_model.bin joshchang1112_8_bit_model.pkl encode8
    same joshchang1112_semi_student_model.bin joshchang1112_semi_16_bit_model.pkl encode16
else
    skip "encode8 and encode16 on real files: no $models"
fi

# --- what needs Python
if ! ${PYTHON:-python3} -c 'import numpy, safetensors' 2>/dev/null; then
    skip "other programs' files, and decoding from FORMAT.md alone: no Python modules numpy and safetensors"
else
    ${PYTHON:-python3} -uB tests/foreign.py "$bin" "$work" | told
    # The shipped file, decoded by a program written from FORMAT.md alone.
    $bin/quantize pack --model artifacts/smoke/student.safetensors --bits 5 --budget 900000 --out "$work/coded.bin" >/dev/null
    $bin/quantize pack --model artifacts/smoke/student.safetensors --bits 3 --grid codebook --budget 900000 \
        --out "$work/codebook.bin" >/dev/null
    for file in artifacts/smoke/model.bin "$work/coded.bin" "$work/codebook.bin"; do
        $bin/quantize unpack --model "$file" --out "$work/plain.safetensors" >/dev/null
        ${PYTHON:-python3} tests/decode.py "$file" "$work/plain.safetensors" | told || fail "tests/decode.py $file"
        pass "$(basename "$file") decoded from FORMAT.md alone"
    done
fi
