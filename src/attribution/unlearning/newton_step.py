"""One Newton step up the query's loss: unlearning that the Fisher matrix regularises (Wang et al. 2024, AbU).

    theta_q = theta_0 + (step / N) F^-1 grad L(q)
minimises -L(q) + N/2 (theta - theta_0)^T F (theta - theta_0) to first order (Wang et al. 2024, Eq. 7): AbU with F
diagonal, AbU+ with EK-FAC (Wang et al. 2025). For a small step and F exact the rise of an example's loss is step / N
times the influence grad L(n)^T F^-1 grad L(q); a step of 1 is what adding -1 times the query to the training set moves.
F^-1 grad L(q) is given, block by block (curvature/precondition.py): this file knows no curvature.

Shape letters: M queries (one model each), N training examples.
"""

from torch import Tensor

from attribution.diffusion.ensemble import Stack
from attribution.errors import StudyError


def newton_step(params: dict[str, Tensor], directions: Stack, examples: int, step: float) -> Stack:
    """Weights [M, ...] of the parameters that `directions` (F^-1 grad L, name -> [M, ...]) moves; params are kept.

    Raises StudyError where there is no direction, one is of no parameter, or not finite.
    """
    if not directions:
        raise StudyError("unlearning: none of the chosen parameters has curvature; choose other kinds of parameters")
    if unknown := sorted(set(directions) - set(params)):
        raise StudyError(f"unlearning: a direction of {unknown[0]}, which is no parameter of the model")
    moved = {}
    for name, direction in directions.items():
        if not direction.isfinite().all():
            raise StudyError(f"unlearning: the direction of {name} is not finite; raise damping")
        moved[name] = params[name].detach() + (step / examples) * direction.to(params[name])
    return moved
