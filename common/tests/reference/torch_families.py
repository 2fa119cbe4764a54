"""Writes torch_families.rs: parameters and logits of every network family in PyTorch, with the formula
weights of torch_networks.py.

    python3 torch_families.py > torch_families.rs      # PyTorch 2.15, torchvision 0.29

EfficientNet-Lite0 is that of the PyPI package efficientnet-lite-pytorch 0.1.0 (pip install --no-deps --target FOLDER,
FOLDER in PYTHONPATH), with margins that follow from each picture's size.
"""

import numpy as np
import torch
import torch.nn as nn
import torchvision
from efficientnet_lite_pytorch import EfficientNet
from torch_networks import formula, show


class MobileNetV1(nn.Module):
    """Howard et al. 2017, table 1, under the names that most PyTorch versions of it use."""

    def __init__(self, classes):
        super().__init__()

        def conv(i, o, k, stride, groups=1):
            return [nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

        blocks, i = [nn.Sequential(*conv(3, 32, 3, 2))], 32
        for o, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + 5 * [(512, 1)] + [(1024, 2), (1024, 1)]:
            blocks.append(nn.Sequential(*conv(i, i, 3, stride, i), *conv(i, o, 1, 1)))
            i = o
        self.model, self.fc = nn.Sequential(*blocks), nn.Linear(1024, classes)

    def forward(self, x):
        return self.fc(self.model(x).mean((2, 3)))


def densenet100(classes):
    """DenseNet-BC (L = 100, k = 12): torchvision's class, with the stem of Huang et al. 2017, section 4.2."""
    net = torchvision.models.DenseNet(12, (16, 16, 16), 24, num_classes=classes)
    for name in ("norm0", "relu0", "pool0"):
        del net.features._modules[name]
    net.features.conv0 = nn.Conv2d(3, 24, 3, 1, 1, bias=False)
    return net


class Plain(nn.Module):
    """Five blocks; `layers(i, o)` gives the convolutions of all but the first."""

    def __init__(self, base, layers, classes):
        super().__init__()
        widths, blocks, i = [base, 2 * base, 4 * base, 8 * base, 8 * base], [], 3
        for b, o in enumerate(widths):
            convs = layers(i, o) if b else [nn.Conv2d(3, o, 3, 1, 1, bias=False)]
            pool = [nn.MaxPool2d(2)] if b < 4 else []
            blocks.append(nn.Sequential(*convs, nn.BatchNorm2d(o), nn.ReLU(), *pool))
            i = o
        self.cnn, self.fc = nn.Sequential(*blocks), nn.Linear(i, classes)

    def forward(self, x):
        return self.fc(self.cnn(x).mean((2, 3)))


def conv3(i, o, groups=1):
    return nn.Conv2d(i, o, 3, 1, 1, groups=groups, bias=False)


TV = torchvision.models
FAMILIES = {
    "resnet18": (lambda n: TV.resnet18(num_classes=n), (64, 224)),
    "resnet34": (lambda n: TV.resnet34(num_classes=n), (64, 224)),
    "mobilenet_v1": (MobileNetV1, (64,)),
    "mobilenet_v2": (lambda n: TV.mobilenet_v2(num_classes=n), (64, 224)),
    "mobilenet_v3_small": (lambda n: TV.mobilenet_v3_small(num_classes=n), (64, 224)),
    "mobilenet_v3_large": (lambda n: TV.mobilenet_v3_large(num_classes=n), (64, 224)),
    "efficientnet_b0": (lambda n: TV.efficientnet_b0(num_classes=n), (64, 224)),
    "efficientnet_lite0": (lambda n: EfficientNet.from_name("efficientnet-lite0", num_classes=n, image_size=None), (64, 75, 224)),
    "shufflenet_v2": (lambda n: TV.shufflenet_v2_x1_0(num_classes=n), (64, 224)),
    "squeezenet1_1": (lambda n: TV.squeezenet1_1(num_classes=n), (64, 224)),
    "densenet121": (lambda n: TV.densenet121(num_classes=n), (64, 224)),
    "densenet100": (densenet100, (32,)),
    "plain": (lambda n: Plain(16, lambda i, o: [conv3(i, o)], n), (64,)),
    "plain_separable": (lambda n: Plain(47, lambda i, o: [conv3(i, i, i), nn.Conv2d(i, o, 1, bias=False)], n), (64,)),
    "plain_grouped": (lambda n: Plain(32, lambda i, o: [conv3(i, o, 4)], n), (64,)),
}


def picture(size):
    x = np.sin(0.37 * np.arange(2 * 3 * size * size)).astype(np.float32)
    return torch.tensor(x).reshape(2, size, size, 3).permute(0, 3, 1, 2).contiguous()


def main():
    print("// Made by torch_families.py with PyTorch", torch.__version__.split("+")[0])
    print("""
/// A family as PyTorch has it.
struct Torch {
    family: &'static str,
    /// Parameters at 1,000 classes.
    parameters: usize,
    /// Side of the pictures, and logits of two of them at 11 classes.
    logits: &'static [(usize, [f32; 22])],
}

const TORCH: &[Torch] = &[""")
    with torch.no_grad():
        for name, (make, sizes) in FAMILIES.items():
            count = sum(p.numel() for p in make(1000).parameters())
            net = make(11).eval()
            formula(net)
            print(f'    Torch {{\n        family: "{name}",\n        parameters: {count},\n        logits: &[')
            for size in sizes:
                print(f"            ({size}, [{show(net(picture(size)).flatten())}]),")
            print("        ],\n    },")
    print("];")


if __name__ == "__main__":
    main()
