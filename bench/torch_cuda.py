"""Training steps and answers on a GPU, ours beside PyTorch's, in turns: bench/torch_cuda.py --bench PROGRAM

A step is forward, cross-entropy, backward and AdamW, its pictures on the device; steps are queued and only the last of
a round is waited for, on either side. Ours turns bytes into views besides. An answer brings pictures to the device and
logits back, one batch after the other. PyTorch in channels_last: eager in f32, in TF32, in bfloat16 (autocast), and
a step recorded as a CUDA graph, in TF32 and in bfloat16. Without torch, or without a GPU for it, ours alone.
"""
import argparse
import json
import statistics
import subprocess
import time

# (network, flags of ours, side, batch): the most telling first, as the budget may end before the last.
CASES = [
    ("studentnet", ["--arch", "studentnet", "--width", "2"], 64, 32),
    ("resnet18", ["--arch", "resnet18"], 64, 32),
    ("studentnet", ["--arch", "studentnet", "--width", "2"], 128, 64),
    ("resnet18", ["--arch", "resnet18"], 128, 64),
    ("studentnet", ["--arch", "studentnet", "--width", "2"], 64, 64),
    ("resnet18", ["--arch", "resnet18"], 64, 64),
    ("studentnet", ["--arch", "studentnet", "--width", "2"], 128, 32),
    ("resnet18", ["--arch", "resnet18"], 128, 32),
]
PRECISIONS = ["f32", "tf32", "bf16"]
THEIRS = ["eager f32", "eager TF32", "eager bf16", "graph TF32", "graph bf16"]
CLASSES = 11


def basic_block(nn, i, o, stride):
    """ResNet's, as torchvision's, which may not be there."""
    import torch

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True),
                nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))
            self.side = nn.Identity() if i == o and stride == 1 else nn.Sequential(
                nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

        def forward(self, x):
            return torch.relu(self.body(x) + self.side(x))

    return Block()


def network(name):
    from torch import nn

    if name == "studentnet":
        from torch_step import student

        return student(32)
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for o, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
        layers += [basic_block(nn, width, o, stride), basic_block(nn, o, o, 1)]
        width = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


class Theirs:
    """PyTorch's step and answer of one case in one way."""

    def __init__(self, torch, way, name, size, batch, device):
        how, precision = way.split()
        self.torch, self.batch, self.device, self.is_cuda = torch, batch, device, device == "cuda"
        self.tf32, self.bf16 = precision == "TF32", precision == "bf16"
        self.set()
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(0)
        self.model = network(name).to(device, memory_format=torch.channels_last)
        self.x = torch.randn(batch, 3, size, size).to(device, memory_format=torch.channels_last)
        self.host = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        self.y = torch.zeros(batch, dtype=torch.long, device=device)
        is_graph = how == "graph"
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, capturable=is_graph)
        self.step = self.recorded() if is_graph else self.eager

    def set(self):
        """TF32 or not is the process's, so of whoever runs next."""
        self.torch.backends.cuda.matmul.allow_tf32 = self.tf32
        self.torch.backends.cudnn.allow_tf32 = self.tf32

    def autocast(self):
        return self.torch.autocast(self.device, self.torch.bfloat16, enabled=self.bf16)

    def eager(self):
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            loss = self.torch.nn.functional.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        self.optimizer.step()

    def recorded(self):
        torch = self.torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.eager()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.eager()
        return graph.replay

    def wait(self):
        if self.is_cuda:
            self.torch.cuda.synchronize()

    def train(self, steps):
        """Milliseconds of a step."""
        self.set()
        self.model.train()
        # As ours: a GPU that rested raises its clock in hundreds of milliseconds.
        start, done = time.perf_counter(), 0
        while done < 3 or time.perf_counter() - start < 0.3:
            self.step()
            self.wait()
            done += 1
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.wait()
        return 1e3 * (time.perf_counter() - start) / steps

    def forward(self, steps):
        """Milliseconds of an answer."""
        self.set()
        self.model.eval()
        times = []
        with self.torch.no_grad(), self.autocast():
            began = time.perf_counter()
            while len(times) < steps:
                start = time.perf_counter()
                self.model(self.host.to(self.device, non_blocking=True)).float().cpu()
                if start - began > 0.3:
                    times.append(time.perf_counter() - start)
        return 1e3 * statistics.median(times)


