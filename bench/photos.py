"""Preparing and predicting beside Pillow and PyTorch, for compare.py --photos."""
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from rivals import BIN, HERE

PILLOW = """
import pathlib, sys
from PIL import Image
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jpg")):
    picture = Image.open(path).convert("RGB")
    w, h = picture.size
    scale = 128 / min(w, h)
    picture.resize((max(128, round(w * scale)), max(128, round(h * scale))), Image.BILINEAR)
"""


def seconds(command, env):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - start


def compare(photos, rounds, model, env):
    """Repeats the photos to 3,347 files, then times preparing (one thread each) and predicting."""
    print("\n| what | ours, s | theirs, s | theirs / ours | of the best |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        folder = work / "testing"
        folder.mkdir()
        files = sorted(pathlib.Path(photos).glob("*.jpg"))
        for i in range(3347):
            shutil.copy(files[i % len(files)], folder / f"{i:04}.jpg")
        prepare = [BIN / "prepare", "images", folder, "--size", "128", "--out", work / "x.safetensors"]
        pillow = [sys.executable, "-c", PILLOW, folder]
        one = {**env, "RAYON_NUM_THREADS": "1"}
        in_turns("prepare 128, 3,347 photos, one core", rounds, prepare, pillow, one)
        predict = [BIN / "infer", "predict", "--model", model, "--photos", folder, "--out", work / "p.csv"]
        torch = [sys.executable, HERE / "torch_predict.py", folder, work / "q.csv"]
        in_turns("predict 256, 3,347 photos", rounds, predict, torch, env)


def in_turns(name, rounds, ours, theirs, env):
    runs = [(seconds(ours, env), seconds(theirs, env)) for _ in range(rounds)]
    ours, theirs = zip(*runs)
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"| {name} | {a:.1f} | {b:.1f} | **{b / a:.2f}** | {min(theirs) / min(ours):.2f} |", flush=True)
