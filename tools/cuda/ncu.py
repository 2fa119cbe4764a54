"""ncu.py FILE: what ncu --csv said of every launch of a training step, by kernel: microseconds, bytes, occupancy,
registers. The step is the last one that ended: those before it warm up."""
import collections
import csv
import sys

LAUNCHES, SHORT = {}, {
    "gpu__time_duration.sum": "ns",
    "dram__bytes_read.sum": "read",
    "dram__bytes_write.sum": "written",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy",
    "launch__registers_per_thread": "registers",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "busy",
}
# Around the table are lines of ncu's and of the program's.
lines = [l for l in open(sys.argv[1], errors="replace") if l.startswith('"')]
for row in csv.DictReader(lines):
    if row["Metric Name"] in SHORT:
        launch = LAUNCHES.setdefault(row["ID"], {"kernel": row["Kernel Name"].split("(")[0]})
        launch[SHORT[row["Metric Name"]]] = float(row["Metric Value"].replace(",", ""))
if not LAUNCHES:
    sys.exit("ncu told of no launch")
launches, what = list(LAUNCHES.values()), "of all that ran"
# The update is a step's last launch, and a single one.
ends = [i for i, launch in enumerate(launches) if launch["kernel"] == "adamw"]
if len(ends) > 1:
    launches, what = launches[ends[-2] + 1:ends[-1] + 1], f"of the last of {len(ends)} steps"
by = collections.defaultdict(list)
for launch in launches:
    by[launch["kernel"]].append(launch)
total = lambda found, key: sum(l.get(key, 0) for l in found)
everything = total(launches, "ns")
print("| kernel | launches | µs | share | MB read | MB written | GB/s | occupancy % | busy % | registers |")
print("|---|" + "---:|" * 9)
for kernel, found in sorted(by.items(), key=lambda kv: -total(kv[1], "ns")):
    ns, read, written = (total(found, k) for k in ("ns", "read", "written"))
    # Means over launches, each by its time.
    mean = lambda key: sum(l.get(key, 0) * l.get("ns", 0) for l in found) / max(ns, 1)
    print(f"| {kernel} | {len(found)} | {ns / 1e3:.1f} | {100 * ns / everything:.1f} % | {read / 1e6:.2f} | {written / 1e6:.2f} | "
          f"{(read + written) / max(ns, 1):.0f} | {mean('occupancy'):.0f} | {mean('busy'):.0f} | "
          f"{max(l.get('registers', 0) for l in found):.0f} |")
print(f"all: {len(launches)} launches {what}, {everything / 1e3:.1f} µs")
