"""Influence directions by solving with the exact Gauss-Newton matrix: preconditioned stochastic iteration, fresh rows.

Solves (G + R) x = b for K right-hand sides at once, G the GGN over all rows (example, timestep, noise) of the training
distribution and R = decay P + damping I, P the metric (metrics.py). With P = AdamW's and decay its weight decay this is
the fixed point of training's own update, so the damping is the one that training had. Step k, with G_k the GGN of a
fresh minibatch of rows:
    r_k = b - G_k x - damping x
    m <- momentum m + (1 - momentum) r_k
    x <- (1 - rate_k decay) x + rate_k / (1 - momentum^(k+1)) P^-1 m
and the answer is the moving average of x. rate_k warms up, then falls by a cosine. Rows must be resampled: the GGN of a
fixed sample has no curvature in most directions, and there the answer would be b over the damping.

Few steps leave directions of little curvature unsolved: the number of steps regularises as damping does, and a residual
measures convergence, not quality. It is estimated without bias (`squared_residuals`) and reported with the answer.
Source: Agarwal, Bullins, Hazan 2017 (LiSSA); Koh & Liang 2017 (for influence); Wang et al. 2025, arXiv 2507.14740
(ASTRA, with EK-FAC as the metric); momentum, decay and average as in AdamW (Loshchilov & Hutter 2019).

Shape letters: K right-hand sides, P parameters.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attribution.curvature.metrics import Metric, divided
from attribution.errors import StudyError

Product = Callable[[Tensor], Tensor]  # x [K, P] -> G_k x [K, P]
Operator = Callable[[str, int], Product]  # of the rows of (stream, step)
SOLVE, CHECK = "solve", "check"  # the streams of the steps' rows and of those that measure the residual
RESIDUAL = ("residual", "residual_bound")
PARTS = ("x", "momentum", "average")
AVERAGE = 0.99  # decay of the moving average, smaller in the first steps
DIVERGED = 1e4  # times its own size: no residual on the way to an answer is so large


@dataclass(frozen=True)
class Settings:
    """Of an iteration. `tolerance` (of the bound of the residual) ends it early, at a multiple of `check_every`."""

    steps: int
    learning_rate: float
    warmup: int
    final: float  # last learning rate, as a share of the peak
    momentum: float
    decay: float
    damping: float
    vectors: int  # right-hand sides in one pass
    check_every: int
    check_batches: int  # minibatches of rows that a residual is estimated from
    tolerance: float | None


@dataclass
class State:
    """After `step` steps: iterates, momenta and averages [K, P], and what was noted on the way."""

    step: int
    x: Tensor
    momentum: Tensor
    average: Tensor
    trace: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def first(cls, b: Tensor) -> "State":
        """Zeros before the first step."""
        return cls(0, *(torch.zeros_like(b) for _ in PARTS))

    def tensors(self) -> dict[str, Tensor]:
        """What a file must hold, beside `step` and `trace`."""
        return {part: getattr(self, part) for part in PARTS}

    @classmethod
    def restored(cls, step: int, trace: list[dict[str, float]], tensors: Mapping[str, Tensor]) -> "State":
        """The inverse of `tensors`."""
        return cls(step, *(tensors[part] for part in PARTS), trace)


@torch.no_grad()
def solve(
    operator: Operator,
    b: Tensor,
    metric: Metric,
    settings: Settings,
    state: State,
    on_check: Callable[[State], None],
) -> tuple[Tensor, dict[str, Any]]:
    """x [K, P] with (G + R) x = b, and facts: steps taken, estimated relative residual, medians on the way.

    Goes on from `state`, whose tensors it overwrites; `on_check` is called with it every `check_every` steps. The
    result is a function of the rows alone, and the same whether or not it was interrupted there.
    Raises StudyError naming the step where the iteration diverges.
    """
    sizes = b.norm(dim=1).clamp(min=torch.finfo(b.dtype).tiny)  # the answer to zeros is zeros
    while state.step < settings.steps and not _reached(state, settings):
        residuals = _step(operator(SOLVE, state.step), b, metric, settings, state) / sizes
        _converging(residuals, state.step)
        state.step += 1
        if state.step % settings.check_every == 0 or state.step == settings.steps:
            noted = {"step": state.step, "norm": float(state.average.norm(dim=1).median())}
            noted["minibatch_residual"] = float(residuals.median())
            if settings.tolerance is not None:
                noted |= zip(RESIDUAL, relative_residual(operator, b, metric, settings, state.average), strict=True)
            state.trace.append(noted)
            on_check(state)
    if settings.tolerance is None:
        residual = dict(zip(RESIDUAL, relative_residual(operator, b, metric, settings, state.average), strict=True))
    else:
        residual = {name: state.trace[-1][name] for name in RESIDUAL}
    return state.average, {"steps": state.step, "trace": state.trace} | residual


def _reached(state: State, settings: Settings) -> bool:
    """Whether the bound of the last residual that was estimated ends the iteration."""
    return settings.tolerance is not None and bool(state.trace) and state.trace[-1][RESIDUAL[1]] <= settings.tolerance


def _step(product: Product, b: Tensor, metric: Metric, settings: Settings, state: State) -> Tensor:
    """One step of all right-hand sides: products in parts, and then one vector after the other, which a cache holds.

    The norms [K] of the residuals on the step's rows.
    """
    k, beta = state.step, settings.momentum
    rate = learning_rate(k, settings)
    share = 1 - min(AVERAGE, (1 + k) / (10 + k))
    norms = []
    for part in _parts(len(b), settings.vectors):
        held = (b[part], product(state.x[part]), *(value[part] for value in state.tensors().values()))
        for goal, r, x, momentum, average in zip(*(value.split(1) for value in held), strict=True):  # [1, P] each
            torch.sub(goal, r, out=r)
            if settings.damping:
                r.sub_(x, alpha=settings.damping)
            norms.append(r.norm(dim=1))
            momentum.lerp_(r, 1 - beta)
            metric.add(x.mul_(1 - rate * settings.decay), momentum, rate / (1 - beta ** (k + 1)))
            average.lerp_(x, share)
    return torch.cat(norms)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up to the peak, then cosine decay to `final` of it after the last step."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (settings.final + (1 - settings.final) * (1 + math.cos(math.pi * progress)) / 2)


@torch.no_grad()
def relative_residual(
    operator: Operator, b: Tensor, metric: Metric, settings: Settings, x: Tensor
) -> tuple[float, float]:
    """Root of the mean over right-hand sides of |b - (G + R) x|^2 / |b|^2 on rows that no step has seen, and a bound.

    |r|^2 = r^T P^-1 r: where P is near to G + R, that is the squared error of x in the norm that scores are made of,
    while a plain norm sees the noise of the stiffest directions alone. The mean of squares is unbiased; the bound is
    two standard errors above it, for minibatches are few. Roots of negative means are 0.
    """
    products = [operator(CHECK, index) for index in range(settings.check_batches)]
    shares = []
    for part in _parts(len(b), settings.vectors):
        size = (b[part] * divided(metric, b[part])).sum(1).clamp(min=torch.finfo(b.dtype).tiny)
        rest = b[part] - settings.damping * x[part] - settings.decay * metric.times(x[part])
        shares.append(squared_residuals([product(x[part]) for product in products], rest, metric) / size)
    each = torch.cat(shares, 1).double().mean(1)  # [batches]
    mean, error = float(each.mean()), 2 * float(each.std()) / len(each) ** 0.5
    return max(0.0, mean) ** 0.5, max(0.0, mean + 2 * error) ** 0.5


def squared_residuals(products: list[Tensor], rest: Tensor, metric: Metric) -> Tensor:
    """r_i^T P^-1 (mean of the other r_j) [batches, K], r_i = rest - product i: independent estimates of G x [K, P].

    Their mean is an unbiased |rest - E[G x]|^2, where the square of a mean would add its variance; its standard error
    is twice their standard deviation over the root of their number (a U-statistic of order two, Hoeffding 1948).
    StudyError for less than two estimates.
    """
    others = len(products) - 1
    if others < 1:
        raise StudyError(f"a residual is estimated from at least 2 minibatches, not {len(products)}")
    total = sum(rest - product for product in products)
    of_each = (rest - product for product in products)
    return torch.stack([(r * divided(metric, total - r)).sum(1) / others for r in of_each])


def _converging(residuals: Tensor, step: int) -> None:
    """StudyError where a relative residual [K] is not finite or has grown out of all proportion."""
    worst = float(residuals.nan_to_num(math.inf).max())
    if not worst < DIVERGED:
        raise StudyError(
            f"the solve diverges: at step {step} a residual is {worst:.3g} times its right-hand side. Lower its "
            "learning rate."
        )


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
