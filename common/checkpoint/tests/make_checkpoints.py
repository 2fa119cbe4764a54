"""Makes checkpoints/ and checkpoints.rs: small files of every form, with what they hold.

    python3 make_checkpoints.py        # PyTorch 2.15, NumPy 2, safetensors 0.8, onnx, h5py
"""

import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

here = Path(__file__).resolve().parent
out = here / "checkpoints"
cases = []
in_parts = []
parts = []


def record(name, form, tensors, where=cases):
    """tensors: name -> anything numpy can turn into float64."""
    where.append((name, form, {k: np.asarray(v, dtype=np.float64) for k, v in tensors.items()}))


def base():
    g = torch.Generator().manual_seed(1)
    wide = torch.randn(4, 6, generator=g)
    return OrderedDict(
        weight=torch.randn(2, 3, generator=g),
        transposed=wide.t(),
        slice=wide[1:3, ::2],
        channels_last=torch.randn(1, 2, 2, 3, generator=g).to(memory_format=torch.channels_last),
        parameter=torch.nn.Parameter(torch.randn(3, generator=g)),
        half=torch.randn(3, generator=g).half(),
        bfloat=torch.randn(3, generator=g).bfloat16(),
        double=torch.randn(2, generator=g).double(),
        int8=torch.tensor([-128, 0, 127], dtype=torch.int8),
        uint8=torch.tensor([0, 200, 255], dtype=torch.uint8),
        int16=torch.tensor([-30000, 30000], dtype=torch.int16),
        int32=torch.tensor([-(2**31), 7], dtype=torch.int32),
        count=torch.tensor(53148),
        bool=torch.tensor([True, False]),
        empty=torch.zeros(0, 3),
    )


def values(tensors):
    return {k: v.detach().double().numpy() for k, v in tensors.items()}


def torch_files():
    t = base()
    for name, form, new in (("legacy.pt", "TorchLegacy", False), ("zip.pt", "TorchZip", True)):
        torch.save(t, out / name, _use_new_zipfile_serialization=new)
        record(name, form, values(t))
    small = OrderedDict(a=torch.tensor([1.5, -2.0]), b=torch.tensor([[3.0]]))
    nested = {"epoch": 7, "best": 0.5, "state_dict": small, "optimizer": {"state": {}, "lr": [0.1, 0.2]}}
    torch.save(nested, out / "nested.pt")
    record("nested.pt", "TorchZip", values(small))
    parallel = OrderedDict((f"module.{k}", v) for k, v in small.items())
    torch.save(parallel, out / "parallel.pt", _use_new_zipfile_serialization=False)
    record("parallel.pt", "TorchLegacy", values(small))
    torch.manual_seed(2)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    torch.manual_seed(3)
    torch.save(net.state_dict(), out / "module.pt", _use_new_zipfile_serialization=False)
    record("module.pt", "TorchLegacy", values(net.state_dict()))


class Marker:
    """Of no library: what a training script of one's own leaves in its checkpoints."""


def whole_checkpoints():
    """What training scripts keep besides weights; parts instead of a whole."""
    import argparse
    import datetime
    import random
    from collections import Counter, defaultdict, namedtuple

    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    everything = {
        "model": net.state_dict(),
        "ema": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "args": argparse.Namespace(lr=0.1, name="x"),
        "path": Path("a/b"),
        "when": datetime.datetime(2020, 5, 1),
        "classes": {"a", "b"},
        "frozen": frozenset([1]),
        "device": torch.device("cpu"),
        "type": torch.float32,
        "number": 1 + 2j,
        "counts": Counter("aab"),
        "by_key": defaultdict(list, a=[1]),
        "numpy_state": np.random.RandomState(1).get_state(),
        "python_state": random.Random(1).getstate(),
        "torch_state": torch.get_rng_state()[:8].clone(),
        "own": Marker(),
    }
    for name, new in (("everything.pt", True), ("everything_legacy.pt", False)):
        torch.save(everything, out / name, _use_new_zipfile_serialization=new)
        record(name, "TorchZip" if new else "TorchLegacy", values(net.state_dict()))
    # An archive whose name has 21 letters: the zip crate's search for the start lands elsewhere.
    torch.save(net.state_dict(), out / "resnet18_food11_final.pt")
    record("resnet18_food11_final.pt", "TorchZip", values(net.state_dict()))
    parts = {"backbone": net[0].state_dict(), "head": net[2].state_dict(), "epoch": 3}
    torch.save(parts, out / "parts.pt")
    both = {f"{k}.{n}": v for k in ("backbone", "head") for n, v in parts[k].items()}
    record("parts.pt", "TorchZip", values(both))
    typed = {
        "u16": torch.tensor([0, 65535], dtype=torch.uint16),
        "e4m3": torch.tensor([0.25, 448.0]).to(torch.float8_e4m3fn),
        "slice": torch.tensor([[1, 2], [3, 4]], dtype=torch.uint32)[:, 1],
    }
    torch.save(typed, out / "typed.pt")
    record("typed.pt", "TorchZip", {k: v.to(torch.float64).numpy() for k, v in typed.items()})
    torch.serialization.set_crc32_options(False)
    torch.save(net[0].state_dict(), out / "unchecked.pt")
    torch.serialization.set_crc32_options(True)
    record("unchecked.pt", "TorchZip", values(net[0].state_dict()))
    torch.save(torch.ones(2), out / "bare.pt")
    torch.save([torch.ones(2)], out / "list.pt")
    torch.jit.script(net).save(out / "script.pt")


