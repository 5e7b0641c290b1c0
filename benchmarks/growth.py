"""How time and memory grow: each stage at sizes along one axis, and the slope of the logarithms with its interval.

A slope of 1 is proportional, 0 is not at all. Digits and the MLP denoiser; every measurement runs in a process of its
own, on one thread: seconds of CPU, and the memory that the work added to the process.

    python benchmarks/growth.py [REPEATS]      writes results/published/benchmarks/{growth,slopes}.csv and growth.png

growth.csv: work, axis, size, repeat, seconds, mb. slopes.csv: work, axis, and of time and memory what the algorithm
should have and the slope found, with its 95% interval (least squares of the logarithms).

Axes: N examples, E draws an example, Q queries, M models (trained, measured or unlearned), P parameters.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy import stats
from torch import Tensor

from attribution.curvature import ekfac, kfac
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised_batches import batches, by_examples
from attribution.curvature.rows import loss_gradient
from attribution.curvature.solve import sweep
from attribution.data import digits
from attribution.diffusion import quantities
from attribution.diffusion.denoisers import build
from attribution.diffusion.elbo import schedule
from attribution.diffusion.ensemble import stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.training.loop import Cohort, train
from attribution.training.state import State
from attribution.training.stream import Stream
from attribution.unlearning import bank, losses

TABLES = Path(__file__).parents[1] / "results" / "published" / "benchmarks"
DIFFUSION = {"timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
TRAINING = dict(steps=200, batch=64, learning_rate=0.002, warmup_steps=10, final_learning_rate=0.02, weight_decay=0.01)
TRAINING |= dict(clip_norm=1.0, ema_decay=0.99, checkpoint_every=1000, log_every=1000)
REPEATS, BATCH = 3, 4096


@dataclass(frozen=True)
class Sizes:
    """One measurement's sizes; P stands for the width of the hidden layers, and grows as its square."""

    N: int = 256
    E: int = 64
    Q: int = 64
    M: int = 8
    P: int = 128


AXES = {"N": [128, 256, 512, 1024], "E": [32, 64, 128, 256], "Q": [32, 64, 128, 256], "M": [4, 8, 16, 32]}
AXES["P"] = [64, 128, 256, 512]


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    torch.set_num_threads(1)
    found = pd.DataFrame(measured(repeats))
    slopes = pd.DataFrame(fitted(found))
    TABLES.mkdir(parents=True, exist_ok=True)
    found.to_csv(TABLES / "growth.csv", index=False, lineterminator="\n")
    slopes.to_csv(TABLES / "slopes.csv", index=False, lineterminator="\n")
    draw(slopes)
    print(slopes.to_string(index=False))


def network(sizes: Sizes) -> torch.nn.Module:
    torch.manual_seed(0)
    return build({"kind": "mlp", "width": sizes.P, "depth": 3, "time_features": 32}, (1, 8, 8)).eval()


def images(count: int) -> Tensor:
    return torch.from_numpy(digits.load().images[:count])


def training(sizes: Sizes) -> Callable[[], Any]:
    """A cohort of M models."""
    model, data = network(sizes), images(256)
    members = torch.arange(256).expand(sizes.M, -1)
    cohort = Cohort(tuple(map(str, range(sizes.M))), members, (Stream(0, ("crn", 0)),) * sizes.M)
    state = State.first(stack([dict(model.state_dict())] * sizes.M))
    ignored = dict(on_log=lambda _: None, on_checkpoint=lambda _: None)
    return lambda: train(model, state, cohort, data, alphas_cumprod(DIFFUSION), TRAINING, **ignored)


def measurement(sizes: Sizes) -> Callable[[], Any]:
    """The loss of M models on Q queries."""
    model, data = network(sizes), images(sizes.Q)
    params = stack([dict(model.state_dict())] * sizes.M)
    choice = dict(seed=0, stream="measurement", count=sizes.E, batch=BATCH)
    chain = schedule(DIFFUSION, 256)
    return lambda: quantities.measured(["loss"], chain, model, params, data, range(sizes.Q), **choice)


def gradients(sizes: Sizes) -> Callable[[], Any]:
    """Gradients of N examples."""
    model, data, abar = network(sizes), images(sizes.N), alphas_cumprod(DIFFUSION)
    choice = dict(seed=0, stream="gradients", count=sizes.E, batch=BATCH, quantity="loss")

    def run() -> list[dict[str, Tensor]]:
        groups = by_examples(data, range(sizes.N), abar, **choice)
        return [mean_gradients(model, group, "joint", loss_gradient) for _, group in groups]

    return run


def curvature(sizes: Sizes) -> Callable[[], Any]:
    """Factors, basis and corrected eigenvalues from N examples."""
    model, data, abar = network(sizes), images(sizes.N), alphas_cumprod(DIFFUSION)
    options = dict(fisher="mc", bias="joint", generator=None)

    def rows(stream: str) -> Iterator:
        return batches(data, range(sizes.N), abar, seed=0, stream=stream, count=sizes.E, batch=BATCH, pseudo=True)

    def run() -> ekfac.Eigenvalues:
        basis = kfac.eigenbasis(kfac.accumulate(model, rows("factors"), sharing="expand", **options))
        return ekfac.accumulate_eigenvalues(model, rows("eigenvalues"), basis, **options)

    return run


