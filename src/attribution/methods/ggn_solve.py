"""Influence by solving with the exact Gauss-Newton matrix: no factorisation, and no damping to choose.

    score[q, n] = g_n . x_q,   (G + R) x_q = g_q
G is the GGN over all rows (example, timestep, noise), met in fresh minibatches (curvature/iterate.py), and R what the
solution is held by. K-FAC and EK-FAC replace G by a Kronecker product a layer; here nothing is replaced, and what is
left is an iteration that is cut off after `steps`. The number of steps regularises as a damping does, so a residual
measures convergence, not quality.

- `ggn_solve`: R = decay P with AdamW's own metric P = diag(sqrt(v) + 1e-8), v the second moments of minibatch gradients
  at the final model, decay and learning rate those of training: (G + decay P) x = b is the fixed point of training's
  own update, so the damping is the one that training had.
- `astra` (Wang et al. 2025, arXiv 2507.14740): the same iteration with EK-FAC as the metric, R = ridge I.

Shape letters: Q queries, N training examples, n those of a part, P parameters.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attribution.curvature.blocks import covered
from attribution.curvature.flat import Layout, from_blocks, layout
from attribution.curvature.iterate import Settings, State, solve
from attribution.curvature.linearise import ggn_product
from attribution.curvature.metrics import Metric, by_ekfac, by_moments, second_moments
from attribution.curvature.problem import Problem
from attribution.curvature.solve import relative_damping

FAMILY = {
    "family": "Exact GGN",
    "reads": "model",
    "settings": {
        "measurement": {"$ref": "#/$defs/measurement", "default": "loss"},
        "steps": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000000,
            "description": "most steps of the iteration",
            "default": 300,
        },
        "rows": {
            "type": "integer",
            "minimum": 2,
            "maximum": 1000000,
            "description": "rows (example, timestep, noise) of a step",
            "default": 128,
        },
        "learning_rate": {
            "type": ["number", "null"],
            "minimum": 1e-9,
            "maximum": 10,
            "description": "peak learning rate of the iteration (null: that of training)",
            "default": None,
        },
        "tolerance": {
            "type": ["number", "null"],
            "minimum": 1e-12,
            "maximum": 1,
            "description": "relative residual that ends the iteration before its last step (null: none does)",
            "default": None,
        },
    },
    "methods": {
        "ggn_solve": {
            "label": "GGN solve",
            "about": "influence by solving with the exact Gauss-Newton matrix, damped as training was",
            "score": "g_n . x_q, (G + decay P) x_q = g_q by preconditioned stochastic iteration, P that of AdamW",
            "source": "this study; Agarwal et al. 2017 (LiSSA); [curvature.md](curvature.md)",
            "variants": {"fast": "GGN solve, 100 steps"},
        },
        "astra": {
            "label": "ASTRA",
            "about": "the same preconditioned by EK-FAC, with a damping",
            "score": "g_n . x_q, (G + ridge I) x_q = g_q by the same iteration, P that of EK-FAC",
            "source": "Wang et al. 2025, arXiv 2507.14740",
            "settings": {
                "curvature": {"type": "string", "description": "one of curvature.kinds", "default": "model"},
                "learning_rate": {"default": 0.05},
                "metric_damping": {
                    "type": "number",
                    "minimum": 1e-12,
                    "maximum": 1000000,
                    "description": "damping of EK-FAC as a preconditioner, in units of its mean eigenvalue",
                    "default": 0.1,
                },
                "ridge": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1000000,
                    "description": "damping of the matrix that is solved with, in units of the mean eigenvalue",
                    "default": 0.001,
                },
            },
        },
    },
}
WARMUP, FINAL, MOMENTUM = 20, 0.02, 0.9  # of the iteration, as of training
CHECK_EVERY, CHECKS = 50, 10  # steps between two looks; minibatches of a residual
BATCHES, BATCH = 200, 64  # that second moments are taken over

Look = Callable[[State], None]


def ggn_solve(
    problem: Problem, settings: dict[str, Any], state: State | None, look: Look
) -> tuple[Tensor, dict[str, Any]]:
    """[1, Q, N] and facts of the solve; goes on from `state`, and shows it to `look` on the way.

    Raises StudyError where the iteration diverges.
    """
    order = layout(problem.model, covered(problem.model))
    batches = (problem.rows("moments", step, BATCH) for step in range(BATCHES))
    metric = by_moments(second_moments(problem.model, order, batches))
    return _scores(problem, settings, order, metric, problem.weight_decay, 0.0, state, look)


def astra(problem: Problem, settings: dict[str, Any], state: State | None, look: Look) -> tuple[Tensor, dict[str, Any]]:
    """As `ggn_solve`, with EK-FAC as the metric and a ridge in place of training's decay."""
    basis, eigenvalues = problem.ekfac
    order = layout(problem.model, covered(problem.model))
    damping, ridge = (relative_damping(eigenvalues, settings[name]) for name in ("metric_damping", "ridge"))
    metric = by_ekfac(problem.model, order, problem.bias, basis, eigenvalues, damping)
    return _scores(problem, settings, order, metric, 0.0, ridge, state, look)


def _scores(
    problem: Problem,
    settings: dict[str, Any],
    order: Layout,
    metric: Metric,
    decay: float,
    ridge: float,
    state: State | None,
    look: Look,
) -> tuple[Tensor, dict[str, Any]]:
    count = settings["rows"]
    chosen = Settings(
        steps=settings["steps"],
        learning_rate=settings["learning_rate"] or problem.learning_rate,
        warmup=WARMUP,
        final=FINAL,
        momentum=MOMENTUM,
        decay=decay,
        damping=ridge,
        vectors=problem.vectors,
        check_every=CHECK_EVERY,
        check_batches=CHECKS,
        tolerance=settings["tolerance"],
    )

    def operator(stream: str, step: int) -> Callable[[Tensor], Tensor]:
        return ggn_product(problem.model, order, problem.rows(stream, step, count), count)

    b = from_blocks(problem.model, problem.queries, problem.bias, order)  # [Q, P]
    x, facts = solve(operator, b, metric, chosen, state or State.first(b), look)
    scores = [x @ from_blocks(problem.model, part, problem.bias, order).mT for part in problem.parts]  # [Q, n]
    return torch.cat(scores, 1)[None], facts
