"""All EK-FAC influence scores of the default study's size, from a model to a file's worth of numbers, stage by stage.

The MLP denoiser of 66k parameters, 1,000 training digits and 150 queries, gradients over 1,000 draws each, curvature
over 100 draws an example, scores at ten dampings: 1.25 million gradients of rows. Weights are random. Two threads:

    python benchmarks/mlp.py [DRAWS]
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from attribution.curvature import ekfac, kfac
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised_batches import batches, by_examples
from attribution.curvature.rows import loss_gradient
from attribution.curvature.solve import relative_damping, sweep
from attribution.data import digits
from attribution.diffusion.denoisers import build
from attribution.diffusion.noise import alphas_cumprod

N, QUERIES, DRAWS, CURVATURE_DRAWS, BATCH = 1000, 150, 1000, 100, 20_000
MLP = {"kind": "mlp", "width": 128, "depth": 3, "time_features": 32}
DIFFUSION = {"timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
DAMPINGS = [10.0**k for k in range(-6, 2)] + [0.03, 0.3]


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Prints what the stage took."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{name:28} {time.perf_counter() - wall:7.1f} s  {time.process_time() - cpu:7.1f} s of CPU", flush=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else DRAWS
    torch.set_num_threads(2)
    torch.manual_seed(0)
    images, abar = torch.from_numpy(digits.load().images), alphas_cumprod(DIFFUSION)
    model = build(MLP, tuple(images.shape[1:]))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {count} draws")

    def gradients(name: str, first: int, examples: int) -> dict[str, Tensor]:
        parts = [
            mean_gradients(model, draws, "joint", loss_gradient)
            for _, draws in by_examples(
                images[first : first + examples],
                range(examples),
                abar,
                seed=0,
                stream=name,
                count=count,
                batch=BATCH,
                quantity="loss",
            )
        ]
        return {block: torch.cat([part[block] for part in parts]) for block in parts[0]}

    def rows(stream: str) -> Iterator:
        options = dict(seed=0, stream=stream, count=CURVATURE_DRAWS, batch=BATCH, pseudo=True)
        return batches(images[:N], range(N), abar, **options)

    with stage("all of it"):
        with stage("gradients of examples"):
            train = gradients("train", 0, N)
        with stage("gradients of queries"):
            queries = gradients("queries", N, QUERIES)
        options = dict(fisher="mc", bias="joint", generator=None)
        with stage("factors and eigenvectors"):
            basis = kfac.eigenbasis(kfac.accumulate(model, rows("factors"), sharing="expand", **options))
        with stage("corrected eigenvalues"):
            eigenvalues = ekfac.mean(ekfac.accumulate_eigenvalues(model, rows("eigenvalues"), basis, **options))
        with stage("rotation"):
            train, queries = ekfac.rotate(train, basis), ekfac.rotate(queries, basis)
        with stage(f"scores at {len(DAMPINGS)} dampings"):
            dampings = [relative_damping(eigenvalues, ratio) for ratio in DAMPINGS]
            scores = sweep(queries, train, eigenvalues, dampings)
    if scores.shape != (len(DAMPINGS), QUERIES, N) or not scores.isfinite().all():
        raise SystemExit(f"scores {list(scores.shape)} are not finite or not [L, Q, N]")


if __name__ == "__main__":
    main()
