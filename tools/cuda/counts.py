"""What a step and an answer take on a GPU, from what the stand-in driver counted: counts.sh runs it.

counts.py FOLDER [PTXAS]: FOLDER holds, of every case, what driver/counts.cpp wrote (train, forward) and the line of bench --mode traffic. PTXAS is what ptxas -v said of all kernels.

Times are ESTIMATES: for every launch the longest of three, and 2.5 µs for its start:
  memory   the bytes that it touches, each once, by what the memory moves; what stays in a cache is quicker
  products the operations, by what the arithmetic units do in f32
  a thread a thread's accesses one after the other, 0.1 µs each (four under way of 0.4 µs): what few long threads take
Instructions are not in it: kernels that divide for every value take longer than their bytes.
"""
import collections
import json
import pathlib
import re
import sys

# bytes/s, operations/s in f32. H100 SXM and H200: NVIDIA's data sheets (67 teraFLOPS of FP32; 3.35 and 4.8 TB/s).
# RTX 3060, 12 GB: 3584 cores at 1.777 GHz, two operations each; 192 bits of GDDR6 at 15 Gbit/s.
DEVICES = {"H100": (3.35e12, 67e12), "H200": (4.8e12, 67e12), "RTX 3060": (360e9, 12.7e12)}
START = 2.5e-6
ACCESS = 0.1e-6
FIELDS = "threads read written accesses accessed flop"
Line = collections.namedtuple("Line", "kind name " + FIELDS)


def lines(path):
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return [Line(kind, name, *(float(v) for v in rest)) for kind, name, *rest in rows]


def last(path):
    """What is between the last two results that came back: a step, an answer."""
    all_lines = lines(path)
    ends = [i for i, l in enumerate(all_lines) if l.kind == "down"]
    assert len(ends) > 2, f"{path}: the device was not asked three times"
    return all_lines[ends[-2] + 1:ends[-1] + 1]


def seconds(l, device, with_threads=True):
    bandwidth, peak = DEVICES[device]
    chain = ACCESS * l.accesses / l.threads if with_threads and l.threads else 0
    return max((l.read + l.written) / bandwidth, l.flop / peak, chain) + START


def check(folder, of, parameters):
    """An update writes three numbers for each parameter, whatever else changes: so the counting sees what is done."""
    written = sum(l.written for l in of if l.name == "adamw")
    assert abs(written / (12 * parameters) - 1) < 0.02, f"{folder}: adamw writes {written} bytes for {parameters} parameters"


def on_device(of):
    """Those that run there; transfers wait for the bus besides."""
    return [l for l in of if l.kind not in ("up", "down")]


def table(head, rows):
    print(f"\n| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(c) for c in row)} |")


def total(folder, name, of, least, batch):
    run, mega = on_device(of), lambda v: f"{v / 1e6:.2f}"
    moved = sum(l.read + l.written for l in run)
    times = [f"{1e3 * sum(seconds(l, d, t) for l in run):.2f}" for d in DEVICES for t in (False, True)]
    kinds = collections.Counter(l.kind for l in of)
    bus = [sum(l.read + l.written for l in of if l.kind == kind) for kind in ("up", "down")]
    counts = [kinds["kernel"], kinds["product"], kinds["copy"], kinds["graph"]]
    return [folder.name, name, *counts, mega(moved / batch), mega(least / batch), f"{moved / least:.1f}",
            f"{sum(l.flop for l in run) / 1e9:.1f}", *map(mega, bus), *times]


def kernels(folder, name, of, batch):
    print(f"\n{folder.name}, {name}, by kernel (MB per picture; time: estimate for an H100, threads included):")
    by = collections.defaultdict(list)
    for l in on_device(of):
        by[l.name].append(l)
    for found in by.values():
        for l in found:
            assert l.kind != "kernel" or l.read + l.written > 0, f"{l.name} touches nothing: is the memory the counted one?"
    took = {n: sum(seconds(l, "H100") for l in found) for n, found in by.items()}
    rows = []
    for n in sorted(by, key=took.get, reverse=True):
        found = by[n]
        threads = sum(l.threads for l in found)
        mega = [sum(getattr(l, f) for l in found) / 1e6 / batch for f in ("read", "written", "accessed")]
        longest = max((l.accesses / l.threads for l in found if l.threads), default=0)
        rows.append([n, len(found), f"{min(l.threads for l in found):.0f}", f"{threads / len(found):.0f}",
                     *(f"{m:.3f}" for m in mega), f"{longest:.0f}", f"{1e6 * took[n]:.0f}"])
    table(["kernel", "launches", "fewest threads", "threads", "read", "written", "accessed", "accesses of a thread, most",
           "µs"], rows)


def registers(path):
    """Of every kernel, what ptxas said: registers, bytes of shared memory, bytes spilled."""
    found, generations, name, spilled = collections.defaultdict(dict), [], None, 0
    for line in path.read_text().splitlines():
        if m := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            name, generation = m.groups()
            generations += [generation] if generation not in generations else []
        elif m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(m[1]) + int(m[2])
        elif name and (m := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            found[name][generation] = f"{m[1]}, {shared[1] if shared else 0}, {spilled}"
            name = None
    print(f"\nRegisters, bytes of shared memory, bytes spilled, by ptxas: {len(found)} kernels")
    table(["kernel", *generations], [[n, *(found[n].get(g, "–") for g in generations)] for n in sorted(found)])


def main():
    folder = pathlib.Path(sys.argv[1])
    heads = [f"{d}, ms{' with threads' if t else ''}" for d in DEVICES for t in (False, True)]
    rows, later = [], []
    for case in sorted(p for p in folder.iterdir() if p.is_dir()):
        batch = json.loads((case / "case").read_text())["batch"]
        traffic = json.loads((case / "traffic").read_text())
        per_step = (traffic["megabytes at least"] * batch + traffic["megabytes of weights"]) * 1e6
        per_answer = (traffic["megabytes an answer at least"] * batch + traffic["megabytes of weights"] / 10) * 1e6
        check(case, last(case / "train"), traffic["megabytes of weights"] * 1e6 / 40)
        for name, of, least in [("step", last(case / "train"), per_step), ("answer", last(case / "forward"), per_answer)]:
            rows.append(total(case, name, of, least, batch))
            later.append((case, name, of, batch))
    print("Counted on the stand-in driver; times are estimates, no GPU has run this. MB are per picture, GFLOP those of "
          "products, MB up and down per call.")
    table(["network", "", "kernels", "products", "copies", "graphs", "MB moved", "MB least", "ratio", "GFLOP", "MB up",
           "MB down", *heads], rows)
    for case in later:
        kernels(*case)
    if len(sys.argv) > 2:
        registers(pathlib.Path(sys.argv[2]))


if __name__ == "__main__":
    main()
