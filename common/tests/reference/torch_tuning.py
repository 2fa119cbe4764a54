"""Prints torch_tuning.rs, the numbers of ../tuning.rs (PyTorch 2.15): head and body in parameter groups of their own.

    python3 torch_tuning.py > torch_tuning.rs
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from torch_networks import formula

torch.set_default_dtype(torch.float64)
SIZE, CLASSES, BODY, FROZEN, LATER = 8, 3, 0.1, 2, 4
DECAY, CLIP, EMA = 0.1, 0.5, 0.9


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.n = nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 5, 1, bias=False)
        self.m = nn.BatchNorm2d(5)
        self.f = nn.Linear(5, CLASSES)

    def forward(self, x):
        x = F.hardswish(self.n(self.a(x)))
        return self.f(self.m(self.b(x)).clamp(0, 6).mean((2, 3)))


def average(net, kept, step):
    keep = min(EMA, (1 + step) / (10 + step))
    for name, v in net.state_dict().items():
        if v.is_floating_point():
            kept[name] += (1 - keep) * (v - kept[name])


def run(rule, lr, stored):
    net = Net()
    with torch.no_grad():
        formula(net)
        # A channel with γ near 0 hands on a constant, whose gradient behind a batch norm is rounding alone.
        for norm in (net.n, net.m):
            norm.weight += 0.5
    head, body = list(net.f.parameters()), [p for n, p in net.named_parameters() if not n.startswith("f.")]
    groups = [
        {"params": [p for p in group if (p.dim() > 1) == decays], "lr": rate, "weight_decay": DECAY if decays else 0.0}
        for group, rate in ((head, lr), (body, BODY * lr))
        for decays in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups) if rule == "AdamW" else torch.optim.SGD(groups, lr, 0.9, nesterov=True)
    kept = {n: v.clone() for n, v in net.state_dict().items()}
    losses = []
    for step in range(FROZEN + LATER):
        frozen = step < FROZEN
        for p in body:
            p.requires_grad_(not frozen)
        net.train(not (frozen or stored))
        n = 4 * 3 * SIZE * SIZE
        x = np.sin(0.37 * np.arange(n, dtype=np.float64) + step).astype(np.float32)
        # Batches are [b, size, size, 3] there.
        x = torch.tensor(x).double().reshape(4, SIZE, SIZE, 3).permute(0, 3, 1, 2)
        loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2, 1]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        with torch.no_grad():
            average(net, kept, step + 1)
        losses.append(float(loss.detach()))
    return losses, net.state_dict(), kept


def fingerprint(v):
    v = v.detach().double().flatten().numpy()
    return float((v * np.sin(1.0 + np.arange(len(v)))).sum())


def number(v):
    return f"{v:.9}"


print("//! By torch_tuning.py.\n\nuse crate::Run;\nuse executor::Rule;\n")
print("pub(crate) const RUNS: [Run; 4] = [")
for rule, lr in (("AdamW", 1e-2), ("Sgd", 1e-1)):
    for stored in (False, True):
        losses, state, kept = run(rule, lr, stored)
        print(f"    Run {{\n        rule: Rule::{rule},\n        lr: {lr},\n        stored: {str(stored).lower()},")
        print(f"        losses: &[{', '.join(map(number, losses))}],")
        print("        // Tensor, Σ v[i] · sin(1 + i), that of its average.\n        after: &[")
        for name in sorted(n for n in state if state[n].is_floating_point()):
            print(f'            ("{name}", {number(fingerprint(state[name]))}, {number(fingerprint(kept[name]))}),')
        print("        ],\n    },")
print("];")
