"""Writes wrappings.in: what PyTorch calls the tensors of a small plain network that is wrapped, or stands beside
other tensors and networks. Which tensor is which is told by their memory, not by their names.

    python3 make_wrappings.py > wrappings.in      # PyTorch 2.15, torchvision 0.29
"""

import tempfile

import torch
import torch.distributed
import torch.nn as nn
import torchvision
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


class Plain(nn.Module):
    """The family plain, with an eighth of its widths."""

    def __init__(self, classes=4, base=2):
        super().__init__()
        blocks, i = [], 3
        for o in (base, 2 * base, 4 * base, 8 * base, 8 * base):
            blocks.append(nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()))
            i = o
        self.cnn, self.fc = nn.Sequential(*blocks), nn.Linear(i, classes)

    def forward(self, x):
        return self.fc(self.cnn(x).mean((2, 3)))


class Holder(nn.Module):
    """Modules and tensors under names of its own, as a Lightning module or a script's class has them."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)


class OwnLoss(Plain):
    """A Lightning module that is the network itself, with a loss that has weights."""

    def __init__(self):
        super().__init__()
        self.criterion = nn.CrossEntropyLoss(torch.ones(4))


def counted(net):
    """As thop.profile leaves a network: two buffers of every module."""
    for module in net.modules():
        module.register_buffer("total_ops", torch.zeros(1, dtype=torch.float64))
        module.register_buffer("total_params", torch.zeros(1, dtype=torch.float64))
    return net


def inner(net):
    """Activation checkpoints around each block."""
    net.cnn = nn.Sequential(*(checkpoint_wrapper(block) for block in net.cnn))
    return net


def averaged(net):
    """The average in the place of the network: its tensors are what is looked for."""
    average = AveragedModel(net)
    return average, average.module


def all_names(module):
    """Parameters and buffers as the module itself calls them: state_dict() of some wrappers takes their names off."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


PLAIN = list(Plain().state_dict())


def record(title, module, net, tensors=None):
    tensors = module.state_dict() if tensors is None else tensors
    own = [all_names(net)[name].data_ptr() for name in PLAIN] if tensors else []
    lines = []
    for name, tensor in tensors.items():
        at = own.index(tensor.data_ptr()) if tensor.data_ptr() in own else "-"
        lines.append(f"{name} {at} {' '.join(map(str, tensor.shape))}".rstrip())
    found = [int(line.split()[1]) for line in lines if line.split()[1] != "-"]
    assert sorted(found) == list(range(len(PLAIN))), title
    text = "\n".join(lines)
    print(f'    ("{title}", "\\\n{text}"),')


def main():
    scratch = tempfile.mktemp()
    torch.distributed.init_process_group("gloo", init_method=f"file://{scratch}", rank=0, world_size=1)
    torch.manual_seed(1)
    print(f"// Made by make_wrappings.py with PyTorch {torch.__version__.split('+')[0]}\n")
    print("/// The network's own names.")
    print("const PLAIN: &[&str] = &[")
    for name in PLAIN:
        print(f'    "{name}",')
    print("];\n\n/// Of each wrapping a line per tensor: its name, which of PLAIN it is or -, its sizes.")
    print("const WRAPPINGS: &[(&str, &str)] = &[")
    record("bare", net := Plain(), net)
    record("DataParallel", nn.DataParallel(net := Plain()), net)
    record("DistributedDataParallel", DistributedDataParallel(net := Plain()), net)
    record("torch.compile", torch.compile(net := Plain()), net)
    record("torch.compile of DataParallel", torch.compile(nn.DataParallel(net := Plain())), net)
    record("AveragedModel", *averaged(Plain()))
    cpu = torch.device("cpu")
    fsdp = FullyShardedDataParallel(net := Plain(), device_id=cpu, use_orig_params=True)
    # Its parameters are views of one flat tensor: told by their order, which it keeps.
    names = dict(zip(all_names(fsdp), all_names(net).values()))
    record("FSDP", fsdp, Restored(net, names), names)
    net = inner(Plain())
    record("checkpoint_wrapper inside", net, Renamed(net, "_checkpoint_wrapped_module."), all_names(net))
    net = Plain()
    whole = Plain()
    whole.cnn, whole.fc = nn.DataParallel(net.cnn), net.fc
    record("DataParallel inside", whole, net)
    loss = nn.CrossEntropyLoss(torch.ones(4))
    record("Lightning, model and criterion", Holder(model=(net := Plain()), criterion=loss), net)
    record("Lightning, the module itself with a criterion", net := OwnLoss(), net)
    record("m", Holder(m=(net := Plain())), net)
    record("base_model", Holder(base_model=(net := Plain())), net)
    nested = Holder(student=Holder(base_model=(net := Plain())))
    record("module.student.base_model", nn.DataParallel(nested), net)
    record("thop", counted(net := Plain()), net)
    record("student and a larger teacher", Holder(teacher=Plain(base=3), student=(net := Plain())), net)
    queue = {"queue": torch.zeros(4, 8), "queue_ptr": torch.zeros(1)}
    record("MoCo", nn.DataParallel(Holder(encoder_q=(net := Plain()), encoder_k=Plain(), **queue)), net)
    record("model and its average", Holder(model=(net := Plain()), model_ema=AveragedModel(net)), net)
    scaling = Holder(mean=torch.zeros(1, 3, 1, 1), std=torch.ones(1, 3, 1, 1))
    record("Sequential behind a scaling", nn.Sequential(scaling, net := Plain()), net)
    record("with a projection of its own", Holder(net=(net := Plain()), projection=nn.Linear(16, 8)), net)
    print("];")
    densenet()


class Renamed:
    """A network whose names have a wrapper's in them."""

    def __init__(self, net, word):
        self.tensors = {name.replace(word, ""): t for name, t in all_names(net).items()}

    def named_parameters(self):
        return self.tensors.items()

    def named_buffers(self):
        return ()


class Restored(Renamed):
    """A network by the tensors that it has under given names, without the wrapper's."""

    def __init__(self, net, names):
        self.tensors = {name.replace("_fsdp_wrapped_module.", ""): t for name, t in names.items()}


def densenet():
    """Names of torchvision's download, which its own loader turns into those of its class."""

    class Download:
        def get_state_dict(self, **_):
            return old

    net = torchvision.models.DenseNet(2, (1, 1, 1, 1), 4, num_classes=3)
    pairs = {}
    for name in net.state_dict():
        if "num_batches_tracked" not in name:
            was = name
            for half in ("norm1", "norm2", "conv1", "conv2"):
                was = was.replace(f".{half}.", f".{half[:-1]}.{half[-1]}.") if ".denselayer" in name else was
            pairs[was] = name
    fresh = torchvision.models.DenseNet(2, (1, 1, 1, 1), 4, num_classes=3)
    old = {was: fresh.state_dict()[name] for was, name in pairs.items()}
    torchvision.models.densenet._load_state_dict(net, Download(), False)
    assert all(torch.equal(net.state_dict()[n], fresh.state_dict()[n]) for n in pairs.values())
    print("\n/// Names in torchvision's download of DenseNet-121, and in its class.")
    print("const DENSENET: &[(&str, &str)] = &[")
    for was, name in pairs.items():
        if "denseblock1" in name or "denselayer" not in name:
            print(f'    ("{was}", "{name}"),')
    print("];")


if __name__ == "__main__":
    main()