def weights_in_parts():
    """What PyTorch multiplies before every use: the file has the parts, the record what the layer uses."""
    from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

    def layers(seed):
        torch.manual_seed(seed)
        convs = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(2, 3, 1, bias=False)
        return torch.nn.ModuleDict(dict(zip("abcd", (*convs, torch.nn.Linear(3, 4), torch.nn.Linear(2, 2)))))

    def record_used(name, net):
        torch.save(net.state_dict(), out / name)
        with torch.no_grad():
            net.eval()
            # Old weight norm and spectral norm compute the weight in a hook before the forward pass.
            for module in net.values():
                for hook in module._forward_pre_hooks.values():
                    hook(module, None)
            used = {f"{k}.{end}": getattr(m, end) for k, m in net.items() for end in ("weight", "bias")}
        record(name, "TorchZip", values({k: v for k, v in used.items() if v is not None}), in_parts)

    pruned = layers(5)
    prune.l1_unstructured(pruned["a"], "weight", amount=0.5)
    prune.ln_structured(pruned["b"], "weight", amount=1, n=2, dim=0)
    prune.random_unstructured(pruned["c"], "bias", amount=2)
    record_used("pruned.pt", pruned)
    old = layers(6)
    for key, dim in (("a", 0), ("b", 1), ("c", None)):
        weight_norm(old[key], dim=dim)
    spectral_norm(old["d"], n_power_iterations=9)
    old["d"](torch.zeros(1, 2))
    prune.random_unstructured(old["a"], "weight_v", amount=0.3)
    old["a"]._forward_pre_hooks.move_to_end(next(iter(old["a"]._forward_pre_hooks)))
    record_used("normed_old.pt", old)
    new = layers(7).double()
    for key, dim in (("a", 0), ("b", 1), ("c", None)):
        parametrizations.weight_norm(new[key], dim=dim)
    parametrizations.spectral_norm(new["d"])
    record_used("normed.pt", new)
    # A function of the weight that no file holds: what it is of stays.
    free = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2)})
    parametrizations.orthogonal(free["a"])
    torch.save(free.state_dict(), out / "orthogonal.pt")
    record("orthogonal.pt", "TorchZip", values(free.state_dict()), in_parts)


def values_with_a_bit():
    """A view with the other sign than its storage; tensors with attributes, and a parameter that has some."""
    x = torch.tensor([1 + 2j, 3 - 4j, -5 + 0.5j])
    tagged, parameter = torch.tensor([1.5, 2.5]), torch.nn.Parameter(torch.tensor([3.5]))
    tagged.made_by, parameter.made_by = "hand", "hand"
    tensors = {"negated": x.conj().imag, "plain": x.imag, "tagged": tagged, "parameter": parameter}
    for name, form, new in (("signs.pt", "TorchZip", True), ("signs_legacy.pt", "TorchLegacy", False)):
        torch.save(tensors, out / name, _use_new_zipfile_serialization=new)
        record(name, form, values(tensors))


def several_networks():
    """An average beside the model has a tensor more; both are in the file, and either can be read."""
    from torch.optim.swa_utils import AveragedModel

    torch.manual_seed(8)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
    average = AveragedModel(net)
    with torch.no_grad():
        net[0].weight += 1
    both = {"model": net.state_dict(), "model_ema": average.state_dict(), "epoch": 3}
    torch.save(both, out / "averaged.pt")
    record("averaged.pt", "TorchZip", values(net.state_dict()))
    part("averaged.pt", "model_ema", average.state_dict())
    # A small student beside its large teacher; two networks in one state dict.
    teacher = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    torch.save({"student": net.state_dict(), "teacher": teacher.state_dict()}, out / "distilled.pt")
    record("distilled.pt", "TorchZip", values(net.state_dict()))
    part("distilled.pt", "teacher", teacher.state_dict())
    pair = torch.nn.ModuleDict({"encoder_q": net, "encoder_k": average.module})
    torch.save({"state_dict": torch.nn.DataParallel(pair).state_dict()}, out / "contrast.pt")
    record("contrast.pt", "TorchZip", values(pair.state_dict()))
    for name in ("encoder_k", "state_dict.module.encoder_k"):
        part("contrast.pt", name, average.module.state_dict())


def part(file, name, tensors):
    parts.append((file, name, values(tensors)))


def encode8(v):
    lo, hi = np.min(v), np.max(v)
    return lo, hi, np.round((v - lo) / (hi - lo) * 255).astype(np.uint8)


