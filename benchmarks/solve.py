"""Scores of 150 queries x 1,000 digits by solving with the exact GGN, beside EK-FAC: CPU seconds and peak memory.

One MLP denoiser of the default study (66k parameters) is trained first, as config/digits.yaml says; gradients of both
sides are means over 1,000 draws. Each method runs in a process of its own, on one thread. With the exact GGN the
training examples' gradients are multiplied and dropped part by part; EK-FAC rotates them, and they are kept.

    python benchmarks/solve.py [STEPS]      training steps, 8,000 where left out
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from measure import peak
from mlp import stage
from torch import Tensor, nn

from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, kfac
from attribution.curvature.flat import from_blocks, layout
from attribution.curvature.fresh import fresh
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.iterate import Settings, State, solve
from attribution.curvature.linearise import ggn_product
from attribution.curvature.metrics import by_moments, second_moments
from attribution.curvature.noised_batches import batches, by_examples
from attribution.curvature.rows import loss_gradient
from attribution.curvature.solve import relative_damping, sweep
from attribution.data import digits
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import loaded, member, stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.training.loop import Cohort, train
from attribution.training.state import State as Training
from attribution.training.stream import Stream

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config/digits.yaml").read_text())
N, QUERIES, DRAWS, BATCH, DAMPING = 1000, 150, 1000, 10_000, 0.01
ROWS = 128  # of a step
SETTINGS = Settings(
    steps=300,
    learning_rate=CONFIG["training"]["learning_rate"],
    warmup=20,
    final=0.02,
    momentum=0.9,
    decay=CONFIG["training"]["weight_decay"],
    damping=0.0,
    vectors=5,
    check_every=100,
    check_batches=10,
    tolerance=None,
)
IMAGES, ABAR = torch.from_numpy(digits.load().images), alphas_cumprod(CONFIG["diffusion"])
SHAPE = tuple(IMAGES.shape[1:])


def trained(steps: int, path: Path) -> None:
    """One model on the first N digits, by the study's own loop."""
    stream = Stream(0, ("crn", 0))
    cohort = Cohort(("full",), torch.arange(N)[None], (stream,))
    state = Training.first(stack([initial(CONFIG["denoiser"], SHAPE, 0, *stream.names)]))
    run = dict(on_log=lambda record: None, on_checkpoint=lambda state: None)
    training = CONFIG["training"] | {"steps": steps}
    save_tensors(path, train(build(CONFIG["denoiser"], SHAPE), state, cohort, IMAGES[:N], ABAR, training, **run))


def gradients(model: nn.Module, first: int, count: int) -> Iterator[dict[str, Tensor]]:
    """Of `count` images from `first` on, some at a time, [n, O, J] a block."""
    part = slice(first, first + count)
    options = dict(seed=0, stream="gradients", count=DRAWS, batch=BATCH, quantity="loss")
    for _, rows in by_examples(IMAGES[part], range(first, first + count), ABAR, **options):
        yield mean_gradients(model, rows, "joint", loss_gradient)


def ggn_solve(model: nn.Module) -> Tensor:
    """[Q, N]"""
    order = layout(model)

    def rows(stream: str, step: int, count: int):
        return fresh(IMAGES[:N], ABAR, count, seed=0, stream=stream, step=step)

    def operator(stream: str, step: int):
        return ggn_product(model, order, rows(stream, step, ROWS), ROWS)

    with stage("gradients of queries"):
        b = torch.cat([from_blocks(model, part, "joint", order) for part in gradients(model, N, QUERIES)])
    with stage("second moments"):
        metric = by_moments(second_moments(model, order, (rows("moments", step, 64) for step in range(200))))
    with stage(f"{SETTINGS.steps} steps"):
        x, facts = solve(operator, b, metric, SETTINGS, State.first(b), lambda state: None)
    print(f"relative residual {facts['residual']:.3f} (at most {facts['residual_bound']:.3f})")
    with stage("gradients of examples, scores"):
        parts = gradients(model, 0, N)
        return torch.cat([x @ from_blocks(model, part, "joint", order).mT for part in parts], 1)


def by_ekfac(model: nn.Module) -> Tensor:
    """[Q, N]"""

    def rows(stream: str) -> Iterator:
        return batches(IMAGES[:N], range(N), ABAR, seed=0, stream=stream, count=100, batch=BATCH, pseudo=True)

    options = dict(fisher="mc", bias="joint", generator=None)
    with stage("factors and eigenvectors"):
        basis = kfac.eigenbasis(kfac.accumulate(model, rows("factors"), sharing="expand", **options))
    with stage("corrected eigenvalues"):
        eigenvalues = ekfac.mean(ekfac.accumulate_eigenvalues(model, rows("eigenvalues"), basis, **options))
    with stage("gradients, rotated"):
        parts = [[ekfac.rotate(part, basis) for part in gradients(model, *side)] for side in ((N, QUERIES), (0, N))]
        queries, examples = ({name: torch.cat([part[name] for part in side]) for name in side[0]} for side in parts)
    with stage("scores"):
        return sweep(queries, examples, eigenvalues, [relative_damping(eigenvalues, DAMPING)])[0]


METHODS = {"ggn_solve": ggn_solve, "ekfac": by_ekfac}


def score(method: str, path: Path) -> None:
    """All of one method, from weights to scores."""
    torch.set_num_threads(1)
    model = loaded(build(CONFIG["denoiser"], SHAPE), member(load_tensors(path, "pt"), 0))
    with stage(f"{method}: all of it"):
        scores = METHODS[method](model)
    if scores.shape != (QUERIES, N) or not scores.isfinite().all():
        raise SystemExit(f"scores {list(scores.shape)} are not finite or not [Q, N]")
    print(f"peak memory {peak():.0f} MB\n", flush=True)


def main() -> None:
    if len(sys.argv) == 3:
        return score(sys.argv[1], Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        with stage("training"):
            trained(int(sys.argv[1]) if len(sys.argv) > 1 else CONFIG["training"]["steps"], path)
        for method in METHODS:
            subprocess.run([sys.executable, __file__, method, str(path)], check=True)


if __name__ == "__main__":
    main()
