"""Makes the JPEGs of ../jpegs.rs, jpegs.bin, and prints jpegs.rs: where they lie in it, and Pillow's pixels of them.

    python3 make_jpegs.py >jpegs.rs        (Pillow 13.0, cjpeg and jpegtran of libjpeg-turbo 2.1.5)

Every order of scans, the sampling factors that differ in kind, restart intervals, progressive scripts, numbers of
components, markers that say what the components are, stray bytes.
"""

import io
import itertools
import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import PIL
from PIL import Image

here = Path(__file__).resolve().parent
# So that blocks of a component alone are fewer than those of whole MCUs, in both directions.
WIDTH, HEIGHT = 13, 21


def scene():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    for y, x in itertools.product(range(HEIGHT), range(WIDTH)):
        image.putpixel((x, y), (int(128 + 100 * math.sin(x / 5) * math.cos(y / 6)), 255 * x // WIDTH, 255 * y // HEIGHT))
    return image


def ordered_partitions(items):
    """All ways to hand out `items` to scans, in all orders of these."""
    if not items:
        yield []
    for n in range(1, len(items) + 1):
        for first in itertools.combinations(items, n):
            for rest in ordered_partitions([i for i in items if i not in first]):
                yield [first, *rest]


def run(program, data, scans=None, *flags):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as script:
        if scans:
            script.write("\n".join(scans))
            script.flush()
            flags += ("-scans", script.name)
        return subprocess.run([program, *flags], input=data, capture_output=True, check=True).stdout


def cjpeg(scans, sampling, *flags):
    image = scene()
    data = b"P6\n%d %d\n255\n" % image.size + image.tobytes()
    coding = () if "-arithmetic" in flags else ("-optimize",)
    return run("cjpeg", data, scans, "-quality", "85", "-sample", sampling, *coding, *flags)


def baseline(scans):
    return [" ".join(map(str, scan)) + ";" for scan in scans]


def progressive(scans):
    """DC by the given scans, AC by component, both with successive approximation."""
    dc = [" ".join(map(str, scan)) for scan in scans]
    lines = [f"{d}: 0-0, 0, 1;" for d in dc] + [f"{c}: 1-5, 0, 2;" for c in (2, 0, 1)] + [f"{c}: 6-63, 0, 2;" for c in range(3)]
    return lines + [f"{c}: 1-63, {b}, {b - 1};" for b in (2, 1) for c in range(3)] + [f"{d}: 0-0, 1, 0;" for d in dc]


def text(scans):
    return "-".join("".join(map(str, scan)) for scan in scans)


def segments(data):
    """(marker, contents, entropy-coded data behind) of each."""
    at, found = 2, []
    while data[at + 1] != 0xD9:
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        end = at + 2 + length
        behind = end
        while data[behind] != 0xFF or data[behind + 1] in (0, *range(0xD0, 0xD8)):
            behind += 1
        found.append((data[at + 1], data[at + 4 : end], data[end:behind]))
        at = behind
    return found


def joined(parts, stray=b"", at=()):
    """The file of these segments, with stray bytes before some."""
    out = b"\xff\xd8"
    for i, (marker, contents, behind) in enumerate(parts):
        out += (stray if i in at else b"") + bytes([255, marker]) + struct.pack(">H", len(contents) + 2) + contents + behind
    return out + (stray if len(parts) in at else b"") + b"\xff\xd9"


def marked(data, adobe, jfif, names=None):
    """With other markers and names of components."""
    parts = [s for s in segments(data) if s[0] not in (0xE0, 0xEE)]
    if names:
        new = dict(zip((1, 2, 3), names))
        for i, (marker, contents, behind) in enumerate(parts):
            contents = bytearray(contents)
            at = range(6, len(contents), 3) if marker in (0xC0, 0xC1, 0xC2) else range(1, 1 + 2 * contents[0], 2) if marker == 0xDA else ()
            for k in at:
                contents[k] = new[contents[k]]
            parts[i] = (marker, bytes(contents), behind)
    if adobe is not None:
        parts.insert(0, (0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]), b""))
    if jfif:
        parts.insert(0, (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0", b""))
    return joined(parts)


def two_components(data, adobe):
    """Without the third component and its scans."""
    parts = []
    for marker, contents, behind in segments(data):
        if marker in (0xC0, 0xC1, 0xC2):
            contents = contents[:5] + b"\2" + contents[6:12]
        if marker != 0xDA or contents[1] != 3:
            parts.append((marker, contents, behind))
    if adobe is not None:
        parts.insert(0, (0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]), b""))
    return joined(parts)


