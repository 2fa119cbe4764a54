"""Side by side with other programs on the same machine: python3 bench/compare.py

Answers beside onnxruntime, OpenVINO and PyTorch, training steps beside PyTorch. Needs a release build
(cargo build --release). Who is not installed in the interpreter that runs it is said to be so; --packages FOLDER
installs there what is missing, --with-torch PyTorch too, which is large.

Every line is measured in turns, ours and theirs, --rounds times; medians of all rounds are printed. A ratio of
speeds is ours by theirs: above 1 we are faster; so is one of latencies, theirs by ours. That of memory is ours
by theirs: below 1 we take less. Times on shared machines vary by half; the ratio holds.

With --photos FOLDER, a folder of .jpg files, also preparing pictures and predicting are compared.
"""
import argparse
import functools
import os
import pathlib
import statistics
import subprocess
import tempfile

import rivals
from rivals import ANSWERING, BIN, HERE, MISSING, OURS, TRAINING

# (arch, size, training steps, answers to 32 pictures)
NETWORKS = [
    ("studentnet", 64, 40, 60),
    ("studentnet", 128, 12, 30),
    ("studentnet", 256, 4, 10),
    ("resnet18", 64, 6, 16),
    ("resnet18", 128, 3, 8),
]
BATCHES = [1, 2, 32]
TRAINED = 32
EXACT = ["onnxruntime", "OpenVINO f32"]  # what computes as we do, in f32
HALVED = ["ours bf16", "OpenVINO default"]  # what computes in bfloat16 where the processor can


