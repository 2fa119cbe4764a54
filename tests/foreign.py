"""Checks of tests/foreign.sh that need Python: our files in PyTorch and onnxruntime, and back.

    python3 -B tests/foreign.py <folder of the binaries> <scratch folder>
"""

import os
import pickle
import re
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import exports
import numpy as np
from programs import PICTURES, SHIPPED, STUDENT, TOLERANCE, WORK, agree, header, missing, noise, ours, run, saved
from safetensors.numpy import load_file

SIZE = header(PICTURES)["body"]["preparation"]["size"]


def check_embedding():
    """examples/embed.rs answers as infer does; nothing heavy is in it."""
    folder = Path("examples")
    command = ["cargo", "tree", "-e", "normal", "--prefix", "none"]
    tree = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    crates = {line.split(" ")[0] for line in tree.splitlines() if line}
    heavy = [w for w in ("candle", "rayon", "image", "zune", "indicatif", "clap", "mimalloc") if any(c.startswith(w) for c in crates)]
    assert not heavy, f"examples/embed depends on {heavy}"
    target = Path("target/examples").resolve()
    subprocess.run(["cargo", "build", "--release", "--quiet", "--target-dir", target], cwd=folder, check=True, env=os.environ | {"MODEL": str(Path(SHIPPED).resolve())})
    pixels, classes = load_file(PICTURES)["pixels"], header(SHIPPED)["body"]["classes"]
    expected = ours(SHIPPED, PICTURES).argmax(1)
    for i in range(0, 1000, 100):
        told = subprocess.run([target / "release/embed"], input=pixels[i].transpose(1, 2, 0).tobytes(), check=True, capture_output=True)
        assert told.stdout.decode().strip() == classes[expected[i]], f"picture {i}: {told.stdout}"
    print(f"ok: examples/embed answers as infer; its tree has {len(crates)} crates, none of candle, rayon, image")


def student_net(widths, classes):
    """The course tutorial's network."""
    from torch import nn

    def block(i, o, pool):
        layers = [nn.Conv2d(i, i, 3, 1, 1, groups=i), nn.BatchNorm2d(i), nn.ReLU6(), nn.Conv2d(i, o, 1)]
        return nn.Sequential(*layers, *([nn.MaxPool2d(2, 2, 0)] if pool else []))

    class StudentNet(nn.Module):
        def __init__(self):
            super().__init__()
            w = widths
            stem = nn.Sequential(nn.Conv2d(3, w[0], 3, 1, 1), nn.BatchNorm2d(w[0]), nn.ReLU6(), nn.MaxPool2d(2, 2, 0))
            rest = [block(w[i - 1], w[i], i <= 3) for i in range(1, 8)]
            self.cnn = nn.Sequential(stem, *rest, nn.AdaptiveAvgPool2d((1, 1)))
            self.fc = nn.Sequential(nn.Linear(w[7], classes))

        def forward(self, x):
            return self.fc(self.cnn(x).flatten(1))

    return StudentNet().eval()


def normalized(images, model):
    import torch

    n = header(model)["body"]["input"]["normalization"]
    x = torch.tensor(load_file(images)["pixels"]).float() / 255
    colours = lambda v: torch.tensor(v).reshape(1, 3, 1, 1)
    return (x - colours(n["mean"])) / colours(n["std"])


def torch_answers(net, x):
    import torch

    with torch.no_grad():
        return torch.cat([net(x[i : i + 64]) for i in range(0, len(x), 64)]).numpy()


def check_torch_file():
    """What --format torch writes, by Python's own zip and pickle alone, and by torch.load."""
    file, plain = WORK / "state_dict.pt", WORK / "plain.safetensors"
    for model in (STUDENT, SHIPPED):
        run("quantize", "unpack", "--model", model, "--format", "torch", "--out", file)
        run("quantize", "unpack", "--model", model, "--out", plain)
        found, expected = by_hand(file), load_file(plain)
        assert set(found) == set(expected), set(found) ^ set(expected)
        assert all((found[k] == expected[k]).all() for k in expected)
        print(f"ok: {Path(model).name} as a PyTorch file, read with zipfile and pickle: {len(found)} tensors")
        if not missing("torch"):
            import torch

            net = student_net([expected[f"cnn.{i}.{3 if i else 0}.weight"].shape[0] for i in range(8)], 10)
            net.load_state_dict(torch.load(file, weights_only=True))
            agree(f"{Path(model).name} by torch.load", torch_answers(net, normalized(PICTURES, model)), ours(model, PICTURES))


