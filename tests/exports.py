"""Our ONNX files in onnxruntime; called by foreign.py."""

import json
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
from programs import BIN, PICTURES, SHIPPED, STUDENT, TOLERANCE, WORK, agree, few, header, missing, ours, run, written
from safetensors.numpy import load_file


def check_onnx():
    x = load_file(PICTURES)["pixels"][:200].astype(np.float32) / 255
    for model in (STUDENT, SHIPPED):
        in_onnxruntime(model, x, PICTURES)


# Between the two every operation and activation there is; logits from conv, relu, mean.
EVERYTHING = (
    "input 3;c0:conv 3>8 k3 s2 p1;n0:bn 8;relu;max k3 s2 ceil;split 0..4;split 4..8 @4;"
    "c1:conv 4>4 k3 p1 g4;n1:bn 4;relu6;c2:conv 4>4 k1 bias;concat @5,10;shuffle g2;s:bn 8;relu;"
    "c3:conv 8>8 k3 p1;add @13,15;avg k3 s2 p1;avg k2 s1;d:scale 8;c4:conv 8>6 k1;n4:bn 6;relu;"
    "blur 1,2,1 s2;gap;c5:conv 6>6 k1 bias;hardsigmoid;mul @23,26;c6:conv 6>6 k1 bias;sigmoid;mul @27,29;gap;"
    "f:linear 6>10 bias"
)
SWISH = "input 3;a:conv 3>5 k3 s8 p1;n:bn 5;hardswish;b:conv 5>6 k1 bias;silu;f:linear 6>10 k5 bias"


def check_everything():
    for what, graph in (("a network of every operation", EVERYTHING), ("hardswish, silu, flatten", SWISH)):
        check_graph(what, graph)


def check_graph(what, graph):
    """A model written here, with numpy alone, asked by our program and by onnxruntime."""
    model = written(graph)
    pixels = load_file(PICTURES)["pixels"][:200].astype(np.float32) / 255
    answers = by_onnxruntime(model, pixels)
    agree(f"{what}, in onnxruntime", answers, ours(model, PICTURES)[:200])
    reference = WORK / "logits.safetensors"
    run("infer", "logits", "--teacher", model, "--images", PICTURES, "--device", "candle", "--out", reference)
    agree(f"{what}, on --device candle", load_file(reference)["logits"][0][:200], answers)


def by_onnxruntime(model, pixels):
    """Logits of the exported model for pixels in 0..1, [n, 3, size, size]."""
    import onnxruntime

    file = WORK / "written.onnx"
    run("infer", "export", "--model", model, "--onnx", file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"pictures": pixels})[0]


def check_pools():
    """Every pool that PyTorch allows, of windows up to 5, on 12, 13 and 14 px with values of both signs."""
    images = few(36)
    pixels = load_file(images)["pixels"].astype(np.float32) / 255
    stems = {12: "k3 s3", 13: "k3 s3 p2", 14: "k10 s2"}  # of 36 px
    count, worst = 0, 0.0
    for (verb, kernel, stride), ceil, side in product(product(("max", "avg"), range(1, 6), range(1, 5)), ("", " ceil"), stems):
        for padding in range(kernel // 2 + 1):
            pool = f"{verb} k{kernel} s{stride} p{padding}{ceil}"
            room = side + 2 * padding - kernel
            across = room // stride + 1
            across += bool(ceil and room % stride and across * stride < side + padding)
            model = written(f"input 3;a:conv 3>4 {stems[side]} bias;{pool};f:linear 4>10 k{across} bias")
            try:
                answers = by_onnxruntime(model, pixels)
            except Exception as e:  # onnxruntime's have no common type
                raise AssertionError(f"{pool} on {side} px: {e}") from e
            off = float(np.abs(answers - ours(model, images)).max())
            assert off < TOLERANCE, f"{pool} on {side} px: off by {off} in onnxruntime"  # not for nan either
            count, worst = count + 1, max(worst, off)
    print(f"ok: {count} pools in onnxruntime, largest difference of logits {worst:.1e}")


def in_onnxruntime(model, x, images):
    """The exported model answers the pictures x, [n, 3, size, size] in 0..1, as the artifact of them."""
    if missing("onnxruntime"):
        return
    import onnxruntime

    file = WORK / "model.onnx"
    run("infer", "export", "--model", model, "--onnx", file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    keys = session.get_modelmeta().custom_metadata_map
    size = json.loads(keys["preparation"])["size"]
    assert session.get_inputs()[0].shape == ["N", 3, size, size], session.get_inputs()[0].shape
    answers = np.concatenate([session.run(None, {"pictures": x[i : i + 64]})[0] for i in range(0, len(x), 64)])
    name = header(model)["stage"] + " " + Path(model).name
    agree(f"{name} in onnxruntime {onnxruntime.__version__}", answers, ours(model, images)[: len(x)])


def families():
    """Names that train --help lists."""
    text = subprocess.run([f"{BIN}/train", "--help"], check=True, capture_output=True, text=True).stdout
    lines = text.split("--arch <ARCH>")[-1].split("--width")[0].splitlines()
    return [line.split(":")[0].strip(" -") for line in lines if line.strip().startswith("- ")]


def check_families():
    """Every family, trained a little so that nothing in it is trivial, is exported."""
    images = few(40)
    x = load_file(images)["pixels"].astype(np.float32) / 255
    names = families()
    assert len(names) == 16, names
    for name in names:
        model = WORK / f"{name}.safetensors"
        flags = ["--arch", name, "--params", 40000, "--epochs", 1, "--lr", 0.01]
        run("train", "--images", images, "--validation", images, *flags, "--out", model)
        in_onnxruntime(model, x, images)


def check():
    """All of them."""
    if missing("onnxruntime"):
        return
    check_onnx()
    check_families()
    check_everything()
    check_pools()
