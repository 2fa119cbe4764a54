"""What PyTorch makes of the formula weights in ../networks.rs: of families, and of networks that have every operation.

    python3 torch_networks.py families > torch_networks.rs        # PyTorch 2.15, torchvision 0.29
    python3 torch_networks.py operations > torch_operations.rs
"""

import sys

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


class Dense(nn.Module):
    """Concatenation and batch norms that follow no convolution, as in DenseNet."""

    TEXT = (
        "input 3;c0:conv 3>8 k3 p1;n0:bn 8;relu;"
        "a1:bn 8;relu;b1:conv 8>6 k1;m1:bn 6;relu;d1:conv 6>4 k3 p1;concat @3,9;"
        "a2:bn 12;relu;b2:conv 12>6 k1;m2:bn 6;relu;d2:conv 6>4 k3 p1;concat @10,16;"
        "t:bn 16;relu;u:conv 16>8 k1;avg k2 s2;n9:bn 8;relu;gap;fc:linear 8>11 bias"
    )

    def __init__(self):
        super().__init__()
        self.c0, self.n0 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        for i, c in ((1, 8), (2, 12)):
            setattr(self, f"a{i}", nn.BatchNorm2d(c))
            setattr(self, f"b{i}", nn.Conv2d(c, 6, 1, bias=False))
            setattr(self, f"m{i}", nn.BatchNorm2d(6))
            setattr(self, f"d{i}", nn.Conv2d(6, 4, 3, 1, 1, bias=False))
        self.t, self.u, self.n9, self.fc = nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Linear(8, 11)

    def forward(self, x):
        x = self.n0(self.c0(x)).relu()
        for i in (1, 2):
            y = getattr(self, f"b{i}")(getattr(self, f"a{i}")(x).relu())
            x = torch.cat([x, getattr(self, f"d{i}")(getattr(self, f"m{i}")(y).relu())], 1)
        x = nn.functional.avg_pool2d(self.u(self.t(x).relu()), 2)
        return self.fc(self.n9(x).relu().mean((2, 3)))


class Shuffle(nn.Module):
    """Split, shuffle and a pool with ceil_mode, as in ShuffleNet V2."""

    TEXT = (
        "input 3;c0:conv 3>8 k3 s2 p1;n0:bn 8;relu;max k3 s2 ceil;"
        "split 0..4;split 4..8 @4;a1:conv 4>4 k1;b1:bn 4;relu;d1:conv 4>4 k3 p1 g4;e1:bn 4;"
        "f1:conv 4>4 k1;g1:bn 4;relu;concat @5,14;shuffle g2;"
        "split 0..4;split 4..8 @16;a2:conv 4>4 k1;b2:bn 4;relu;d2:conv 4>4 k3 p1 g4;e2:bn 4;"
        "f2:conv 4>4 k1;g2:bn 4;relu;concat @17,26;shuffle g2;"
        "h:conv 8>12 k1;i:bn 12;relu6;gap;fc:linear 12>11 bias"
    )

    def __init__(self):
        super().__init__()
        self.c0, self.n0 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        for i in (1, 2):
            for n in "af":
                setattr(self, f"{n}{i}", nn.Conv2d(4, 4, 1, bias=False))
            setattr(self, f"d{i}", nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False))
            for n in "beg":
                setattr(self, f"{n}{i}", nn.BatchNorm2d(4))
        self.h, self.i, self.fc = nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12), nn.Linear(12, 11)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.n0(self.c0(x)).relu(), 3, 2, ceil_mode=True)
        for i in (1, 2):
            get = lambda n: getattr(self, f"{n}{i}")
            left, right = x.chunk(2, 1)
            y = get("b")(get("a")(right)).relu()
            y = get("g")(get("f")(get("e")(get("d")(y)))).relu()
            x = nn.functional.channel_shuffle(torch.cat([left, y], 1), 2)
        return self.fc(nn.functional.relu6(self.i(self.h(x))).mean((2, 3)))


class Squeeze(nn.Module):
    """No batch norm, a padded average pool with ceil_mode, logits from conv, relu, mean: as in SqueezeNet."""

    TEXT = (
        "input 3;c0:conv 3>8 k3 s2 bias;relu;max k3 s2 ceil;"
        "s1:conv 8>4 k1 bias;relu;e1:conv 4>6 k1 bias;relu;f1:conv 4>6 k3 p1 bias @5;relu;concat @7,9;"
        "avg k3 s2 p1 ceil;s2:conv 12>5 k1 bias;relu;e2:conv 5>9 k1 bias;relu;f2:conv 5>7 k3 p1 bias @13;relu;"
        "concat @15,17;fc:conv 16>11 k1 bias;relu;gap"
    )

    def __init__(self):
        super().__init__()
        self.c0 = nn.Conv2d(3, 8, 3, 2)
        self.s1, self.e1, self.f1 = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 3, 1, 1)
        self.s2, self.e2, self.f2 = nn.Conv2d(12, 5, 1), nn.Conv2d(5, 9, 1), nn.Conv2d(5, 7, 3, 1, 1)
        self.fc = nn.Conv2d(16, 11, 1)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.c0(x).relu(), 3, 2, ceil_mode=True)
        x = self.s1(x).relu()
        x = torch.cat([self.e1(x).relu(), self.f1(x).relu()], 1)
        x = nn.functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True)
        x = self.s2(x).relu()
        x = torch.cat([self.e2(x).relu(), self.f2(x).relu()], 1)
        return self.fc(x).relu().mean((2, 3))