def by_hand(file):
    """A PyTorch file's tensors, without PyTorch."""
    archive = zipfile.ZipFile(file)
    assert archive.testzip() is None and archive.read("archive/version") == b"3\n"

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            known = {"OrderedDict": OrderedDict, "_rebuild_tensor_v2": rebuild, "FloatStorage": "<f4", "LongStorage": "<i8"}
            return known[name]

        def persistent_load(self, key):
            kind, dtype, entry, place, count = key
            assert (kind, place) == ("storage", "cpu")
            data = np.frombuffer(archive.read(f"archive/data/{entry}"), dtype)
            assert len(data) == count
            return data

    def rebuild(data, offset, shape, strides, gradient, hooks):
        assert offset == 0 and not gradient
        return np.lib.stride_tricks.as_strided(data, shape, [s * data.itemsize for s in strides])

    return Reader(archive.open("archive/data.pkl")).load()


def check_torch():
    import torch
    from safetensors.torch import load_file as load_torch

    expected = ours(STUDENT, PICTURES)
    x = normalized(PICTURES, STUDENT)
    state = load_torch(STUDENT)
    widths = [state[f"cnn.{i}.{3 if i else 0}.weight"].shape[0] for i in range(8)]
    net = student_net(widths, 10)
    net.load_state_dict(state)
    agree(f"student.safetensors in PyTorch {torch.__version__}", torch_answers(net, x), expected)

    run("quantize", "pack", "--model", STUDENT, "--budget", 2000000, "--out", WORK / "m.bin")
    run("quantize", "unpack", "--model", WORK / "m.bin", "--out", WORK / "plain.safetensors")
    net.load_state_dict(load_torch(WORK / "plain.safetensors"))
    agree("unpacked 8-bit student in PyTorch", torch_answers(net, x), ours(WORK / "m.bin", PICTURES))

    run("quantize", "pack", "--model", STUDENT, "--format", "encode16", "--budget", 2000000, "--out", WORK / "s.pkl")
    coded = pickle.loads((WORK / "s.pkl").read_bytes())
    state = {k: torch.tensor(np.float64(v)) for k, v in coded.items()}
    net.load_state_dict(state)
    off = np.abs(torch_answers(net, x) - expected).max()
    assert off < 0.1, off
    print(f"ok: encode16 read by the tutorial's Python: half precision moves logits by {off:.1e}")
    run("quantize", "pack", "--model", STUDENT, "--format", "encode8", "--budget", 2000000, "--out", WORK / "s.pkl")
    coded = pickle.loads((WORK / "s.pkl").read_bytes())
    decode = lambda v: np.float64(v[2]) / 255 * (v[1] - v[0]) + v[0] if isinstance(v, tuple) else v
    net.load_state_dict({k: torch.tensor(decode(v)) for k, v in coded.items()})
    run("prepare", "model", WORK / "s.pkl", "--size", SIZE, "--fit", "crop", "--out", WORK / "decoded.safetensors")
    ours8 = ours(WORK / "decoded.safetensors", PICTURES)
    raw = torch.tensor(load_file(PICTURES)["pixels"]).float() / 255
    agree("encode8 written here, decoded by the tutorial's Python and by us", torch_answers(net, raw), ours8)


TORCHVISION = (
    "resnet18",
    "resnet34",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "densenet121",
)


def ready(net, pictures):
    """An untrained network as if trained on these pictures: with their statistics, without which it answers all of
    them alike, and a head whose largest logit is 1."""
    import torch

    net.train()
    head = [m for m in net.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)][-1]
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.momentum = 1
        net(pictures)
        answers = torch_answers(net.eval(), pictures)
        for values in head.parameters():
            values /= float(np.abs(answers).max())
    spread = answers.std(0).max() / np.abs(answers).max()
    assert spread > 10 * TOLERANCE, f"answers to all pictures are within {spread}: nothing is tested"


def check_torchvision():
    """State dicts of torchvision's networks in all three forms of file."""
    import torch
    import torchvision
    from safetensors.torch import save_file as save_torch

    images = {size: noise(size) for size in (64, 224)}
    pictures = {size: torch.tensor(load_file(f)["pixels"]).float() / 255 for size, f in images.items()}
    file = WORK / "network.pt"
    save = {
        "safetensors": lambda net: save_torch(net.state_dict(), file),
        "torch legacy": lambda net: torch.save(net.state_dict(), file, _use_new_zipfile_serialization=False),
        "torch zip": lambda net: torch.save(net.state_dict(), file),
    }
    for name in TORCHVISION:
        model = WORK / f"torchvision.{name}.safetensors"
        torch.manual_seed(1)
        net = getattr(torchvision.models, name)(num_classes=11)
        for size, forms in ((224, ("torch zip",)), (64, tuple(save))):
            ready(net, pictures[size])
            expected = torch_answers(net, pictures[size])
            for form in forms:
                save[form](net)
                run("prepare", "model", file, "--size", size, "--out", model)
                agree(f"{name} from a {form} file, {size} px", expected, ours(model, images[size]))
        exports.in_onnxruntime(model, pictures[64].numpy(), images[64])


