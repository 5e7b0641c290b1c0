"""One work by one library in this process: `measure.py WORK LIBRARY FOLDER` prints its times and memory as JSON.

cpu and wall are seconds of the work alone, after one forward and backward to warm up; base is the resident memory when
everything is imported and the problem loaded, peak the most that the process ever held, in MB.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path

import torch


def peak() -> float:
    """MB; ru_maxrss is in kB on Linux, in bytes on macOS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    work, library, folder = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    import problem

    from attribution.core.store import save_tensors

    side = importlib.import_module(f"with_{library}")
    model = problem.model()
    warm = problem.cut(problem.rows("train"), 10)[0]
    problem.row_losses(model(*warm.inputs), warm.target).sum().backward()
    model.zero_grad()
    base, cpu, wall = peak(), time.process_time(), time.perf_counter()
    found = getattr(side, work)(model, Path(folder))
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    if isinstance(found, torch.Tensor):
        save_tensors(Path(folder) / f"{work}.safetensors", {"scores": found})
    print(json.dumps(times | {"base": base, "peak": peak()}))


if __name__ == "__main__":
    main()