def ours(program, mode, flags, size, batch, steps, device):
    """Milliseconds; or why not."""
    command = [program, "--mode", mode, "--device", device, "--size", str(size), "--batch", str(batch), "--steps", str(steps)]
    try:
        run = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or ["failed"]
        return next((line for line in lines if line.startswith("error")), lines[-1])
    return json.loads(run.stdout)["latency_ms"]["median"]


def torch_or_why(device):
    try:
        import torch
    except ImportError:
        return None, "no torch in this python3: ours alone"
    if device == "cuda" and not torch.cuda.is_available():
        return None, "torch sees no GPU: ours alone"
    name = torch.cuda.get_device_name(0) if device == "cuda" else "CPU"
    return torch, f"torch {torch.__version__}, {name}"


class Case:
    def __init__(self, args, torch, case):
        self.args, self.torch, self.notes = args, torch, []
        self.name, self.flags, self.size, self.batch = case
        self.theirs = {way: self.made(way) for way in (THEIRS if torch else [])}

    def made(self, way):
        try:
            return Theirs(self.torch, way, self.name, self.size, self.batch, self.args.torch_device)
        except Exception as e:  # whatever PyTorch raises, the others are to be timed
            self.notes.append(f"{way}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}")
            return None

    def times(self, mode):
        """Of every way its rounds, taken in turns."""
        found = {name: [] for name in [*self.args.ours, *self.theirs]}
        for _ in range(self.args.rounds):
            for name, (program, flags) in self.args.ours.items():
                # Who cannot does not try again.
                if found[name] and isinstance(found[name][-1], str):
                    continue
                found[name].append(ours(program, mode, [*self.flags, *flags], self.size, self.batch, self.args.steps,
                                        self.args.device))
            for way, theirs in self.theirs.items():
                # A recorded step is no answer.
                if theirs and not (mode == "forward" and way.startswith("graph")):
                    try:
                        found[way].append(getattr(theirs, mode)(self.args.steps))
                    except Exception as e:
                        self.notes.append(f"{way}: {type(e).__name__}: {e}")
        return found

    def row(self, mode):
        found = self.times(mode)
        if mode == "forward":
            found = {w: v for w, v in found.items() if not w.startswith("graph")}
        cells = []
        for way in [*self.args.ours, *THEIRS]:
            numbers = [v for v in found.get(way, []) if not isinstance(v, str)]
            self.notes += [f"{way}: {v}" for v in found.get(way, []) if isinstance(v, str)]
            cells.append(f"{statistics.median(numbers):.3f} ({min(numbers):.3f})" if numbers else "–")
        print(f"| {mode} | {self.name} | {self.size} | {self.batch} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--cudnn", metavar="PROGRAM", help="ours with convolutions by cuDNN")
    parser.add_argument("--budget", type=float, default=240, help="seconds: no case begins after 80 percent of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cuda", help="of ours")
    parser.add_argument("--torch-device", default="cuda")
    parser.add_argument("--cases", type=int, default=len(CASES))
    args = parser.parse_args()
    programs = {"ours": args.bench} | ({"cuDNN": args.cudnn} if args.cudnn else {})
    args.ours = {f"{name} {p}": (program, ["--precision", p]) for name, program in programs.items() for p in PRECISIONS}
    start = time.monotonic()
    torch, about = torch_or_why(args.torch_device)
    print(f"{about}. Milliseconds: the median of {args.rounds} rounds in turns (the best), of {args.steps} steps each.\n")
    columns = [*args.ours, *THEIRS]
    print(f"| mode | network | px | batch | {' | '.join(columns)} |\n|---|---|---:|---:|{'---:|' * len(columns)}", flush=True)
    notes, left = [], []
    for case in CASES[:args.cases]:
        if time.monotonic() - start > 0.8 * args.budget:
            left.append(f"{case[0]} {case[2]} px batch {case[3]}")
            continue
        run = Case(args, torch, case)
        run.row("train")
        if case[3] == 32:
            run.row("forward")
        notes += run.notes
    for note in dict.fromkeys(notes):
        print("note:", note)
    if left:
        print("left out, as time was up:", "; ".join(left))


if __name__ == "__main__":
    main()
