"""Signal to quantization noise (dB) of a unit Gaussian on the best uniform grid about zero with
2 top + 1 levels, by numerical integration: the numbers of codec/uniform.rs (SciPy 1.17)."""

import numpy as np
from scipy.optimize import minimize_scalar

x = np.linspace(-12, 12, 2_400_001)
density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi) * (x[1] - x[0])


def noise(step, top):
    return float((density * (x - step * np.clip(np.round(x / step), -top, top)) ** 2).sum())


for bits in range(2, 8):
    top = 2 ** (bits - 1) - 1
    best = minimize_scalar(lambda s: noise(s, top), bounds=(0.02, 2.5), method="bounded")
    print(bits, round(-10 * np.log10(best.fun), 2))
