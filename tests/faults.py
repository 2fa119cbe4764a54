"""What tests/faults.sh runs: stages under strace's fault injection.

    python3 tests/faults.py <folder of the binaries> <scratch folder> few|all
"""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

# Families of system calls, as strace names them; an unknown one is left out.
CALLS = {"write": "write", "fsync": "fsync,fdatasync", "rename": "rename,renameat,renameat2", "open": "openat"}
FAULTS = {"full disk": "error=ENOSPC", "I/O error": "error=EIO", "kill": "signal=SIGKILL"}
# A run makes more calls than this only while it is loaded: ld.so's come first.
MOST = 200
CLASSES = ",".join("abcdefghij")


def run(command, **kwargs):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **kwargs)


def digest(path):
    """Of an output and, where it has some, the answers beside it: they must be whole when it is there."""
    if not path.is_file():
        return None
    answers = path.with_name(f"{path.stem}.answers.safetensors")
    return hashlib.sha256(path.read_bytes() + (answers.read_bytes() if answers.is_file() else b"")).hexdigest()


def small_photos(folder):
    """Twenty of the built-in pictures of each split."""
    with tarfile.open("samples/pictures.tar.gz") as tar:
        for split, step, most in (("training", 37, 80), ("validation", 17, 40), ("testing", 50, 10)):
            names = sorted(m.name for m in tar.getmembers() if m.isfile() and split in Path(m.name).parts)
            (folder / split).mkdir(parents=True)
            for name in names[::step][:most]:
                (folder / split / Path(name).name).write_bytes(tar.extractfile(name).read())


def stages(work):
    """Name → command without its output, name of the output's flag."""
    w = lambda name: work / "in" / name
    images = ["--images", w("training.safetensors"), "--validation", w("validation.safetensors")]
    small = ["--batch", 16, "--epochs", 1, "--threads", 1]
    return {
        "prepare images": (["prepare", "images", w("photos/training"), "--size", 16, "--threads", 1], "--out"),
        "prepare catalogue": (["prepare", "catalogue", w("photos"), "--threads", 1], "--out"),
        "prepare model": (["prepare", "model", w("student.safetensors"), "--size", 16], "--out"),
        "train": (["train", *images, "--arch", "studentnet", "--width", 0.3, *small], "--out"),
        "train --init": (["train", *images, "--init", w("teacher.safetensors"), "--freeze", 1, *small], "--out"),
        "infer logits": (["infer", "logits", "--teacher", w("teacher.safetensors"), *images[:2], "--threads", 1], "--out"),
        "distill": (["distill", *images, "--logits", w("logits.safetensors"), "--init", w("student.safetensors"), *small], "--out"),
        "prune channels": (["prune", "channels", "--model", w("student.safetensors"), "--share", 0.3, *images[:2], "--floor", 1, "--threads", 1], "--out"),
        "prune low-rank": (["prune", "low-rank", "--model", w("student.safetensors"), "--energy", 0.5, "--floor", 1, "--threads", 1], "--out"),
        "quantize plan": (["quantize", "plan", "--model", w("student.safetensors"), *images[:2], "--pictures", 8, "--budget", 60000, "--threads", 1], "--out"),
        "quantize pack": (["quantize", "pack", "--model", w("student.safetensors"), "--bits", 5, "--calibrate", w("validation.safetensors")], "--out"),
        "quantize unpack": (["quantize", "unpack", "--model", w("model.bin")], "--out"),
        "infer eval": (["infer", "eval", "--model", w("model.bin"), *images[:2], "--name", "x", "--threads", 1], "--out"),
        "infer predict": (["infer", "predict", "--model", w("model.bin"), "--photos", w("photos/testing"), "--threads", 1], "--out"),
        "infer export": (["infer", "export", "--model", w("model.bin")], "--onnx"),
        "report table": (["report", "table", w("eval.csv")], "--out"),
    }


def prepare(work):
    """The inputs of every stage, each made by the stage before it."""
    source = work / "in"
    small_photos(source / "photos")
    todo = stages(work)

    def make(stage, name, *more):
        command, flag = todo[stage]
        done = run([BIN / command[0], *command[1:], *more, flag, source / name])
        assert done.returncode == 0, f"{stage}: {done.stderr}"

    for split in ("training", "validation"):
        images = [BIN / "prepare", "images", source / "photos" / split, "--size", 16, "--classes", CLASSES, "--out", source / f"{split}.safetensors"]
        assert run(images).returncode == 0
    make("train", "teacher.safetensors")
    make("train", "student.safetensors", "--seed", 1)
    make("infer logits", "logits.safetensors")
    make("quantize pack", "model.bin")
    make("infer eval", "eval.csv")


def leftovers(folder, out):
    """What no run may leave behind once another has succeeded."""
    beside = ("x.last.safetensors", "x.epochs.csv", "x.answers.safetensors", "x.cost.csv")
    return [p.name for p in folder.iterdir() if p.name != out.name and p.name not in beside]


