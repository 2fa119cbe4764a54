# Answers pictures by an ONNX file. Pieces of bytes come in and go out, each behind its length; what a piece is, its
# place in the order says: out who answers, in the file; then in pictures, f32, and out their logits, f32, until the
# end. `infer check` starts it.
import struct
import sys

import numpy
import onnxruntime


def read(n):
    data = sys.stdin.buffer.read(n)
    if len(data) < n:
        sys.exit()
    return data


def take():
    return read(struct.unpack("<I", read(4))[0])


def give(data):
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
    sys.stdout.buffer.flush()


give(f"onnxruntime {onnxruntime.__version__}".encode())
session = onnxruntime.InferenceSession(take(), providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape[1:]
while True:
    pictures = numpy.frombuffer(take(), "<f4").reshape(-1, *shape)
    give(session.run(None, {"pictures": pictures})[0].astype("<f4").tobytes())
