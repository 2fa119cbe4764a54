"""Who is timed beside us by compare.py: what each needs, its command, and what it answered.

A measurement is a process of its own and prints one line of JSON. Nothing is installed but by install().
"""
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parent / "target" / "release"
MISSING, FAILED = "not installed", "failed"

RUNTIMES = ["numpy==2.*", "onnxruntime==1.*", "openvino==2026.*"]
TORCH = ["torch==2.*", "torchvision==0.*"]

# Name -> (packages, program, its arguments), rivals and our own other precision. Of onnx_forward.py the first argument is
# the file.
BF16 = ([], BIN / "bench", ["--precision", "bf16"])
ANSWERING = {
    "ours bf16": BF16,
    "onnxruntime": (["onnxruntime", "numpy"], "onnx_forward.py", ["--runtime", "onnxruntime"]),
    "OpenVINO f32": (["openvino", "numpy"], "onnx_forward.py", ["--runtime", "openvino-f32"]),
    "OpenVINO default": (["openvino", "numpy"], "onnx_forward.py", ["--runtime", "openvino"]),
    "PyTorch eager": (["torch"], "torch_step.py", []),
    "compiled": (["torch"], "torch_step.py", ["--compile"]),
}
TRAINING = {
    "ours bf16": BF16,
    "PyTorch eager": (["torch"], "torch_step.py", []),
    "compiled": (["torch"], "torch_step.py", ["--compile"]),
    "autocast bf16": (["torch"], "torch_step.py", ["--autocast"]),
}
OURS = "ours"


def install(folder, with_torch):
    """What is not there yet goes into `folder`, by pip of this interpreter and its settings."""
    note = pathlib.Path(folder) / "installed.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", folder]
    have = note.read_text().split() if note.exists() else []
    for wanted in [RUNTIMES, TORCH][: 1 + with_torch]:
        if not set(wanted) <= set(have):
            if subprocess.run([*pip, *wanted], stdout=sys.stderr).returncode:
                raise SystemExit(f"{', '.join(wanted)} could not be installed into {folder}")
            have += wanted
            note.write_text("\n".join(have) + "\n")


class Measurer:
    """Runs ours and theirs: with what is in `packages` (a folder, or None), nailed to cores where `pin`."""

    def __init__(self, packages, pin):
        paths = [str(pathlib.Path(packages).resolve())] if packages else []
        paths += filter(None, [os.environ.get("PYTHONPATH")])
        self.env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self.pin = pin
        self.versions = self.installed(["onnxruntime", "openvino", "numpy", "torch", "torchvision"])

    def installed(self, names):
        """Versions by package; None of what is not there."""
        code = (
            "import importlib.metadata as m, json, sys\n"
            "def version(name):\n"
            "    try: return m.version(name)\n"
            "    except m.PackageNotFoundError: return None\n"
            "print(json.dumps({n: version(n) for n in sys.argv[1:]}))"
        )
        out = subprocess.run([sys.executable, "-c", code, *names], env=self.env, check=True, capture_output=True)
        return json.loads(out.stdout)

    def ours(self, threads, arguments):
        return self.run(threads, [BIN / "bench", *arguments])

    def theirs(self, rival, threads, arch, arguments, onnx):
        """`onnx` gives the file of the network; only for whom it is made."""
        needs, program, own = rival
        needs = needs + (["torchvision"] if program == "torch_step.py" and arch == "resnet18" else [])
        if any(self.versions[n] is None for n in needs):
            return MISSING
        if program == "onnx_forward.py":
            own = [onnx(), *own]
            arguments = without(arguments, ["--arch", "--mode"])
        start = [program] if program == BIN / "bench" else [sys.executable, HERE / program]
        return self.run(threads, [*start, *own, *arguments])

    def run(self, threads, command):
        """What it printed; FAILED, with its last words on stderr, where it did not come to that."""
        nail = (lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])) if self.pin else None
        done = subprocess.run([str(c) for c in command], env=self.env, capture_output=True, text=True, preexec_fn=nail)
        if done.returncode:
            words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            print(f"{command[0]} …: {words}", file=sys.stderr)
            return FAILED
        return json.loads(done.stdout.strip().splitlines()[-1])


def without(arguments, flags):
    """Arguments without these flags and what follows each."""
    pairs = zip(arguments[::2], arguments[1::2])
    return [a for flag, value in pairs if flag not in flags for a in (flag, value)]
