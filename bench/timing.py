"""How rivals are timed, as the bench of this project times itself: warm up, time every call, one line of JSON."""
import json
import math
import resource
import statistics
import time


def percentile(ascending, percent):
    """The nearest rank: the smallest of the times that at least so many percent are not above."""
    return ascending[max(1, math.ceil(len(ascending) * percent / 100)) - 1]


def warm_up(call):
    """Calls until five in a row have not been faster than the best by 5 %: at least 0.2 s, at most 2 s,
    but always five calls. What is compiled, laid out or allocated by the first calls is then done."""
    start, best, calls, level = time.perf_counter(), math.inf, 0, 0
    while True:
        began = time.perf_counter()
        call()
        now = time.perf_counter()
        level = 0 if now - began < 0.95 * best else level + 1
        best, calls = min(best, now - began), calls + 1
        if calls >= 5 and (now - start > 2 or (level >= 5 and now - start > 0.2)):
            return


def report(call, batch, steps, version):
    """Times so many calls of so many pictures each, or those of ten seconds, and prints what compare.py reads.

    Where other work has the cores, threads that wait for each other by spinning take a hundred times as long.
    """
    warm_up(call)
    times, end = [], time.perf_counter() + 10
    while len(times) < min(3, steps) or len(times) < steps and time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    times.sort()
    print(json.dumps({
        "median": batch / statistics.median(times),
        "best": batch / times[0],
        "latency_ms": {"median": 1e3 * percentile(times, 50), "p99": 1e3 * percentile(times, 99)},
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000,
        "version": version,
    }))
