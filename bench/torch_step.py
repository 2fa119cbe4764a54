"""PyTorch's side of compare.py: time of a training step or a forward pass, one line of JSON.

The network of the course's tutorial or torchvision's ResNet-18, in channels_last, eager, compiled or with
forward pass and loss in bfloat16 (autocast); forward, cross-entropy, backward, AdamW.
"""
import argparse

import torch
from torch import nn

import timing


def student(base=16):
    widths = [base * m for m in (1, 2, 4, 8, 16, 16, 16, 16)]

    def block(i, o, pool):
        layers = [nn.Conv2d(i, i, 3, 1, 1, groups=i), nn.BatchNorm2d(i), nn.ReLU6(), nn.Conv2d(i, o, 1)]
        return layers + [nn.MaxPool2d(2)] if pool else layers

    layers = [nn.Conv2d(3, base, 3, 1, 1), nn.BatchNorm2d(base), nn.ReLU6(), nn.MaxPool2d(2)]
    for k in range(1, 8):
        layers += block(widths[k - 1], widths[k], k <= 3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[7], 11))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", default="studentnet")
    parser.add_argument("--mode", default="train")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--autocast", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.arch == "studentnet":
        model = student()
    else:
        import torchvision

        model = torchvision.models.resnet18(num_classes=11)
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(args.batch, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(args.batch, dtype=torch.long)
    run = torch.compile(model) if args.compile else model
    if args.mode == "train":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

        def step():
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
                loss = nn.functional.cross_entropy(run(x), y)
            loss.backward()
            optimizer.step()
    else:
        model.eval()

        def step():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=args.autocast):
                run(x)

    timing.report(step, args.batch, args.steps, torch.__version__)


if __name__ == "__main__":
    main()
