"""Perceptual hashes of pictures in this folder for tests/fingerprints.rs, by plain formulas in f64 and SciPy's DCT.

    pip install numpy scipy pillow
    python3 fingerprints.py
"""

from pathlib import Path

import numpy as np
import scipy.fft
from PIL import Image


def areas(n, cells):
    """Share of each of n pixels in the mean over each cell."""
    edges = np.arange(cells + 1) * n / cells
    pixels = np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap, 0, None) * cells / n


def fingerprint(rgb):
    luma = rgb.astype(float) @ [0.299, 0.587, 0.114]
    height, width = luma.shape
    mean = areas(height, 32) @ luma @ areas(width, 32).T
    waves = scipy.fft.dctn(mean, type=2)[1:9, 1:9]
    bits = "".join("1" if wave > 0 else "0" for wave in waves.ravel())
    return int(bits, 2), np.abs(waves).min()


here = Path(__file__).parent
for name in ["rgb.png", "rgba.png", "rgb.bmp", "palette.png"]:
    picture = np.asarray(Image.open(here / name).convert("RGB"))
    print(name, picture.shape, "0x%016x, smallest coefficient %.3f" % fingerprint(picture))

# What the test draws: a side that 32 does not divide, and fewer pixels than cells.
for width, height in [(53, 47), (20, 150)]:
    y, x = np.mgrid[:height, :width]
    picture = np.stack([(x * x + 3 * y) % 256, (5 * x + y * y // 7) % 256, (x * y) % 256], axis=2)
    print(width, height, "0x%016x, smallest coefficient %.3f" % fingerprint(picture))
