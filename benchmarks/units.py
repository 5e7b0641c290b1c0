"""What one unit of a study's work costs on this device: seconds, counted operations and memory, rule by rule.

A unit is what a rule does many times (works.py). Seconds are of CPU on a CPU, where other processes are no part of it,
and of the clock on a GPU, where the CPU's part (drawing the keyed noise, starting kernels) is.

    python benchmarks/units.py STUDY [--rows 256] [--cohorts 1 4] [--precisions fp32] [--out units.csv]

Columns: study, device, work, setting, unit, units, seconds (a unit), gflop (a unit: of its passes through the denoiser
alone), tflops (a second: what a rule adds to the passes makes it lower), gb (the most memory held: on a GPU by torch's
allocator, else of the process).
"""

import argparse
import csv
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from works import SHAPES, Work, forward_gflop, works

from attribution.core import device as devices
from attribution.workflow import config as configs

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow/schemas/study.schema.yaml"
COLUMNS = ("study", "device", "work", "setting", "unit", "units", "seconds", "gflop", "tflops", "gb")


def main() -> None:
    asked = arguments()
    config = configs.load(ROOT / "config" / f"{asked.study}.yaml", SCHEMA)
    shape, device = tuple(asked.shape or SHAPES[config["data"]["dataset"]]), devices.choose()
    title = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    forward, rows = forward_gflop(config, shape), []
    for work in works(config, shape, device, asked.rows, asked.steps, asked.cohorts, asked.precisions):
        if asked.works and work.name not in asked.works:
            if {row["work"] for row in rows} == set(asked.works):
                break  # what follows is not made for nothing
            continue
        row = {"study": asked.study, "device": title} | measured(work, device, forward)
        rows.append(row)
        print("  ".join(f"{row[column]}" for column in COLUMNS), flush=True)
        if asked.out:
            write(asked.out, rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--shape", type=int, nargs=3, help="C H W of an image, where the data set does not say")
    parser.add_argument("--rows", type=int, default=256, help="noised images in one batch")
    parser.add_argument("--steps", type=int, default=8, help="training steps in one measurement")
    parser.add_argument("--cohorts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--precisions", nargs="+", default=["fp32"])
    parser.add_argument("--works", nargs="+", help="only these")
    parser.add_argument("--out", type=Path, help="a CSV file")
    return parser.parse_args()


def measured(work: Work, device: torch.device, forward: float) -> dict[str, Any]:
    """One row of the table; the least work is done before, to warm up."""
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    work.run(1)
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begun = clock()
    done = work.run(work.units)
    if cuda:
        torch.cuda.synchronize()
    seconds, gflop = (clock() - begun) / done, work.passes * forward
    return {
        "work": work.name,
        "setting": work.setting,
        "unit": work.unit,
        "units": done,
        "seconds": f"{seconds:.3g}",
        "gflop": f"{gflop:.4g}",
        "tflops": f"{gflop / seconds / 1e3:.3g}",
        "gb": f"{torch.cuda.max_memory_allocated() / 2**30 if cuda else resident():.2f}",
    }


def resident() -> float:
    """The most memory that this process held, GiB; ru_maxrss is in kB on Linux, in bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