class Swish(nn.Module):
    """Activations that do not only clamp, and a linear layer on 4 x 4 pictures, as after flatten."""

    TEXT = (
        "input 3;c0:conv 3>8 k3 s2 p1;n0:bn 8;hardswish;c1:conv 8>8 k3 p1 g8;n1:bn 8;silu;"
        "c2:conv 8>12 k1 bias;hardswish;avg k2 s2;fc:linear 12>11 k4 bias"
    )

    def __init__(self):
        super().__init__()
        self.c0, self.n0 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.c1, self.n1 = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.c2, self.fc = nn.Conv2d(8, 12, 1), nn.Linear(12 * 4 * 4, 11)

    def forward(self, x):
        x = nn.functional.hardswish(self.n0(self.c0(x)))
        x = nn.functional.silu(self.n1(self.c1(x)))
        x = nn.functional.avg_pool2d(nn.functional.hardswish(self.c2(x)), 2)
        return self.fc(x.flatten(1))


class Epsilons(nn.Module):
    """Batch norms with another epsilon than PyTorch's own, 1e-5, behind convolutions and behind a sum."""

    TEXT = (
        "input 3;c0:conv 3>8 k3 s2 p1;n0:bn 8 eps1e-3;relu6;c1:conv 8>8 k3 p1 g8;n1:bn 8 eps1e-3;relu6;"
        "c2:conv 8>8 k1;n2:bn 8 eps1e-1;add @3,8;n3:bn 8 eps2e-2;relu;c3:conv 8>12 k1;n4:bn 12;relu;gap;"
        "fc:linear 12>11 bias"
    )

    def __init__(self):
        super().__init__()
        self.c0, self.n0 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8, eps=1e-3)
        self.c1, self.n1 = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8, eps=1e-3)
        self.c2, self.n2 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8, eps=1e-1)
        self.n3, self.c3 = nn.BatchNorm2d(8, eps=2e-2), nn.Conv2d(8, 12, 1, bias=False)
        self.n4, self.fc = nn.BatchNorm2d(12), nn.Linear(12, 11)

    def forward(self, x):
        x = nn.functional.relu6(self.n0(self.c0(x)))
        y = nn.functional.relu6(self.n1(self.c1(x)))
        x = self.c3(self.n3(x + self.n2(self.c2(y))).relu())
        return self.fc(self.n4(x).relu().mean((2, 3)))


def blur(x, taps, stride):
    """A fixed filter along rows and columns; the border is mirrored."""
    row = torch.tensor(taps, dtype=x.dtype)
    row = row / row.sum()
    n, c = len(taps), x.shape[1]
    filters = (row[:, None] * row[None, :]).expand(c, 1, n, n)
    before, behind = (n - 1) // 2, n // 2
    x = nn.functional.pad(x, (before, behind, before, behind), mode="reflect")
    return nn.functional.conv2d(x, filters, stride=stride, groups=c)


class Excite(nn.Module):
    """Squeeze-and-excitation, a product of two maps, sigmoids, and blurs in the place of strides."""

    TEXT = (
        "input 3;c0:conv 3>8 k3 s2 p1;n0:bn 8;hardswish;gap;s1:conv 8>4 k1 bias;relu;s2:conv 4>8 k1 bias;"
        "hardsigmoid;mul @3,8;c1:conv 8>8 k1;n1:bn 8;sigmoid;mul @9,12;blur 1,3,3,1 s2;c2:conv 8>12 k3 p1;n2:bn 12;"
        "relu;blur 1,2,1 s2;gap;fc:linear 12>11 bias"
    )

    def __init__(self):
        super().__init__()
        self.c0, self.n0 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.s1, self.s2 = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.c1, self.n1 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.c2, self.n2 = nn.Conv2d(8, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, 11)

    def forward(self, x):
        x = nn.functional.hardswish(self.n0(self.c0(x)))
        gate = self.s2(self.s1(x.mean((2, 3), keepdim=True)).relu())
        x = x * nn.functional.hardsigmoid(gate)
        x = x * self.n1(self.c1(x)).sigmoid()
        x = self.n2(self.c2(blur(x, [1, 3, 3, 1], 2))).relu()
        return self.fc(blur(x, [1, 2, 1], 2).mean((2, 3)))