def numpy_files():
    rng = np.random.default_rng(2)
    w, b = rng.normal(size=(3, 4)), rng.normal(size=5)
    coded = {"w": encode8(w), "b": encode8(b), "n": np.float64(12.0)}
    decoded = {k: v[2].astype(np.float64) / 255 * (v[1] - v[0]) + v[0] for k, v in list(coded.items())[:2]}
    decoded["n"] = 12.0
    arrays = {
        "f16": w.astype(np.float16),
        "fortran": np.asfortranarray(w),
        "big": b.astype(">f4"),
        "i8": np.arange(-2, 3),
        "scalar": np.float32(2.5),
    }
    for protocol in (2, 3, 4, 5):
        name = f"encode8_protocol{protocol}.pkl"
        (out / name).write_bytes(pickle.dumps(coded, protocol=protocol))
        record(name, "Pickle", decoded)
        name = f"arrays_protocol{protocol}.pkl"
        (out / name).write_bytes(pickle.dumps(arrays, protocol=protocol))
        record(name, "Pickle", arrays)
    # The spelling of NumPy 1, as the files of 2020 have it.
    old = pickle.dumps(coded, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    (out / "encode8_numpy1.pkl").write_bytes(old)
    record("encode8_numpy1.pkl", "Pickle", decoded)
    plain = {k: v for k, v in arrays.items() if k != "scalar"}
    np.savez(out / "plain.npz", **plain)
    record("plain.npz", "Npz", plain)
    np.savez_compressed(out / "object.npz", np.array({"module.x": w.astype(np.float16)}, dtype=object))
    record("object.npz", "Npz", {"x": w.astype(np.float16)})


def safetensors_files():
    x = torch.tensor([0.0, 1.0, -1.5, 0.25, 448.0, -0.001953125])
    t = {
        "e4m3": x.to(torch.float8_e4m3fn),
        "e5m2": x.to(torch.float8_e5m2),
        "e4m3fnuz": (x / 2).to(torch.float8_e4m3fnuz),
        "e5m2fnuz": x.to(torch.float8_e5m2fnuz),
        "bf16": x.bfloat16(),
        "f16": x.half(),
        "f64": x.double(),
        "bool": x > 0,
        "i8": torch.tensor([-5, 5], dtype=torch.int8),
        "u16": torch.tensor([65535], dtype=torch.uint16),
        "u64": torch.tensor([2**40], dtype=torch.uint64),
        "i64": torch.tensor(-9),
    }
    save_file(t, out / "types.safetensors")
    record("types.safetensors", "Safetensors", {k: v.to(torch.float64).numpy() for k, v in t.items()})


def hostile():
    class Run:
        def __reduce__(self):
            import os

            return os.system, ("echo no",)

    (out / "hostile.pkl").write_bytes(pickle.dumps({"a": Run()}, protocol=3))
    # torch zip whose pickle asks for a module to be built
    torch.save(torch.nn.Linear(1, 1), out / "whole_module.pt")
    # a tensor of 10^12 values that all share one
    t = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"a": t}, out / "expanded.pt")


def other_kinds():
    """Files that hold no weights as this crate reads them: each is told by its name."""
    import h5py
    import onnx

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph), out / "model.onnx")
    with h5py.File(out / "keras.h5", "w") as file:
        file["conv/kernel"] = np.zeros((1, 1, 1, 1), np.float32)


def main():
    out.mkdir(exist_ok=True)
    torch_files()
    whole_checkpoints()
    weights_in_parts()
    values_with_a_bit()
    several_networks()
    numpy_files()
    safetensors_files()
    hostile()
    other_kinds()
    lines = [
        f"// Made by make_checkpoints.py with PyTorch {torch.__version__.split('+')[0]}, NumPy {np.__version__}",
        "",
        "/// A tensor: name, shape, values in row-major order.",
        "type Expected = (&'static str, &'static [usize], &'static [f64]);",
        "",
        "const FILES: &[(&str, Format, &[Expected])] = &[",
    ]
    def tensor_lines(tensors):
        for k, v in tensors.items():
            flat = ", ".join(repr(float(x)) for x in v.flatten())
            lines.append(f'        ("{k}", &{list(v.shape)}, &[{flat}]),')
        lines.append("    ]),")

    for name, form, tensors in cases:
        lines.append(f'    ("{name}", Format::{form}, &[')
        tensor_lines(tensors)
    lines += ["];", "", "/// Files of weights in parts: what the layers compute with."]
    lines.append("const IN_PARTS: &[(&str, Format, &[Expected])] = &[")
    for name, form, tensors in in_parts:
        lines.append(f'    ("{name}", Format::{form}, &[')
        tensor_lines(tensors)
    lines += ["];", "", "/// Of a file: what one part of it is called, and holds."]
    lines.append("const PARTS: &[(&str, &str, &[Expected])] = &[")
    for file, name, tensors in parts:
        lines.append(f'    ("{file}", "{name}", &[')
        tensor_lines(tensors)
    lines.append("];")
    (here / "checkpoints.in").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
