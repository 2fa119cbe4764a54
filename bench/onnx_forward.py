"""The side of onnxruntime and OpenVINO in compare.py: time of answers by an ONNX file, one line of JSON.

usage: onnx_forward.py FILE --runtime onnxruntime|openvino-f32|openvino    FILE as infer export writes it

A runtime gets one stream of calls, as many threads as it is told and no cores of its own. Its batch is fixed
before it compiles the network. Its pictures are handed over without a copy where it can.
"""
import argparse

import numpy

import timing


def onnxruntime(path, pictures, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_free_dimension_override_by_name("N", len(pictures))
    session = ort.InferenceSession(path, options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: pictures}
    return lambda: session.run(None, feed)[0], ort.__version__


def openvino(path, pictures, threads, more):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(path)
    model.reshape(list(pictures.shape))
    # Without the last three it may take fewer threads than it was told (one a core), or nail them to cores.
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_HYPER_THREADING": True,
        "ENABLE_CPU_PINNING": False,
    }
    compiled = core.compile_model(model, "CPU", {**settings, **more})
    got = compiled.get_property("INFERENCE_NUM_THREADS")
    if got != threads:
        raise SystemExit(f"OpenVINO takes {got} threads, not {threads}")
    request = compiled.create_infer_request()
    return lambda: request.infer([pictures], share_inputs=True, share_outputs=True)[0], ov.__version__.split("-")[0]


RUNTIMES = {
    "onnxruntime": onnxruntime,
    "openvino-f32": lambda *a: openvino(*a, {"INFERENCE_PRECISION_HINT": "f32"}),
    "openvino": lambda *a: openvino(*a, {}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--size", type=int, default=64, help="side of its pictures")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    noise = numpy.random.default_rng(0)
    pictures = noise.standard_normal((args.batch, 3, args.size, args.size), dtype=numpy.float32)
    call, version = RUNTIMES[args.runtime](args.file, pictures, args.threads)
    timing.report(call, args.batch, args.steps, version)


if __name__ == "__main__":
    main()