def scores(sizes: Sizes) -> Callable[[], Any]:
    """Preconditioned products of Q queries and N examples at four dampings, gradients given."""
    widths = {"input": (sizes.P, 97), "hidden": (2 * sizes.P, sizes.P), "output": (64, sizes.P)}
    query, example = (
        {name: torch.randn(count, *shape) for name, shape in widths.items()} for count in (sizes.Q, sizes.N)
    )
    eigenvalues = {name: torch.rand(shape) for name, shape in widths.items()}
    return lambda: sweep(query, example, eigenvalues, [0.001, 0.01, 0.1, 1.0])


def unlearning(sizes: Sizes) -> Callable[[], Any]:
    """Losses of M unlearned models on N examples at a bank of E draws, example by example."""
    model, data, abar = network(sizes), images(sizes.N), alphas_cumprod(DIFFUSION)
    params = stack([dict(model.state_dict())] * sizes.M)
    noise = bank.draw(0, "main", dict(draws=sizes.E, grid="karras", fraction=0.7, shared="all"), abar, (1, 8, 8))
    names = tuple(map(str, range(sizes.M)))

    def run() -> int:
        found = losses.bank_losses(model, {}, params, names, data, range(sizes.N), noise, abar, BATCH * sizes.M)
        return sum(len(part) for _, part in found)

    return run


# axis -> slopes of time and of memory that the algorithm should have, at sizes where constant parts do not count
WORKS: dict[Callable[[Sizes], Callable[[], Any]], dict[str, tuple[float, float]]] = {
    training: {"M": (1, 1), "P": (1, 1)},
    measurement: {"M": (1, 1), "Q": (1, 0), "E": (1, 0), "P": (1, 1)},
    gradients: {"N": (1, 1), "E": (1, 0), "P": (1, 1)},
    curvature: {"N": (1, 0), "E": (1, 0), "P": (1, 1)},
    scores: {"N": (1, 1), "Q": (1, 1), "P": (1, 1)},
    unlearning: {"M": (1, 1), "N": (1, 0), "E": (1, 0), "P": (1, 1)},
}


def measured(repeats: int) -> Iterator[dict[str, Any]]:
    """One row a measurement; repeats go round, so that a slow minute of the machine falls on all sizes alike."""
    context = multiprocessing.get_context("fork")
    for make in WORKS:  # what is imported on the way is in memory before the processes part
        make(Sizes(N=8, E=4, Q=4, M=2, P=16))()
    for repeat in range(repeats):
        for make, axes in WORKS.items():
            for axis in axes:
                for size in AXES[axis]:
                    with context.Pool(1) as pool:
                        seconds, mb = pool.apply(once, (make, replace(Sizes(), **{axis: size})))
                    counted = sum(p.numel() for p in network(Sizes(P=size)).parameters()) if axis == "P" else size
                    row = dict(work=make.__name__, axis=axis, size=counted, repeat=repeat, seconds=seconds, mb=mb)
                    print(*row.values(), flush=True)
                    yield row


def once(make: Callable[[Sizes], Callable[[], Any]], sizes: Sizes) -> tuple[float, float]:
    """Seconds of CPU, and MB that this process came to hold beyond what it began the work with."""
    run = make(sizes)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    kept = run()  # held until the memory is read
    seconds, after = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del kept
    return round(seconds, 4), round((after - before) / 1024, 2)


def fitted(found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row for each work and axis."""
    for make, axes in WORKS.items():
        for axis, (time_slope, memory_slope) in axes.items():
            of = found[(found.work == make.__name__) & (found.axis == axis)]
            row: dict[str, Any] = {"work": make.__name__, "axis": axis}
            for column, expected in (("seconds", time_slope), ("mb", memory_slope)):
                line = stats.linregress(np.log(of["size"]), np.log(of[column].clip(lower=1.0 / 16)))
                half = stats.t.ppf(0.975, len(of) - 2) * line.stderr
                row |= {
                    f"{column}_expected": expected,
                    f"{column}_slope": round(line.slope, 2),
                    f"{column}_low": round(line.slope - half, 2),
                    f"{column}_high": round(line.slope + half, 2),
                }
            yield row


def draw(slopes: pd.DataFrame) -> None:
    """Slopes with their intervals, expected ones as ticks; time and memory side by side."""
    matplotlib.use("agg")
    sns.set_theme(style="whitegrid", palette="colorblind")
    figure, panels = matplotlib.pyplot.subplots(1, 2, figsize=(8.3, 4.6), sharey=True, layout="constrained")
    rows = np.arange(len(slopes))[::-1]
    for axes, column, title in zip(panels, ("seconds", "mb"), ("Time", "Memory"), strict=True):
        slope = slopes[f"{column}_slope"]
        error = [slope - slopes[f"{column}_low"], slopes[f"{column}_high"] - slope]
        axes.scatter(slopes[f"{column}_expected"], rows, marker="|", s=160, color="0.4", label="expected")
        axes.errorbar(slope, rows, xerr=error, fmt="o", ms=4, capsize=2, label="measured, 95%")
        axes.set(title=title, xlabel="slope of the logarithms")
        axes.set_yticks(rows, [f"{work}, {axis}" for work, axis in zip(slopes.work, slopes.axis, strict=True)])
    panels[0].legend(loc="lower left")
    figure.savefig(TABLES / "growth.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
