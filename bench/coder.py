"""Beside NNCodec, the coder of ISO/IEC 15938-17: python3 bench/coder.py MODEL IMAGES --packages FOLDER

Both code the same float network, batch norms folded, without any training; the decoded weights answer every
picture of IMAGES by infer eval. Divergence is the mean Kullback-Leibler divergence of these answers from the
float network's, in nats; agreement is the share of pictures that get the same class.

Ours: quantize plan, calibrated on the training pictures (--training), and quantize pack, a file for each budget.
NNCodec: nncodec.nnc.compress of the folded weights as it comes (qp_density 2, nonweight_qp -75, param_opt on: its
own search for the parameters of its probabilities), for uniform and for dependent quantization (use_dq, a
trellis), with one qp for all weights and with opt_qp (its own qp for every layer). Each is taken at the qp whose
bytes come nearest to the budget. Its stream holds names, shapes and weights, ours besides the network, its
classes and how pictures are prepared, some 1,300 bytes.

The last column is our divergence by NNCodec's at our bytes: the least among its ways, each on a straight line of
log divergence between the two measured points around. Needs a release build, numpy, and nncodec 2.1.3 in --packages:

    pip install --target FOLDER --no-deps nncodec==2.1.3 && pip install --target FOLDER numpy
"""
import argparse
import csv
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import types

HERE = pathlib.Path(__file__).resolve().parent
BUDGETS = [80, 90, 100, 110, 120, 135, 150, 170, 200, 300]
WAYS = {
    "uniform": {"use_dq": False, "opt_qp": False},
    "uniform, opt_qp": {"use_dq": False, "opt_qp": True},
    "trellis": {"use_dq": True, "opt_qp": False},
    "trellis, opt_qp": {"use_dq": True, "opt_qp": True},
}
# Quarters of an octave of the step: from far too coarse to far too fine for any budget.
QP = range(-60, 1)


def artifact(path):
    """Body and tensors of an artifact, or of any safetensors file."""
    import numpy as np

    data = pathlib.Path(path).read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    told = header.pop("__metadata__", {}).get("crumb")
    types_of = {"F32": "<f4", "U8": "u1", "F16": "<f2", "I64": "<i8"}
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + n + at for at in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], types_of[entry["dtype"]]).reshape(entry["shape"])
    return json.loads(told)["body"] if told else {}, tensors


def save(path, tensors):
    """Plain safetensors, f32."""
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + 4 * t.size]}
        at += 4 * t.size
    text = json.dumps(header).encode()
    payload = b"".join(t.astype("<f4").tobytes() for t in tensors.values())
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + payload)


def fold(graph, tensors):
    """Graph and weights with every batch norm in the convolution before it (in f64), in the graph's order."""
    import numpy as np

    nodes, out, last = [], {}, None
    for node in graph.split(";"):
        words = node.split()
        name, _, op = words[0].rpartition(":")
        if op == "bn":
            if last is None:
                raise SystemExit(f"{name}: a batch norm that does not follow a convolution cannot be folded here")
            extra = [w for w in words[2:] if w.startswith("e")]
            epsilon = float(extra[0][1:]) if extra else 1e-5
            gain, shift, mean, variance = (
                tensors[f"{name}.{end}"].astype(np.float64)
                for end in ("weight", "bias", "running_mean", "running_var")
            )
            by = gain / np.sqrt(variance + epsilon)
            weight, bias = out[f"{last}.weight"], out.get(f"{last}.bias", 0.0)
            out[f"{last}.weight"] = weight * by.reshape(-1, *[1] * (weight.ndim - 1))
            out[f"{last}.bias"] = (bias - mean) * by + shift
            if "bias" not in nodes[-1].split():
                nodes[-1] += " bias"
            continue
        nodes.append(node)
        last = name if op in ("conv", "linear") else None
        for end in ("weight", "bias") if last else ():
            if f"{name}.{end}" in tensors:
                out[f"{name}.{end}"] = tensors[f"{name}.{end}"].astype(np.float64)
    return ";".join(nodes), {n: np.ascontiguousarray(t, dtype=np.float32) for n, t in out.items()}


