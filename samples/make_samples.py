#!/usr/bin/env python3
"""Makes pictures.tar.gz and test_labels.csv: a small Fashion-MNIST with Food-11's file names.

3,000 training, 1,000 validation and 1,000 testing pictures of 28 x 28 grey pixels, classes
balanced, drawn with a fixed seed: training and validation from Fashion-MNIST's training set,
testing from its test set. The same input gives the same bytes.

    apt-get install dataset-fashion-mnist
    python3 make_samples.py [/usr/share/datasets/fashion-mnist]
"""

import gzip
import io
import random
import struct
import sys
import tarfile
import zlib
from pathlib import Path

SEED = 11
CLASSES = 10
PER_CLASS = {"training": 300, "validation": 100, "testing": 100}


def read_idx(path):
    """The IDX format: magic, sizes, then one byte per value."""
    data = gzip.decompress(path.read_bytes())
    dims = data[3]
    shape = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
    return shape, data[4 + 4 * dims :]


def png(pixels, width, height):
    """An 8-bit grey PNG whose pixels are stored, not deflated: the archive compresses better."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + pixels[y * width : (y + 1) * width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 0))
        + chunk(b"IEND", b"")
    )


def load(folder, prefix):
    (n, height, width), pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    _, labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    size = height * width
    pictures = [png(pixels[i * size : (i + 1) * size], width, height) for i in range(n)]
    return pictures, labels


def draw(rng, labels, counts):
    """Disjoint lists of indices, each with counts[k] of every class."""
    chosen = [[] for _ in counts]
    for c in range(CLASSES):
        members = [i for i, label in enumerate(labels) if label == c]
        rng.shuffle(members)
        at = 0
        for out, n in zip(chosen, counts):
            out.append(members[at : at + n])
            at += n
    return chosen


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist")
    here = Path(__file__).resolve().parent
    rng = random.Random(SEED)
    files = []

    pictures, labels = load(folder, "train")
    splits = draw(rng, labels, [PER_CLASS["training"], PER_CLASS["validation"]])
    for split, by_class in zip(["training", "validation"], splits):
        for c, members in enumerate(by_class):
            files += [(f"{split}/{c}_{n}.png", pictures[i]) for n, i in enumerate(members)]

    pictures, labels = load(folder, "t10k")
    (by_class,) = draw(rng, labels, [PER_CLASS["testing"]])
    order = sorted(i for members in by_class for i in members)
    rng.shuffle(order)
    files += [(f"testing/{n:04}.png", pictures[i]) for n, i in enumerate(order)]
    rows = [f"{n},{labels[i]}" for n, i in enumerate(order)]
    (here / "test_labels.csv").write_text("\n".join(["Id,label"] + rows) + "\n")

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    packed = gzip.compress(archive.getvalue(), compresslevel=9, mtime=0)
    (here / "pictures.tar.gz").write_bytes(packed)
    print(f"{len(files)} pictures, {len(packed)} bytes")


if __name__ == "__main__":
    main()