def colours():
    """Three components: how they are sampled, scanned and restarted."""
    orders = list(ordered_partitions([0, 1, 2]))
    for sampling in ("1x1,1x1,1x1", "2x2,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "4x1,1x1,1x1", "3x1,1x1,1x1", "2x2,2x1,1x2",
                     "1x1,2x2,2x2", "1x1,2x1,2x1", "1x2,2x1,2x1", "4x1,2x1,2x1"):  # fmt: skip
        for scans in orders:
            restarts = (None, "1B", "1") if sampling == "2x2,1x1,1x1" else (None,)
            for restart in restarts:
                flags = ("-restart", restart) if restart else ()
                # jpeg-decoder expects one block more in a row of a component that stands alone: no decoder here reads it.
                refused = sampling == "4x1,2x1,2x1" and ((1,) in scans or (2,) in scans)
                yield f"{sampling} {text(scans)} {restart or ''}", cjpeg(baseline(scans), sampling, *flags), refused
        if "3" not in sampling:
            for scans in ([(0, 1, 2)], [(2,), (0, 1)], [(1,), (0,), (2,)]):
                yield f"{sampling} {text(scans)} progressive", cjpeg(progressive(scans), sampling), False
    for sampling in ("1x1,1x1,1x1", "2x2,1x1,1x1"):
        data = cjpeg(None, sampling)
        for adobe, jfif, names in itertools.product((None, 0, 1, 2), (False, True), (None, b"RGB")):
            yield f"{sampling} Adobe {adobe} JFIF {jfif} {names}", marked(data, adobe, jfif, names), False


def other_numbers():
    """One component, two, four."""
    for sampling, kind in itertools.product(("1x1", "2x2", "3x2"), ([], ["-progressive"])):
        yield f"grey {sampling} {kind}", cjpeg(None, sampling, "-grayscale", *kind), False
    for scans in ([(0,), (1,), (2,)], [(0, 1), (2,)]):
        for adobe in (None, 2):
            yield f"two {text(scans)} {adobe}", two_components(cjpeg(baseline(scans), "2x2,1x1,1x1"), adobe), True
            data = cjpeg([f"{s[:-1]}: 0-0, 0, 0;" for s in baseline(scans)] + [f"{c}: 1-63, 0, 0;" for c in range(3)], "2x2,1x1,1x1")
            yield f"two {text(scans)} {adobe} progressive", two_components(data, adobe), True
    for subsampling, kind in itertools.product(("4:4:4", "4:2:0"), (False, True)):
        file = io.BytesIO()
        scene().convert("CMYK").save(file, "JPEG", quality=85, optimize=True, progressive=kind, subsampling=subsampling)
        for adobe in (None, 0, 1, 2):
            yield f"four {subsampling} {kind} Adobe {adobe}", marked(file.getvalue(), adobe, False), False
        if not kind:
            for scans in ([(0,), (1,), (2,), (3,)], [(3,), (1, 2), (0,)], [(0, 2), (1, 3)]):
                yield f"four {subsampling} {text(scans)}", run("jpegtran", file.getvalue(), baseline(scans)), False
    yield "arithmetic", cjpeg(None, "2x2,1x1,1x1", "-arithmetic"), True


def strays():
    """Bytes where none belong."""
    for name, scans in (("one scan", baseline([(0, 1, 2)])), ("three scans", baseline([(0,), (1,), (2,)])), ("progressive", progressive([(0, 1, 2)]))):
        data = cjpeg(scans, "2x2,1x1,1x1")
        parts = segments(data)
        for stray in (b"\0", b"abcdefg", b"\xff\xff", b"\xff\0"):
            yield f"stray {name} {stray.hex()}", joined(parts, stray, range(1, len(parts) + 1)), False
        for behind in (b"junk", b"\0" * 9, b"\xff", data):
            yield f"behind {name} {behind[:4].hex()}", data + behind, False


def main():
    blob, index = bytearray(), []
    for name, data, refused in itertools.chain(colours(), other_numbers(), strays()):
        pixels = "None"
        if not refused:
            rgb = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
            if rgb not in blob:
                blob += rgb
            pixels = f"Some({blob.index(rgb)})"
        if data not in blob:
            blob += data
        index.append(f'    ("{name.strip()}", {blob.index(data)}, {len(data)}, {pixels}),')
    (here / "jpegs.bin").write_bytes(blob)
    print(f"// Made by make_jpegs.py with Pillow {PIL.__version__}\n")
    print("/// (what it is, where its file begins in jpegs.bin, bytes, where Pillow's pixels of it begin; none: refused)")
    print("type Case = (&'static str, usize, usize, Option<usize>);\n")
    print(f"const SIZE: (usize, usize) = ({WIDTH}, {HEIGHT});\n")
    print("const JPEGS: &[Case] = &[\n" + "\n".join(index) + "\n];")


if __name__ == "__main__":
    sys.exit(main())
