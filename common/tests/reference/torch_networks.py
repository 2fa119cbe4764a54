"""Writes torch_networks.rs: what PyTorch makes of the formula weights in ../networks.rs.

    python3 torch_networks.py > torch_networks.rs      # PyTorch 2.15, torchvision 0.29
"""

import numpy as np
import torch
import torch.nn as nn
import torchvision


class StudentNet(nn.Module):
    """The course tutorial's network."""

    def __init__(self, widths, classes):
        super().__init__()
        w = widths
        blocks = [nn.Sequential(nn.Conv2d(3, w[0], 3, 1, 1), nn.BatchNorm2d(w[0]), nn.ReLU6(), nn.MaxPool2d(2, 2, 0))]
        for i in range(1, 8):
            layers = [
                nn.Conv2d(w[i - 1], w[i - 1], 3, 1, 1, groups=w[i - 1]),
                nn.BatchNorm2d(w[i - 1]),
                nn.ReLU6(),
                nn.Conv2d(w[i - 1], w[i], 1),
            ]
            if i <= 3:
                layers.append(nn.MaxPool2d(2, 2, 0))
            blocks.append(nn.Sequential(*layers))
        self.cnn = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d((1, 1)))
        self.fc = nn.Sequential(nn.Linear(w[7], classes))

    def forward(self, x):
        return self.fc(self.cnn(x).flatten(1))


def formula(net):
    """Same weights as `formula` in networks.rs: names in byte order."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    for t, name in enumerate(sorted(state, key=lambda s: s.encode())):
        v = state[name]
        i = np.arange(v.numel(), dtype=np.float64)
        wave = np.sin(0.7 * i + t)
        fan = max(int(np.prod(v.shape[1:])), 1)
        if name.endswith("running_var"):
            wave = 1 + 0.5 * wave
        elif name.endswith("running_mean"):
            wave = 0.1 * wave
        elif v.dim() == 1:
            wave = 0.5 + 0.5 * wave
        else:
            wave = wave * np.sqrt(3 / fan)
        v.copy_(torch.tensor(wave.astype(np.float32)).reshape(v.shape))


def case(arch, width, size, net, parameters, buffers):
    formula(net)
    x = np.sin(0.37 * np.arange(2 * 3 * size * size)).astype(np.float32)
    x = torch.tensor(x).reshape(2, size, size, 3).permute(0, 3, 1, 2).contiguous()
    net.eval()
    with torch.no_grad():
        logits = net(x).flatten()
    net.train()
    y = net(x)
    r = torch.tensor(np.sin(np.arange(22)).astype(np.float32)).reshape(2, 11)
    (y * r).sum().backward()
    grads = dict(net.named_parameters())
    state = net.state_dict()
    show = lambda v: ", ".join(f"{float(f):.5e}" for f in v)
    print("    Torch {")
    print(f"        arch: Arch::{arch},\n        width: {float(width)},")
    print(f"        size: {size},")
    print(f"        logits: [{show(logits[:4])}],")
    print(f"        training_logits: [{show(y.detach().flatten()[:4])}],")
    print("        gradient_norms: &[")
    for p in parameters:
        print(f'            ("{p}", {float(grads[p].grad.norm()):.5e}),')
    print("        ],\n        buffer_sums: &[")
    for b in buffers:
        print(f'            ("{b}", {float(state[b].double().sum()):.5e}),')
    print("        ],\n    },")


def main():
    torch.manual_seed(0)
    print("// Made by torch_networks.py with PyTorch", torch.__version__.split("+")[0])
    print("""
struct Torch {
    arch: Arch,
    width: f32,
    size: usize,
    logits: [f32; 4],
    training_logits: [f32; 4],
    gradient_norms: &'static [(&'static str, f32)],
    buffer_sums: &'static [(&'static str, f32)],
}

const TORCH: &[Torch] = &[""")
    widths = [4, 8, 16, 32, 64, 64, 64, 64]
    case("Studentnet", 0.25, 48, StudentNet(widths, 11),
         ["cnn.0.0.weight", "cnn.0.1.bias", "cnn.2.0.weight", "cnn.3.3.weight", "cnn.5.1.weight", "cnn.7.3.bias", "fc.0.weight"],
         ["cnn.0.1.running_mean", "cnn.4.1.running_var"])
    case("Resnet18", 1.0, 40, torchvision.models.resnet18(num_classes=11),
         ["conv1.weight", "bn1.weight", "layer1.1.conv2.weight", "layer2.0.downsample.0.weight", "layer3.0.bn1.bias", "layer4.1.conv2.weight", "fc.bias"],
         ["bn1.running_var", "layer4.1.bn2.running_mean"])
    print("];")


if __name__ == "__main__":
    main()
