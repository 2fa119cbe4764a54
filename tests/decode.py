"""Decodes a coded file (codec "grids") from FORMAT.md alone, without any of the project's code.

usage: decode.py model.bin [plain.safetensors]

With a second file, what `quantize unpack` made of the first: every weight and bias must be equal.
Prints how the entropy-coded integers compare with general compressors on the same integers, one byte
each (two for biases).
"""
import json
import lzma
import struct
import sys
import zlib

import numpy as np


class Decoder:
    def __init__(self, data):
        self.data, self.at, self.range, self.code = data, 4, 2**32 - 1, int.from_bytes(data[:4], "big")

    def bit(self, model):
        p = min(max(model[0] >> 15, 8), 32760)
        bound = (self.range >> 15) * p
        if self.code < bound:
            bit, self.range = 0, bound
            model[0] += 2 * (2**30 - model[0]) // (2 * model[1] + 3)
        else:
            bit, self.range = 1, self.range - bound
            self.code -= bound
            model[0] -= 2 * model[0] // (2 * model[1] + 3)
        model[1] = min(model[1] + 1, 1000)
        while self.range < 2**24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.range, self.code, self.at = self.range << 8, self.code << 8 | byte, self.at + 1
        return bit

    def number(self, bits):
        n = 0
        for _ in range(bits):
            n = n << 1 | self.bit([2**29, 0])
        return n


class Integers:
    LIMITS = (4, 8, 13, 20, 30, 44, 64, 96, 150)

    def __init__(self, decoder):
        self.d, self.models = decoder, {}

    def bit(self, *key):
        return self.d.bit(self.models.setdefault(key, [2**29, 0]))

    def one(self, kind, bucket):
        if not self.bit(kind, "zero", bucket):
            return 0
        negative, m = self.bit(kind, "sign"), 1
        while m < 18 and self.bit(kind, "more", bucket, m):
            m += 1
        if m == 18:
            length = 0
            while length < 13 and self.bit(kind, "length", length):
                length += 1
            n = 1
            for place in reversed(range(length)):
                n = n << 1 | self.bit(kind, "digit", length, place)
            m += n - 1
        return -m if negative else m

    def row_major(self, kind, columns, n):
        column, row, out = [16] * columns, 16, []
        for i in range(n):
            c = i % columns
            mean = (column[c] + row) // 2
            q = self.one(kind, sum(limit <= mean for limit in self.LIMITS))
            m = abs(q)
            column[c], row = (15 * column[c] + 16 * m + 8) // 16, (7 * row + 16 * m + 4) // 8
            out.append(q)
        return out


def scale(code):
    return (16 + code % 16) * 2.0 ** (code // 16 - 4)


def slots(graph):
    """(name, shape, kind) of every tensor, in the order of the payload."""
    for node in graph.split(";"):
        words = node.split()
        name, _, op = words[0].rpartition(":")
        if op in ("conv", "linear"):
            i, o = map(int, words[1].split(">"))
            flag = {w[0]: int(w[1:]) for w in words[2:] if w[1:].isdigit()}
            groups, k = flag.get("g", 1), flag.get("k", 1)
            if op == "linear":
                yield f"{name}.weight", (o, i), 3
            else:
                kind = 0 if groups > 1 else 1 if k > 1 else 2
                yield f"{name}.weight", (o, i // groups, k, k), kind
            if "bias" in words:
                yield f"{name}.bias", (o,), 4
        elif op == "bn":
            for end in ("weight", "bias", "running_mean", "running_var"):
                yield f"{name}.{end}", (int(words[1]),), 4


def check_sum(path, data):
    """The file's BLAKE3 with zeros in place of the sum must begin with the sum."""
    try:
        import blake3
    except ImportError:
        print("skipped: the sum of a file, from FORMAT.md alone: no Python module blake3")
        return
    before = b'{\\"sum\\":\\"'
    if before not in data:
        assert b'\\"schema\\":3' not in data, f"{path} has no sum"
        return
    at = data.index(before) + len(before)
    told = data[at : at + 16].decode()
    found = blake3.blake3(data[:at] + b"0" * 16 + data[at + 16 :]).hexdigest()[:16]
    assert found == told, f"{path}: its sum is {told}, its contents give {found}"


def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    check_sum(path, data)
    start, end = header["q"]["data_offsets"]
    return json.loads(header["__metadata__"]["crumb"])["body"], data[8 + n + start : 8 + n + end]


def decode(body, payload):
    d = Decoder(payload)
    integers, tensors = Integers(d), {}
    for name, shape, kind in slots(body["graph"]):
        d.number(4)
        rows, n = d.number(2), int(np.prod(shape))
        if rows == 2:
            levels = [np.array(d.number(16), "<u2").view("<f2") for _ in range(d.number(9))]
        else:
            mean = d.number(11) - 1024
            rest = integers.row_major(5, shape[0], shape[0]) if rows else [0]
            scales = [scale(min(max(mean + r, -1024), 1023)) for r in rest]
        columns = n // shape[0] if len(shape) > 1 else n
        q = np.array(integers.row_major(kind, columns, n), np.int16)
        if rows == 2:
            values = np.array(levels, np.float32)[q + len(levels) // 2]
        else:
            values = (np.array(scales, np.float32)[:, None] * q.reshape(len(scales), -1)).ravel()
        tensors[name] = q, values.astype(np.float32).reshape(shape)
    assert d.at == len(payload), "the stream ends elsewhere than the payload"
    return tensors


def main():
    body, payload = read(sys.argv[1])
    assert body["codec"] == "grids", body["codec"]
    tensors = decode(body, payload)
    count = sum(q.size for q, _ in tensors.values())
    print(f"{count} values decoded from {len(payload)} bytes")
    if len(sys.argv) > 2:
        from safetensors.numpy import load_file

        plain = load_file(sys.argv[2])
        vectors = {v.tobytes() for v in plain.values()}
        for name, (_, values) in tensors.items():
            # Where the original convolution had no bias, it is the batch norm's.
            same = values.tobytes() == plain[name].tobytes() if name in plain else values.tobytes() in vectors
            if not same and values.ndim == 2 and name in plain and (plain[name] == np.eye(*plain[name].shape)).all():
                # Last layers that were joined are two again: a convolution that makes the logits, and the identity.
                rows, n = values.tobytes(), values.size
                same = any(v.ndim == 4 and v.tobytes().startswith(rows) and not v.ravel()[n:].any() for v in plain.values())
            assert same, f"{name} differs"
        print("equal to quantize unpack, bit for bit")
    raw = b"".join(
        q.astype(np.int8 if values.ndim > 1 else np.int16).tobytes() for q, values in tensors.values()
    )
    sizes = {"this file, grids included": len(payload), "zlib -9": len(zlib.compress(raw, 9))}
    sizes["xz -9e"] = len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    try:
        import zstandard

        sizes["zstd -19"] = len(zstandard.ZstdCompressor(level=19).compress(raw))
    except ImportError:
        print("skipped: the comparison with zstd: no Python module zstandard")
    for name, size in sizes.items():
        print(f"{size:>10,}  {name}")


main()
