"""Side by side with PyTorch on the same machine: python bench/compare.py

Needs torch, torchvision and Pillow in the interpreter that runs it, and a release build
(cargo build --release). Every line is measured in turns, ours and theirs, --rounds times; the medians
of all rounds and their ratio are printed. Times on shared machines vary by half; the ratio holds.

With --photos FOLDER, a folder of .jpg files, also preparing pictures and predicting are compared.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parent / "target" / "release"

# (arch, mode, size, steps, compiled)
CASES = [
    ("studentnet", "train", 64, 40, False),
    ("studentnet", "train", 128, 12, False),
    ("studentnet", "train", 256, 4, False),
    ("studentnet", "forward", 64, 60, False),
    ("studentnet", "forward", 128, 30, False),
    ("studentnet", "forward", 256, 10, False),
    ("studentnet", "forward", 64, 60, True),
    ("studentnet", "forward", 128, 30, True),
    ("studentnet", "forward", 256, 10, True),
    ("resnet18", "train", 64, 6, False),
    ("resnet18", "train", 128, 3, False),
    ("resnet18", "forward", 64, 16, False),
    ("resnet18", "forward", 128, 8, False),
]


def measure(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def processor():
    """Ratios differ between makers' processors, so its name stands beside them."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((l.split(":")[1].strip() for l in lines if l.startswith("model name")), "unknown")


def title(case):
    arch, mode, size, _, compiled = case
    return f"{arch} {mode} {size}" + (", compiled" if compiled else "")


def compare(case, rounds, threads):
    arch, mode, size, steps, compiled = case
    common = ["--arch", arch, "--mode", mode, "--size", size, "--steps", steps, "--threads", threads]
    common = [str(v) for v in common]
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(measure([BIN / "bench", *common]))
        extra = ["--compile"] if compiled else []
        theirs.append(measure([sys.executable, HERE / "torch_step.py", *common, *extra]))
    middle = lambda runs, key: statistics.median(r[key] for r in runs)
    a, b = middle(ours, "median"), middle(theirs, "median")
    x, y = middle(ours, "best"), middle(theirs, "best")
    m, n = middle(ours, "megabytes"), middle(theirs, "megabytes")
    print(f"| {title(case)} | {a:,.0f} | {b:,.0f} | **{a / b:.2f}** | {x / y:.2f} | {m} | {n} | {m / n:.2f} |", flush=True)


def seconds(command, **more):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **more)
    return time.perf_counter() - start


PILLOW = """
import pathlib, sys
from PIL import Image
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jpg")):
    picture = Image.open(path).convert("RGB")
    w, h = picture.size
    scale = 128 / min(w, h)
    picture.resize((max(128, round(w * scale)), max(128, round(h * scale))), Image.BILINEAR)
"""


def pictures(photos, rounds, model):
    """Repeats the photos to 3,347 files, then times preparing (one thread each) and predicting."""
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "testing").mkdir()
        files = sorted(pathlib.Path(photos).glob("*.jpg"))
        for i in range(3347):
            shutil.copy(files[i % len(files)], work / "testing" / f"{i:04}.jpg")
        one = {**os.environ, "RAYON_NUM_THREADS": "1"}
        prepare = [BIN / "prepare", "images", work / "testing", "--size", "128", "--out", work / "x.safetensors"]
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(seconds(prepare, env=one))
            theirs.append(seconds([sys.executable, "-c", PILLOW, work / "testing"]))
        show("prepare 128, 3,347 photos, one core, s", ours, theirs)
        predict = [BIN / "infer", "predict", "--model", model, "--photos", work / "testing", "--out", work / "p.csv"]
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(seconds(predict))
            theirs.append(seconds([sys.executable, HERE / "torch_predict.py", work / "testing", work / "q.csv"]))
        show("predict 256, 3,347 photos, s", ours, theirs)


def show(name, ours, theirs):
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"| {name} | {a:.1f} | {b:.1f} | **{b / a:.2f}** | {min(theirs) / min(ours):.2f} | | | |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--photos", help="folder of .jpg files")
    parser.add_argument("--model", help="a model for 256 px pictures cut without resizing, for predicting")
    args = parser.parse_args()
    print(f"Processor: {processor()}\n")
    print("| what | ours, pictures/s | PyTorch | ratio | of the best | ours, MB | PyTorch | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for case in CASES:
        if args.only in title(case):
            compare(case, args.rounds, args.threads)
    if args.photos:
        pictures(args.photos, args.rounds, args.model)


main()