class Answers:
    """What models answer to the pictures, beside what the float network does."""

    def __init__(self, binaries, images, folder, body, graph):
        self.binaries, self.images, self.folder = binaries, images, pathlib.Path(folder)
        self.body, self.graph, self.float = body, graph, None

    def run(self, program, *flags):
        done = subprocess.run([str(self.binaries / program), *map(str, flags)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{program} {' '.join(map(str, flags))}\n{done.stderr}")
        return done.stdout

    def model(self, weights):
        """A model artifact of folded `weights`."""
        plain, out = self.folder / "plain.safetensors", self.folder / "decoded.safetensors"
        save(plain, weights)
        prepared, normal = self.body["input"]["preparation"], self.body["input"]["normalization"]
        listed = lambda values: ",".join(repr(v) for v in values)
        exif = ["--exif"] if prepared.get("exif") else []
        self.run(
            "prepare", "model", plain, "--graph", self.graph, "--size", prepared["size"], "--fit", prepared["fit"],
            *exif, "--mean=" + listed(normal["mean"]), "--std=" + listed(normal["std"]),
            "--classes", ",".join(self.body["classes"]), "--out", out,
        )  # fmt: skip
        return out

    def of(self, model):
        """(divergence, agreement) of a model file; the first is the float network."""
        import numpy as np

        out = self.folder / "x.csv"
        self.run("infer", "eval", "--model", model, "--images", self.images, "--out", out)
        tensors = artifact(self.folder / "x.answers.safetensors")[1]
        logits = tensors["logits"].reshape(-1, len(self.body["classes"])).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        answers = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        if self.float is None:
            self.float = answers
        nats = (np.exp(self.float) * (self.float - answers)).sum(axis=1).mean()
        return float(nats), float((answers.argmax(axis=1) == self.float.argmax(axis=1)).mean())


def nncodec(packages):
    """Its nnc module; None where it is not there. What binds it to training frameworks stays out: it is given
    arrays, and would ask for PyTorch, TensorFlow and data sets only to be able to say that these are none."""
    sys.path.insert(0, str(pathlib.Path(packages).resolve()))
    nothing = lambda *_, **__: False
    for name in ("", ".tensorflow_model", ".pytorch_model", ".use_case_init"):
        module = types.ModuleType("nncodec.framework" + name)
        module.is_tef_model = module.is_pyt_model = nothing
        sys.modules[module.__name__] = module
        if name:
            setattr(sys.modules["nncodec.framework"], name[1:], module)
    try:
        import nncodec.nnc

        return nncodec.nnc
    except ImportError as e:
        print(f"skipped: the comparison with NNCodec: {e}; see --help", file=sys.stderr)
        return None


class Theirs:
    """The folded weights, coded by NNCodec in one of its ways."""

    def __init__(self, nnc, way, weights, folder):
        self.nnc, self.way, self.weights, self.folder, self.streams = nnc, way, weights, folder, {}

    def stream(self, qp):
        if qp not in self.streams:
            path = os.path.join(self.folder, "x.nnc")
            copy = {n: t.copy() for n, t in self.weights.items()}
            with quiet():
                found = self.nnc.compress(copy, bitstream_path=path, qp=qp, return_bitstream=True, **self.way)
            self.streams[qp] = bytearray(found)
        return self.streams[qp]

    def nearest(self, budget):
        """The qp whose stream comes nearest to `budget` bytes: bytes fall while it grows."""
        low, high = QP[0], QP[-1]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if len(self.stream(middle)) > budget else (low, middle)
        return min((low, high), key=lambda qp: abs(len(self.stream(qp)) - budget))

    def decoded(self, qp):
        with quiet():
            return self.nnc.decompress(bytearray(self.stream(qp)), verbose=False)


class quiet:
    """What a library prints belongs to no table."""

    def __enter__(self):
        self.kept, sys.stdout = sys.stdout, open(os.devnull, "w")

    def __exit__(self, *_):
        sys.stdout.close()
        sys.stdout = self.kept


def between(points, size):
    """Divergence at `size` bytes on straight lines of its logarithm between `points`; None outside of them."""
    points = sorted(points)
    for (a, low), (b, high) in zip(points, points[1:]):
        if a <= size <= b:
            share = (size - a) / max(b - a, 1)
            return math.exp((1 - share) * math.log(low) + share * math.log(high))
    return None


def ours(answers, args, budget):
    plan, packed = (answers.folder / f"{budget}.{end}" for end in ("plan.safetensors", "bin"))
    pictures = ["--pictures", args.pictures]
    answers.run("quantize", "plan", "--model", args.model, "--images", args.training, "--budget", budget, *pictures, "--out", plan)
    answers.run("quantize", "pack", "--model", args.model, "--plan", plan, "--out", packed)
    size = packed.stat().st_size
    found = (size, *answers.of(packed))
    print(f"ours: {size} bytes, {found[1]:.5f} nats, agreement {found[2]:.3f}", file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="float model artifact")
    parser.add_argument("images", type=pathlib.Path, help="images artifact that judges, such as the validation pictures")
    parser.add_argument("--training", type=pathlib.Path, help="images to plan on [default: training.safetensors beside IMAGES]")
    parser.add_argument("--pictures", type=int, default=300, help="so many of them [default: 300]")
    parser.add_argument("--packages", help="folder with NNCodec; without it ours alone is measured")
    parser.add_argument("--budgets", help="kB, separated by commas [default: %s]" % ",".join(map(str, BUDGETS)))
    parser.add_argument("--binaries", type=pathlib.Path, default=HERE.parent / "target" / "release", help="where our programs are [default: target/release]")
    parser.add_argument("--theirs", type=pathlib.Path, help="CSV that keeps NNCodec's points; read instead where it exists")
    parser.add_argument("--chart", type=pathlib.Path, help="SVG to draw divergence against bytes into")
    args = parser.parse_args()
    args.training = args.training or args.images.with_name("training.safetensors")
    if args.packages:
        sys.path.insert(0, str(pathlib.Path(args.packages).resolve()))
    budgets = [round(1000 * float(b)) for b in args.budgets.split(",")] if args.budgets else [1000 * b for b in BUDGETS]
    try:
        import numpy  # noqa: F401
    except ImportError:
        print("skipped: the comparison with NNCodec: no numpy, neither here nor in --packages; see --help", file=sys.stderr)
        return
    body, tensors = artifact(args.model)
    if body.get("views"):
        raise SystemExit(f"{args.model}: a model with views; both coders are compared by the plain one alone")
    graph, weights = fold(body["graph"], tensors)
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(args.binaries, args.images, folder, body, graph)
        answers.of(args.model)
        folded = answers.of(answers.model(weights))
        if folded[0] > 1e-6:
            raise SystemExit(f"folded here, the network answers otherwise: {folded[0]:e} nats")
        theirs = measured(answers, args, weights, budgets)
        mine = [ours(answers, args, b) for b in budgets]
    print_table(mine, theirs)
    if args.chart:
        args.chart.write_text(chart({"crumb": mine, **{f"NNCodec, {w}": points for w, points in theirs.items()}}))


def measured(answers, args, weights, budgets):
    """NNCodec's points by way: {way: {(bytes, nats, agreement)}}."""
    if args.theirs and args.theirs.exists():
        rows = csv.DictReader(args.theirs.read_text().splitlines())
        found = {}
        for r in rows:
            found.setdefault(r["way"], []).append((int(r["bytes"]), float(r["nats"]), float(r["agreement"])))
        return found
    nnc = nncodec(args.packages) if args.packages else None
    found = {}
    for name, way in WAYS.items() if nnc else ():
        coder = Theirs(nnc, way, weights, answers.folder)
        near = sorted({q for b in budgets for q in [coder.nearest(b)]})
        # One beyond at either end, so that our bytes lie between two points.
        for qp in sorted({*near, near[0] - 1, near[-1] + 1}):
            point = (len(coder.stream(qp)), *answers.of(answers.model(coder.decoded(qp))))
            found.setdefault(name, []).append(point)
            print(f"NNCodec {name}, qp {qp}: {point[0]} bytes, {point[1]:.5f} nats, agreement {point[2]:.3f}", file=sys.stderr)
    if args.theirs and found:
        lines = [f'"{n}",{s},{nats!r},{same!r}' for n, points in found.items() for s, nats, same in points]
        args.theirs.write_text("\n".join(["way,bytes,nats,agreement", *lines]) + "\n")
    return found


def print_table(mine, theirs):
    cell = lambda p: f"{p[1]:.5f} / {p[2]:.3f} ({p[0]:,})"
    print("| bytes | ours, nats / agreement | " + " | ".join(f"NNCodec, {w}" for w in theirs) + " | ratio |")
    print("|---:|---|" + "---|" * len(theirs) + "---:|")
    for size, nats, same in mine:
        near = [cell(min(points, key=lambda p: abs(p[0] - size))) for points in theirs.values()]
        at = [between([(s, n) for s, n, _ in points], size) for points in theirs.values()]
        least = min((n for n in at if n), default=None)
        ratio = f"{nats / least:.2f}" if least else "–"
        print(f"| {size:,} | {nats:.5f} / {same:.3f} | " + " | ".join([*near, ratio]) + " |")


def chart(lines):
    """Divergence, on a logarithmic scale, against kilobytes: a line for each of {name: [(bytes, nats, agreement)]}."""
    width, height, left, bottom = 640, 360, 60, 40
    tens = range(-6, 1)
    x = lambda size: left + (size / 1000 - 75) / (310 - 75) * (width - left - 10)
    y = lambda nats: height - bottom - (math.log10(nats) - tens[0]) / (tens[-1] - tens[0]) * (height - bottom - 10)
    colours = ["#0b6e99", "#999999", "#d95f02", "#bbbbbb", "#7b3294"]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for ten in tens:
        at = y(10.0**ten)
        out += [f'<line x1="{left}" y1="{at:.1f}" x2="{width - 10}" y2="{at:.1f}" stroke="#dddddd"/>',
                f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**ten:g}</text>']
    for kb in range(100, 301, 50):
        out.append(f'<text x="{x(1000 * kb):.1f}" y="{height - bottom + 18}" text-anchor="middle">{kb}</text>')
    out += [f'<text x="{(left + width) / 2}" y="{height - 6}" text-anchor="middle">kB</text>',
            f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">divergence, nats</text>']
    for i, (name, points) in enumerate(lines.items()):
        inside = [p for p in sorted(points) if 75_000 <= p[0] <= 310_000 and 10.0 ** tens[0] <= p[1] <= 1]
        path = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in inside)
        out += [f'<polyline points="{path}" fill="none" stroke="{colours[i]}" stroke-width="{3 if i == 0 else 1.5}"/>',
                f'<text x="{width - 180}" y="{28 + 16 * i}" fill="{colours[i]}">{name}</text>']
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
