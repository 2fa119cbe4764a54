"""Prints the numbers of `distillation_loss_equals_the_tutorial` in ../training.rs (PyTorch 2.15)."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_printoptions(precision=9)
s = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]], requires_grad=True)
t = torch.tensor([[5.0, -1.0, 2.0], [-2.0, 4.0, 1.0]])
y = torch.tensor([0, 2])
for temperature, alpha in ((20, 0.5), (4, 0.9), (1, 0.0)):
    # The tutorial's loss_fn_kd.
    hard = F.cross_entropy(s, y) * (1.0 - alpha)
    soft = nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(s / temperature, dim=1), F.softmax(t / temperature, dim=1)
    ) * (alpha * temperature * temperature)
    s.grad = None
    (hard + soft).backward()
    print(temperature, alpha, float(hard + soft), s.grad.flatten().tolist())