class Same(nn.Module):
    """Margins as TensorFlow's "SAME" has them, written out: at 28 px that of every window but c2's is uneven."""

    TEXT = (
        "input 3;c0:conv 3>16 k3 s2 same;n0:bn 16 eps1e-3;relu6;c1:conv 16>16 k5 s2 same g16;n1:bn 16;relu6;"
        "c2:conv 16>20 k3 same;n2:bn 20;relu;c3:conv 20>16 k2 same bias;relu;c4:conv 16>12 k4 s2 same g4;n4:bn 12;"
        "relu;max k3 s2 same;gap;fc:linear 12>11 bias"
    )

    def __init__(self):
        super().__init__()
        self.c0, self.n0 = nn.Conv2d(3, 16, 3, 2, bias=False), nn.BatchNorm2d(16, eps=1e-3)
        self.c1, self.n1 = nn.Conv2d(16, 16, 5, 2, groups=16, bias=False), nn.BatchNorm2d(16)
        self.c2, self.n2 = nn.Conv2d(16, 20, 3, bias=False), nn.BatchNorm2d(20)
        self.c3 = nn.Conv2d(20, 16, 2)
        self.c4, self.n4 = nn.Conv2d(16, 12, 4, 2, groups=4, bias=False), nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, 11)

    def forward(self, x):
        pad = lambda x, before, behind, v=0.0: nn.functional.pad(x, 2 * [before, behind], value=v)
        x = nn.functional.relu6(self.n0(self.c0(pad(x, 0, 1))))  # 28 px to 14
        x = nn.functional.relu6(self.n1(self.c1(pad(x, 1, 2))))  # 14 to 7
        x = self.n2(self.c2(pad(x, 1, 1))).relu()
        x = self.c3(pad(x, 0, 1)).relu()
        x = self.n4(self.c4(pad(x, 1, 2))).relu()  # 7 to 4
        x = nn.functional.max_pool2d(pad(x, 0, 1, -torch.inf), 3, 2)  # 4 to 2
        return self.fc(x.mean((2, 3)))


def show(values):
    return ", ".join(f"{float(f):.5e}" for f in values)


def losses(net, x, labels, make):
    """Of three steps of the tutorial's loss on labels alone."""
    formula(net)
    net.train()
    decays = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() == 1]
    optimizer = make([{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}])
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    net.eval()
    with torch.no_grad():
        return found, net(x).flatten()


def case(name, graph, size, net):
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
    print(f'    Torch {{\n        name: "{name}",\n        graph: "{graph}",\n        size: {size},')
    print(f"        logits: [{show(logits)}],")
    print(f"        training_logits: [{show(y.detach().flatten())}],")
    print("        gradient_norms: &[")
    for n, p in sorted(net.named_parameters(), key=lambda p: p[0].encode()):
        print(f'            ("{n}", {float(p.grad.double().norm()):.5e}),')
    print("        ],\n        buffer_sums: &[")
    for n, b in sorted(net.state_dict().items(), key=lambda p: p[0].encode()):
        if n.endswith(("running_mean", "running_var")):
            print(f'            ("{n}", {float(b.double().sum()):.5e}),')
    print("        ],")
    labels = torch.tensor([3, 7])
    for rule, make in (
        ("adamw", lambda p: torch.optim.AdamW(p, lr=1e-4)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, nesterov=True)),
    ):
        found, after = losses(net, x, labels, make)
        print(f"        {rule}: ([{show(found)}], [{show(after)}]),")
    print("    },")


def main():
    torch.manual_seed(0)
    what = sys.argv[1]
    print(f"// Made by torch_networks.py {what} with PyTorch", torch.__version__.split("+")[0])
    print(f"\nconst {what.upper()}: &[Torch] = &[")
    if what == "families":
        widths = [4, 8, 16, 32, 64, 64, 64, 64]
        case("studentnet", "studentnet 0.25", 48, StudentNet(widths, 11))
        case("resnet18", "resnet18 1", 40, torchvision.models.resnet18(num_classes=11))
        return print("];")
    case("dense", Dense.TEXT, 14, Dense())
    case("shuffle", Shuffle.TEXT, 26, Shuffle())
    case("squeeze", Squeeze.TEXT, 30, Squeeze())
    case("swish", Swish.TEXT, 16, Swish())
    case("epsilons", Epsilons.TEXT, 16, Epsilons())
    case("excite", Excite.TEXT, 18, Excite())
    case("same", Same.TEXT, 28, Same())
    print("];")


if __name__ == "__main__":
    main()