def sweep(stage, command, flag, work, every, tries, failures):
    folder = work / "out"
    folder.mkdir()
    out = folder / "x.safetensors"
    full = [BIN / command[0], *command[1:], flag, out]
    clean = run(full)
    assert clean.returncode == 0, f"{stage}: {clean.stderr}"
    reference = digest(out)
    out.unlink()
    trace = work / "trace"
    run(["strace", "-f", "-qq", "-o", trace, "-e", "trace=%network", *full])
    assert "socket(" not in trace.read_text(), f"{stage} opens a socket: {trace.read_text()}"
    out.unlink()
    for kind, calls in CALLS.items():
        counted = run(["strace", "-f", "-qq", "-o", trace, "-e", f"trace={calls}", *full])
        assert counted.returncode == 0, counted.stderr
        # From the first call that is the stage's own: what opens libraries comes before.
        lines = trace.read_text().splitlines()
        own = [i + 1 for i, l in enumerate(lines) if kind != "open" or str(work) in l]
        out.unlink()
        if not every:
            own = sorted({own[0], own[len(own) // 2], own[-1]}) if own else []
        for n in own[:MOST]:
            for fault, inject in FAULTS.items():
                tries[(stage, fault)] += 1
                traced = run(["strace", "-f", "-qq", "-o", trace, "-e", f"trace={calls}", "-e", f"inject={calls}:{inject}:when={n}", *full])
                what = f"{stage}: {fault} at {kind} {n}"
                found = digest(out)
                if traced.returncode == 0 and found != reference:
                    failures.append(f"{what}: success is told, the output is {'missing' if found is None else 'another'}")
                if found not in (None, reference):
                    failures.append(f"{what}: half an output stays")
                if "panicked" in traced.stderr:
                    failures.append(f"{what}: {traced.stderr}")
                if traced.returncode > 0 and "error: " not in traced.stderr and kind != "open":
                    # A message that cannot be written tells nobody.
                    if not any("write(2" in l and "INJECTED" in l for l in trace.read_text().splitlines()):
                        failures.append(f"{what}: no message")
                again = run(full)
                if again.returncode != 0 or digest(out) != reference:
                    failures.append(f"{what}: the same command again: {again.stderr or 'other bytes'}")
                if leftovers(folder, out):
                    failures.append(f"{what}: leaves {leftovers(folder, out)}")
                for p in folder.iterdir():
                    p.unlink()
    folder.rmdir()


def damage(work, every):
    """A flipped bit anywhere, and a file cut short anywhere, is an error that names the file."""
    todo, count = stages(work), 0
    readers = {
        "training.safetensors": "infer logits",
        "teacher.safetensors": "infer logits",
        "student.safetensors": "quantize pack",
        "logits.safetensors": "distill",
        "model.bin": "infer predict",
        "plan.safetensors": "report show",
    }
    plan, flag = todo["quantize plan"]
    done = run([BIN / plan[0], *plan[1:], flag, work / "in" / "plan.safetensors"])
    assert done.returncode == 0, done.stderr
    for name, stage in readers.items():
        path, out = work / "in" / name, work / "damaged"
        whole = path.read_bytes()
        command, flag = todo.get(stage, (["report", "show", path], None))
        step = len(whole) // (200 if every else 20)
        for i, at in enumerate(range(0, len(whole), step)):
            broken = bytearray(whole)
            if i % 2:
                broken[at] ^= 1 << (i % 8)
            else:
                del broken[at:]
            path.write_bytes(broken)
            done = run([BIN / command[0], *command[1:], *([flag, out] if flag else [])])
            assert done.returncode == 1 and name in done.stderr and "panicked" not in done.stderr, (
                f"{stage} of {name}, {'a bit of' if i % 2 else 'cut at'} byte {at}: {done.returncode} {done.stderr}"
            )
            assert not out.exists(), f"{stage} of a damaged {name} leaves an output"
            count += 1
        path.write_bytes(whole)
    print(f"ok: {count} damaged files, of every kind, are refused by name")


def without_locks(work):
    """Where files cannot be locked, as on NFS without its lock daemon, a second run is refused all the same."""
    command, _ = stages(work)["train"]
    out, lock = work / "unlocked.safetensors", work / ".unlocked.safetensors.lock"

    def train(epochs):
        at = command.index("--epochs") + 1
        stage = [BIN / command[0], *command[1:at], epochs, *command[at + 1 :], "--out", out]
        return list(map(str, ["strace", "-f", "-qq", "-o", work / "trace", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK", *stage]))

    first = subprocess.Popen(train(100_000), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = time.monotonic()
    while not (lock.is_file() and "@" in lock.read_text()):
        if time.monotonic() > begun + 60:
            first.kill()
            sys.exit("FAILED: without locks a run does not write its name into the lock file")
        time.sleep(0.02)
    owner = lock.read_text()
    second = run(train(1))
    assert second.returncode == 1 and f"another run is writing it (process {owner} holds" in second.stderr, second.stderr
    os.kill(int(owner.split("@")[0]), signal.SIGKILL)
    first.wait()
    assert lock.is_file() and not out.exists()
    third = run(train(1))
    assert third.returncode == 0 and out.is_file() and not lock.exists(), third.stderr
    print("ok: without locks a second run is refused, and the lock of a killed one taken over")


def main():
    work, every = Path(sys.argv[2]), sys.argv[3] == "all"
    prepare(work)
    damage(work, every)
    without_locks(work)
    tries, failures = Counter(), []
    for stage, (command, flag) in stages(work).items():
        before = sum(tries.values())
        sweep(stage, command, flag, work, every, tries, failures)
        print(f"ok: {stage}: {sum(tries.values()) - before} faults" if not failures else "FAILED:\n  " + "\n  ".join(failures), flush=True)
        if failures:
            sys.exit(1)
    by_fault = {f: sum(n for (_, g), n in tries.items() if g == f) for f in FAULTS}
    print(f"ok: {sum(tries.values())} faults, no failure: " + ", ".join(f"{f} {n}" for f, n in by_fault.items()))


BIN = Path(sys.argv[1]).resolve()
main()