def processor():
    """Ratios differ between makers' processors, so its name stands beside them."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((l.split(":")[1].strip() for l in lines if l.startswith("model name")), "unknown")


def commit():
    """Ours; with a + where files differ from it."""
    git = lambda *a: subprocess.run(["git", "-C", HERE, *a], capture_output=True, text=True).stdout.strip()
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain") else "")


class Result:
    """The rounds of one program in one case: numbers, or a word that says why there are none."""

    def __init__(self, runs):
        words = [r for r in runs if isinstance(r, str)]
        self.word = words[0] if words else None
        self.runs = runs

    def of(self, *keys):
        """The median of all rounds; None without."""
        value = lambda run: functools.reduce(lambda r, k: r[k], keys, run)
        return None if self.word else statistics.median(value(r) for r in self.runs)

    def cell(self, text, *paths):
        return self.word or text.format(*(self.of(*p) for p in paths))


class Comparison:
    """All measurements of a run of this program."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.measurer = rivals.Measurer(args.packages, args.pin)

    @functools.cache
    def onnx(self, arch, size):
        """The file that infer export writes of the network with random weights."""
        model, file = self.work / f"{arch}-{size}.safetensors", self.work / f"{arch}-{size}.onnx"
        network = ["--arch", arch, "--size", str(size), "--mode", "schedule", "--save", model]
        for command in ([BIN / "bench", *network], [BIN / "infer", "export", "--model", model, "--onnx", file]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return file

    def case(self, mode, arch, size, batch, threads, steps, against):
        """Results by program, in turns; None where --only leaves it out."""
        if self.args.only not in f"{arch} {mode} {size}, batch {batch}, {threads} threads":
            return None
        flags = {"--arch": arch, "--mode": mode, "--size": size, "--batch": batch}
        flags |= {"--steps": steps, "--threads": threads}
        flags = [str(v) for pair in flags.items() for v in pair]
        onnx = lambda: self.onnx(arch, size)
        runs = {name: [] for name in [OURS, *against]}
        for _ in range(self.args.rounds):
            runs[OURS].append(self.measurer.ours(threads, flags))
            for name, rival in against.items():
                # Who cannot does not try again.
                cannot = runs[name] and isinstance(runs[name][-1], str)
                runs[name].append(runs[name][-1] if cannot else self.measurer.theirs(rival, threads, arch, flags, onnx))
        return {name: Result(r) for name, r in runs.items()}

    def steps(self, most):
        return max(3, most // 4) if self.args.quick else most

    def answering(self):
        """Prints speeds as they come, then latencies of single pictures."""
        names = [OURS, *ANSWERING]
        columns = names + ["ours / best of f32", "of the best", "ours bf16 / OpenVINO default"]
        table = Table("Answers, pictures/s", "network | size | batch | threads", columns)
        single = []
        for arch, size, _, most in NETWORKS:
            for batch in BATCHES:
                for threads in self.args.threads:
                    # Of less than a hundred calls the 99th percentile is the slowest.
                    steps = self.steps(min(1000, most * 32 // batch))
                    results = self.case("forward", arch, size, batch, threads, steps, ANSWERING)
                    if results:
                        speeds = [results[n].cell("{:,.0f}", ["median"]) for n in names]
                        ratios = [f"**{best_ratio(results, 'median')}**", best_ratio(results, "best")]
                        ratios.append(f"**{ratio(*(results[n].of('median') for n in HALVED))}**")
                        table.row(arch, size, batch, threads, *speeds, *ratios)
                        if batch == 1:
                            single.append((arch, size, threads, results))
        self.unfair()
        columns = names + ["best of f32 / ours"]
        table = Table("Latency of one picture, ms: median, 99th percentile", "network | size | threads", columns)
        for arch, size, threads, results in single:
            both = ["latency_ms", "median"], ["latency_ms", "p99"]
            cells = [results[n].cell("{:.2f}, {:.2f}", *both) for n in names]
            ours, *theirs = (results[n].of(*both[0]) for n in [OURS, *EXACT])
            theirs = [t for t in theirs if t is not None]
            table.row(arch, size, threads, *cells, f"**{ratio(min(theirs, default=None), ours)}**")

    def unfair(self):
        """Exported files take off mean and deviation, though of nothing; ours is timed behind that."""
        if any(b"centered" in f.read_bytes() for f in self.work.glob("*.onnx")):
            print("\nThe ONNX files begin by subtracting 0 from the colours and dividing them by 1, which is not "
                  "part of our time.")

    def training(self):
        names = [OURS, *TRAINING]
        columns = names + [f"ours / {n}" for n in TRAINING] + ["ours bf16 / autocast bf16"]
        columns += ["ours, MB", "PyTorch eager, MB", "ratio"]
        table = Table(f"Training, {TRAINED} pictures a step, pictures/s", "network | size | threads", columns)
        for arch, size, most, _ in NETWORKS:
            threads = max(self.args.threads)
            results = self.case("train", arch, size, TRAINED, threads, self.steps(most), TRAINING)
            if results:
                speeds = [results[n].cell("{:,.0f}", ["median"]) for n in names]
                ours, eager = results[OURS], results["PyTorch eager"]
                ratios = [f"**{ratio(ours.of('median'), results[n].of('median'))}**" for n in TRAINING]
                ratios.append(f"**{ratio(*(results[n].of('median') for n in ['ours bf16', 'autocast bf16']))}**")
                memory = [r.cell("{:.0f}", ["megabytes"]) for r in (ours, eager)]
                memory.append(ratio(ours.of("megabytes"), eager.of("megabytes")))
                table.row(arch, size, threads, *speeds, *ratios, *memory)


def ratio(a, b):
    return "–" if a is None or b is None else f"{a / b:.2f}"


def best_ratio(results, key):
    """Ours by the faster of those that compute as exactly."""
    theirs = [v for n in EXACT if (v := results[n].of(key)) is not None]
    return ratio(results[OURS].of(key), max(theirs, default=None))


class Table:
    """In Markdown, a row as it comes; none without a row."""

    def __init__(self, title, left, columns):
        line = "|---|" + "---:|" * (left.count("|") + len(columns))
        self.head = f"\n{title}:\n\n| {left} | {' | '.join(columns)} |\n{line}\n"

    def row(self, *cells):
        print(f"{self.head}| {' | '.join(str(c) for c in cells)} |", flush=True)
        self.head = ""


def about(args, versions):
    """What must be known to read the tables."""
    print(f"Processor: {processor()}, {len(os.sched_getaffinity(0))} cores. Ours: commit {commit()}. ", end="")
    print(", ".join(f"{n} {v or MISSING}" for n, v in versions.items()) + ".")
    print(f"\nRounds in turns: {args.rounds}{', of few steps' if args.quick else ''}; their medians; "
          f"{'every process nailed to as many cores as it has threads' if args.pin else 'no process nailed to cores'}. "
          "Times on shared machines vary by half; the ratio holds. OpenVINO's default and autocast compute in "
          "bfloat16 where the processor can, as ours bf16 does, the others in f32.")


def counts(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=counts, default=[1, 2], help="1,2: of answers; training takes the most")
    parser.add_argument("--only", default="", help="part of a case's name: 'resnet18 forward 64, batch 1, 2 threads'")
    parser.add_argument("--quick", action="store_true", help="a quarter of the steps")
    parser.add_argument("--pin", action="store_true", help="a process on so many cores as it has threads")
    parser.add_argument("--packages", metavar="FOLDER", help="where rivals are, and are installed where missing")
    parser.add_argument("--with-torch", action="store_true", help="install PyTorch there, too")
    parser.add_argument("--photos", help="folder of .jpg files")
    parser.add_argument("--model", help="a model for 256 px pictures cut without resizing, for predicting")
    args = parser.parse_args()
    if args.with_torch and not args.packages:
        parser.error("--with-torch installs into the folder of --packages: name one")
    if args.packages:
        rivals.install(args.packages, args.with_torch)
    with tempfile.TemporaryDirectory() as work:
        comparison = Comparison(args, pathlib.Path(work))
        about(args, comparison.measurer.versions)
        comparison.answering()
        comparison.training()
    if args.photos:
        import photos

        photos.compare(args.photos, args.rounds, args.model, comparison.measurer.env)


if __name__ == "__main__":
    main()
