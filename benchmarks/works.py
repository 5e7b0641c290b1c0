"""The work of a study's rules by its units: one image in one training step, one noised image of a pass.

The denoiser is the study's, its weights random (cost does not depend on them), and images are noise.

Shape letters: M models of a cohort, N examples, Q queries, R rows (noised images), P parameters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from attribution.curvature import ekfac, kfac
from attribution.curvature.gradients import mean_gradients
from attribution.curvature.noised_batches import batches, by_examples
from attribution.curvature.rows import loss_gradient
from attribution.curvature.solve import sweep
from attribution.diffusion import quantities
from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.elbo import schedule
from attribution.diffusion.ensemble import stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.diffusion.sampler import sample
from attribution.training.loop import Cohort, train
from attribution.training.state import State
from attribution.training.stream import Stream

LEVELS = 256
SHAPES = {"digits": (1, 8, 8), "cifar2": (3, 32, 32), "cifar10": (3, 32, 32), "mnist": (1, 32, 32)}
SHAPES["artbench"] = (4, 32, 32)  # latents
QUERIES = 8  # measured together
PRODUCTS = 1e9  # numbers in the gradients of either side of a product

Config = dict[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """One thing to time: `run(k)` does about k units, at least a batch, and says how many they were.

    `passes` is what a unit takes of the denoiser, in forward passes of one image: 3 with a backward pass.
    """

    name: str
    setting: str
    unit: str
    passes: int
    units: int
    run: Callable[[int], int]


def forward_gflop(config: Config, shape: Shape) -> float:
    """10^9 operations (2 a multiplication with its addition) of one image's forward pass, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build(config["denoiser"], shape).eval()(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))
    return counter.get_total_flops() / 1e9


def works(
    config: Config,
    shape: Shape,
    device: torch.device,
    rows: int,
    steps: int,
    cohorts: list[int],
    precisions: list[str],
) -> Iterator[Work]:
    """All of them, each made when its turn comes, so that what the one before held is free by then.

    `rows` noised images make a batch; training takes `steps` steps at every cohort size and precision.
    """
    for precision in precisions:
        for models in cohorts:
            yield training(config, shape, device, steps, models, precision)
    yield measuring(config, shape, device, rows)
    yield sampling(config, shape, device, rows)
    yield from curvature(config, shape, device, rows)


def training(config: Config, shape: Shape, device: torch.device, steps: int, models: int, precision: str) -> Work:
    """A cohort of M models, all on the same images."""
    settings, model = config["training"], build(config["denoiser"], shape).to(device)
    images = torch.randn(max(2 * settings["batch"], 64), *shape, device=device)
    members = torch.arange(len(images), device=device).expand(models, -1)
    cohort = Cohort(tuple(f"m{m}" for m in range(models)), members, (Stream(0, ("crn", 0)),) * models)
    first = stack([initial(config["denoiser"], shape, 0, "full")] * models)
    step = models * settings["batch"]

    def run(units: int) -> int:
        count = max(1, units // step)
        chosen = settings | {"steps": count, "log_every": count + 1, "checkpoint_every": count + 1}
        chosen["precision"] = precision
        state = State.first({name: value.clone() for name, value in first.items()}).to(device)
        nothing = lambda _: None  # noqa: E731
        abar = alphas_cumprod(config["diffusion"])
        train(model, state, cohort, images, abar, chosen, on_log=nothing, on_checkpoint=nothing)
        return count * step

    return Work("train", f"{models} models, {precision}", "image x step", 3, steps * step, run)


def measuring(config: Config, shape: Shape, device: torch.device, rows: int) -> Work:
    """Forward passes of one model."""
    model = build(config["denoiser"], shape).to(device).eval()
    params = stack([dict(model.state_dict())])
    chain, images = schedule(config["diffusion"], LEVELS), torch.randn(QUERIES, *shape, device=device)

    def run(units: int) -> int:
        count = max(1, units // QUERIES)
        choice = dict(seed=0, stream="measurement", count=count, batch=rows)
        quantities.measured(["loss"], chain, model, params, images, range(QUERIES), **choice)
        return count * QUERIES

    return Work("measure", "", "row", 1, 4 * rows, run)


def sampling(config: Config, shape: Shape, device: torch.device, rows: int) -> Work:
    """Samples drawn together, step by step."""
    model = build(config["denoiser"], shape).to(device).eval()
    together = min(rows, config["queries"]["generated"])

    @torch.no_grad()
    def run(units: int) -> int:
        count = max(2, units // together)
        sample(model, config["diffusion"], config["sampling"] | {"steps": count}, 0, range(together), shape, device)
        return count * together

    return Work("queries", "", "image x step", 1, 8 * together, run)


def curvature(config: Config, shape: Shape, device: torch.device, rows: int) -> Iterator[Work]:
    """Rows of gradients, factors and eigenvalues; examples rotated; products of queries and examples."""
    torch.manual_seed(0)
    model, kind = build(config["denoiser"], shape).to(device).eval(), config["curvature"]["kinds"]["model"]
    options = {"fisher": kind["fisher"], "bias": config["curvature"]["bias"], "generator": None}
    abar, each = alphas_cumprod(config["diffusion"]), min(kind["draws"], rows)  # draws of an example in a batch
    images = torch.randn(max(2, 4 * rows // each), *shape, device=device)
    rows = rows // each * each
    whole = len(images) * each

    def noised(units: int) -> Iterator:
        pseudo = kind["fisher"] == "mc"
        drawn = batches(images, range(len(images)), abar, seed=0, stream="c", count=each, batch=rows, pseudo=pseudo)
        return islice(drawn, max(1, units // rows))

    def gradients(examples: int) -> dict[str, Tensor]:
        choice = dict(seed=0, stream="g", count=each, batch=rows, quantity="loss")
        groups = by_examples(images[:examples], range(examples), abar, **choice)
        found = [mean_gradients(model, group, options["bias"], loss_gradient) for _, group in groups]
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}

    def of_gradients(units: int) -> int:
        examples = max(1, units // each)
        gradients(examples)
        return examples * each

    def of_factors(units: int) -> int:
        return kfac.accumulate(model, noised(units), sharing=kind["sharing"], **options).rows

    def of_eigenvalues(units: int) -> int:
        return ekfac.accumulate_eigenvalues(model, noised(units), basis, **options).rows

    def of_basis(_: int) -> int:
        kfac.eigenbasis(factors)
        return 1

    yield Work("gradients", f"{each} draws an example", "row", 3, whole, of_gradients)
    yield Work("factors", kind["sharing"], "row", 3, whole, of_factors)
    factors = kfac.accumulate(model, noised(1), sharing=kind["sharing"], **options)
    yield Work("basis", "", "model", 0, 1, of_basis)
    basis = kfac.eigenbasis(factors)
    yield Work("eigenvalues", kind["sharing"], "row", 3, whole, of_eigenvalues)
    found = gradients(2)
    ones = {name: torch.ones_like(gradient[0]) for name, gradient in found.items()}
    many = max(2, min(64, int(PRODUCTS // sum(map(torch.numel, ones.values())))))
    repeated = {name: gradient.repeat(many // 2, 1, 1) for name, gradient in found.items()}

    def of_rotation(_: int) -> int:
        return len(next(iter(ekfac.rotate(found, basis).values())))

    def of_scores(_: int) -> int:
        return sweep(repeated, repeated, ones, [0.1]).numel()

    yield Work("rotate", "", "example", 0, len(images), of_rotation)
    yield Work("score_influence", "one damping", "query x example", 0, 1, of_scores)
