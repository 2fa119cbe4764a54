"""Our programs and files, as the checks of foreign.py and exports.py need them.

The command line names the folder of the binaries and a scratch folder.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

BIN, WORK = sys.argv[1], Path(sys.argv[2])
STUDENT = Path("artifacts/smoke/student.safetensors")
SHIPPED = Path("artifacts/smoke/model.bin")
PICTURES = Path("artifacts/smoke/validation.safetensors")
TOLERANCE = 1e-3


def missing(*modules):
    lacks = [m for m in modules if find_spec(m) is None]
    if lacks:
        print(f"skipped: what needs the Python modules {', '.join(lacks)}")
    return bool(lacks)


def run(tool, *flags):
    subprocess.run([f"{BIN}/{tool}", *map(str, flags)], check=True, stdout=subprocess.DEVNULL)


def ours(model, images):
    """Logits [n, classes] by our own program."""
    out = WORK / "logits.safetensors"
    run("infer", "logits", "--teacher", model, "--images", images, "--out", out)
    return load_file(out)["logits"][0]


def header(path):
    data = Path(path).read_bytes()
    n = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + n])["__metadata__"]["crumb"])


def agree(what, a, b):
    worst = float(np.abs(np.asarray(a) - np.asarray(b)).max())
    assert worst < TOLERANCE, f"{what}: off by {worst}"
    print(f"ok: {what}: {len(a)} pictures, largest difference of logits {worst:.1e}")


def written(graph):
    """A model file of this graph, its weights drawn at random; colours and classes are the student's."""
    rng = np.random.default_rng(3)
    tensors = {}
    for node in graph.split(";"):
        name, _, words = node.partition(":")
        verb, *rest = words.split(" ")
        size = {w[0]: int(w[1:]) for w in rest if w[0] in "kg"}
        if verb in ("conv", "linear"):
            i, o = map(int, rest[0].split(">"))
            taps = [size.get("k", 1)] * 2 if verb == "conv" else []
            pixels = 1 if verb == "conv" else size.get("k", 1) ** 2
            shape = [o, i * pixels // size.get("g", 1), *taps]
            tensors[f"{name}.weight"] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
            if "bias" in rest:
                tensors[f"{name}.bias"] = rng.normal(0, 0.5, o)
        elif verb in ("bn", "scale"):
            for end, low, high in (("weight", 0.5, 1.5), ("bias", -1, 1), ("running_mean", -1, 1), ("running_var", 0.5, 2)):
                if verb == "bn" or "running" not in end:
                    tensors[f"{name}.{end}"] = rng.uniform(low, high, int(rest[0]))
    return saved({k: v.astype(np.float32) for k, v in tensors.items()}, header(STUDENT)["body"] | {"graph": graph})


def saved(arrays, body):
    model = WORK / "written.safetensors"
    head = {"kind": "model", "schema": 2, "stage": "test", "body": body}
    save_file(arrays, model, metadata={"crumb": json.dumps(head)})
    return model


def noise(size):
    """Images artifact of 64 pictures of noise."""
    from PIL import Image

    folder, images = WORK / "noise", WORK / f"noise{size}.safetensors"
    if not folder.exists():
        folder.mkdir()
        rng = np.random.default_rng(5)
        for i in range(64):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{i % 11}_{i}.png")
    run("prepare", "images", folder, "--size", size, "--fit", "center", "--out", images)
    return images


def few(size):
    """Images artifact of every 16th photo."""
    images, folder = WORK / f"few{size}.safetensors", WORK / "few"
    if not folder.exists():
        folder.mkdir()
        for photo in sorted(Path("artifacts/smoke/photos/validation").iterdir())[::16]:
            (folder / photo.name).symlink_to(photo.resolve())
    if not images.exists():
        run("prepare", "images", folder, "--size", size, "--out", images)
    return images
