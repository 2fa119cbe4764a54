"""python3 tests/bootstrap.py FOLDER: the intervals of FOLDER/report/data by a plain bootstrap, resample after resample, with
the generator written out again (graph's rng: SplitMix64 by seed, purpose, index), and Holm's correction from its p."""

import csv
import json
import pathlib
import struct
import sys

MASK = 2**64 - 1
RESAMPLES = 10_000


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


class Rng:
    def __init__(self, seed, purpose, index):
        key = 0xCBF29CE484222325
        for byte in purpose.encode():
            key = ((key ^ byte) * 0x100000001B3) & MASK
        self.state = mix((mix(mix(seed) ^ key) + index) & MASK)

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        return mix(self.state) * n >> 64


def draws(pictures):
    """Which pictures each resample has."""
    streams = (Rng(1, "bootstrap pictures", b) for b in range(RESAMPLES))
    return [[rng.below(pictures) for _ in range(pictures)] for rng in streams]


def interval(drawn, rows):
    """Ends of the 95 % percentile interval of the mean of `rows`, one list of values a seed."""
    means = []
    for b, pictures in enumerate(drawn):
        rng = Rng(1, "bootstrap seeds", b)
        seeds = [rng.below(len(rows)) for _ in rows]
        sums = {s: sum(rows[s][i] for i in pictures) for s in set(seeds)}
        means.append(sum(sums[s] for s in seeds) / len(rows) / len(pictures))
    means.sort()
    return means[RESAMPLES // 40], means[RESAMPLES - 1 - RESAMPLES // 40]


def hits(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + n])
    part = lambda k: raw[8 + n + head[k]["data_offsets"][0] : 8 + n + head[k]["data_offsets"][1]]
    rows, classes = head["logits"]["shape"]
    values = struct.unpack(f"<{rows * classes}f", part("logits"))
    row = lambda i: values[i * classes : (i + 1) * classes]
    return [int(max(range(classes), key=lambda c: row(i)[c]) == label) for i, label in enumerate(part("labels"))]


def holm(p):
    """Of all p at once: by every rank up to one's own the largest product, at most 1."""
    order = sorted(p)
    return [max(min(1.0, order[j] * (len(p) - j)) for j in range(order.index(x) + 1)) for x in p]


def main():
    out = pathlib.Path(sys.argv[1])
    data = out / "report/data"
    table = lambda name: list(csv.DictReader(open(data / f"{name}.csv")))
    near = lambda a, b: abs(a - float(b)) < 1e-9
    checked = 0
    for folder, columns in (("eval", ("low", "high")), ("test", ("test_low", "test_high"))):
        if not (out / folder / "q1").exists():
            continue
        answers = lambda way, seed: hits(out / folder / "q1" / f"{way}-{seed}.answers.safetensors")
        drawn = draws(len(answers("none", 1)))
        for row in table("ways"):
            if row["question"] == "q1" and row["way"] in ("none", "pruning"):
                found = interval(drawn, [answers(row["way"], s) for s in range(1, int(row["seeds"]) + 1)])
                assert all(near(f, row[c]) for f, c in zip(found, columns)), (row, found)
                checked += 1
        for row in table("pairs"):
            if row["question"] == "q1" and {row["a"], row["b"]} == {"none", "pruning"}:
                both = [(answers(row["a"], s), answers(row["b"], s)) for s in range(1, int(row["seeds"]) + 1)]
                found = interval(drawn, [[y - x for x, y in zip(a, b)] for a, b in both])
                assert all(near(f, row[c]) for f, c in zip(found, columns)), (row, found)
                checked += 1
    pairs = table("pairs")
    for question in {row["question"] for row in pairs}:
        of = [row for row in pairs if row["question"] == question]
        for row, p in zip(of, holm([float(row["p"]) for row in of])):
            assert near(p, row["holm"]), (row, p)
            assert row["better"] == "none" or p < 0.05, row
    print(f"ok: {checked} intervals of {RESAMPLES:,} resamples, drawn again by Python, and Holm's p of {len(pairs)} pairs")


if __name__ == "__main__":
    main()
