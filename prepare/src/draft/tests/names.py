"""Prints torchvision.txt: names and shapes of networks as PyTorch keeps them, of many only the first layers.

usage: python names.py >torchvision.txt      (PyTorch 2.15, torchvision 0.29)

A network per paragraph: its name, then a layer per line: its name, then the end and the shape of each of its
tensors, in the order of the state dict; counts of batches are left out.
"""
from torch import nn
from torchvision import models


class Excited(nn.Module):
    """Squeeze-and-excitation by linear layers, as in Hu's own network."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3)
        self.se = nn.Sequential(nn.Linear(32, 4, bias=False), nn.ReLU(), nn.Linear(4, 32, bias=False), nn.Sigmoid())
        self.last = nn.Conv2d(32, 10, 3)


class Unnamed(nn.Module):
    """The same with biases, under names that say nothing."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3)
        self.fc = nn.Sequential(nn.Linear(32, 4), nn.ReLU(), nn.Linear(4, 32), nn.Sigmoid())
        self.last = nn.Conv2d(32, 10, 3)


class Reduced(nn.Module):
    """Squeeze-and-excitation under the names of EfficientNet-PyTorch."""

    def __init__(self):
        super().__init__()
        self._depthwise_conv = nn.Conv2d(3, 32, 3)
        self._se_reduce = nn.Conv2d(32, 8, 1)
        self._se_expand = nn.Conv2d(8, 32, 1)
        self._project_conv = nn.Conv2d(32, 16, 1)


class Mixer(nn.Module):
    """A linear layer on every pixel."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.mix = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3)


class Squeezed(nn.Module):
    """A bottleneck of 1 × 1 convolutions between batch norms: no excitation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3)
        self.a = nn.Conv2d(32, 8, 1)
        self.an = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 32, 1)
        self.bn = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, 10)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.gru = nn.GRU(8, 8)
        self.fc = nn.Linear(8, 10)


def sequential(*layers):
    return nn.Sequential(*layers, nn.Linear(8, 10))


SMALL = {
    "excited": Excited(),
    "reduced": Reduced(),
    "mixer": Mixer(),
    "squeezed": Squeezed(),
    "recurrent": Recurrent(),
    "wider": nn.Sequential(nn.Conv2d(3, 16, 3), nn.ConvTranspose2d(16, 6, 2), nn.Linear(6, 10)),
    "halved": sequential(nn.Conv2d(3, 16, 3), nn.ConvTranspose2d(16, 8, 2)),
    "named": nn.Sequential(*[nn.Conv2d(3, 8, 3)], nn.ModuleDict({"deconv": nn.ConvTranspose2d(8, 8, 4)})),
    "groups": sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)),
    "bare": sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
    "prelu": sequential(nn.Conv2d(3, 8, 3), nn.PReLU(8)),
    "line": sequential(nn.Conv2d(3, 8, 3), nn.Conv1d(8, 8, 3)),
    "perceptron": nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 64),
        nn.ReLU(),
        nn.Linear(64, 16),
        nn.ReLU(),
        nn.Linear(16, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    ),
    "unnamed": Unnamed(),
    "oblong": sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, (1, 7)), nn.Conv2d(8, 8, (7, 1))),
}

# Layers of each, all where there is no number.
LARGE = {
    "mobilenet_v3_small": 30,
    "efficientnet_b0": 16,
    "regnet_y_400mf": 24,
    "regnet_x_400mf": 24,
    "convnext_tiny": 14,
    "vit_b_16": 10,
    "swin_t": 14,
    "inception_v3": 40,
    "googlenet": 40,
    "mnasnet0_5": 24,
    "mobilenet_v2": 24,
    "resnet50": 40,
    "resnext50_32x4d": 24,
    "vgg11": None,
    "vgg11_bn": None,
    "alexnet": None,
    "squeezenet1_0": 14,
    "squeezenet1_1": 14,
}


def build(name):
    flags = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    return getattr(models, name)(weights=None, **flags)


def show(name, net, most=None):
    layers = {}
    for key, tensor in net.state_dict().items():
        layer, _, end = key.rpartition(".")
        if end != "num_batches_tracked":
            layers.setdefault(layer, []).append(f"{end}={'x'.join(map(str, tensor.shape))}")
    print(name)
    lines = [f"{layer or '-'} {' '.join(ends)}" for layer, ends in layers.items()]
    print("\n".join(lines[:most]) + "\n")


for name, most in LARGE.items():
    show(name, build(name), most)
for name, net in SMALL.items():
    show(name, net)