def check_epsilon():
    """A student whose batch norms have an epsilon of 1e-3: in PyTorch, as ONNX, coded and unpacked again."""
    graph = re.sub(r":bn (\d+)", r":bn \1 eps1e-3", header(STUDENT)["body"]["graph"])
    tensors = load_file(STUDENT)
    model = saved(tensors, header(STUDENT)["body"] | {"graph": graph})
    student = model.rename(WORK / "epsilon.safetensors")
    pixels = load_file(PICTURES)["pixels"][:200].astype(np.float32) / 255
    expected = ours(student, PICTURES)
    if not missing("onnxruntime"):
        agree("epsilon 1e-3 in onnxruntime", exports.by_onnxruntime(student, pixels), expected[:200])
    packed, file = WORK / "epsilon.bin", WORK / "epsilon.pt"
    run("quantize", "pack", "--model", student, "--budget", 2000000, "--out", packed)
    run("quantize", "unpack", "--model", packed, "--format", "torch", "--epsilon", 1e-3, "--out", file)
    if missing("torch"):
        return
    import torch

    x = normalized(PICTURES, STUDENT)
    net = student_net([tensors[f"cnn.{i}.{3 if i else 0}.weight"].shape[0] for i in range(8)], 10)
    net.load_state_dict({k: torch.tensor(v) for k, v in tensors.items()}, strict=False)
    wrong = np.abs(torch_answers(net, x) - expected).max()
    assert wrong > 10 * TOLERANCE, f"PyTorch's own epsilon is off by {wrong} only: nothing is tested"
    print(f"ok: with PyTorch's own epsilon logits would be off by {wrong:.1e}")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3
    agree(f"epsilon 1e-3 in PyTorch {torch.__version__}", torch_answers(net, x), expected)
    net.load_state_dict(torch.load(file, weights_only=True))
    agree("epsilon 1e-3, coded, unpacked, in PyTorch", torch_answers(net, x), ours(packed, PICTURES))


def check_factored():
    """Layers pulled apart: exported; coded, unpacked and loaded into PyTorch's modules."""
    x = load_file(PICTURES)["pixels"][:200].astype(np.float32) / 255
    factored, coded, plain = (WORK / f"factored{end}.safetensors" for end in ("", ".coded", ".plain"))
    run("prune", "low-rank", "--model", STUDENT, "--energy", 0.8, "--out", factored)
    exports.in_onnxruntime(factored, x, PICTURES)
    run("quantize", "pack", "--model", factored, "--bits", 6, "--budget", 900000, "--out", coded)
    run("quantize", "unpack", "--model", coded, "--out", plain)
    if missing("torch"):
        return
    import torch
    from safetensors.torch import load_file as load_torch

    state = load_torch(plain)
    layers = [k.removesuffix(".0.weight") for k in state if k.removesuffix(".0.weight") + ".1.weight" in state]
    layers = [k for k in layers if state[k + ".1.weight"].dim() > 1]
    assert len(layers) > 5, layers
    original = load_torch(STUDENT)
    net = student_net([original[f"cnn.{i}.{3 if i else 0}.weight"].shape[0] for i in range(8)], 10)
    for name in layers:
        old, rank = net.get_submodule(name), state[name + ".0.weight"].shape[0]
        if isinstance(old, torch.nn.Linear):
            pair = torch.nn.Linear(old.in_features, rank, bias=False), torch.nn.Linear(rank, old.out_features)
        else:
            window = (old.kernel_size, old.stride, old.padding)
            windows = (window, (1,)) if state[name + ".0.weight"].shape[2:] == old.kernel_size else ((1,), window)
            pair = torch.nn.Conv2d(old.in_channels, rank, *windows[0], bias=False), torch.nn.Conv2d(rank, old.out_channels, *windows[1])
        net.set_submodule(name, torch.nn.Sequential(*pair))
    net.load_state_dict(state)
    answers = torch_answers(net.eval(), normalized(PICTURES, STUDENT))
    agree(f"{len(layers)} factored layers, unpacked, in PyTorch", answers, ours(coded, PICTURES))


if __name__ == "__main__":
    if not missing("torch", "torchvision", "PIL"):
        check_torchvision()
        check_torch()
    check_torch_file()
    check_embedding()
    exports.check()
    check_epsilon()
    check_factored()
