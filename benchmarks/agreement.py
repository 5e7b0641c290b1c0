"""Do the libraries compute the same? `agreement.py FOLDER` exits with a message where they do not.

Compared are [Q, N] scores of the whole problem, in float32, with the empirical Fisher, which draws nothing. Two codes
differ by rounding: 1e-6 (kronfluence), 1e-4 (curvlinops, eigenvectors in float32). A wrong scale of a layer, the last
draw alone or another damping are off by more than 0.1, and so are scores without curvature, which is checked as well.
"""

import sys
from pathlib import Path

import problem
import torch
import with_curvlinops
import with_kronfluence
import with_ours
from torch import Tensor

from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import loss_gradient

LIMITS = {"dot": 1e-4, "ekfac_scores": 1e-3}
SIDES = {"ours": with_ours, "kronfluence": with_kronfluence, "curvlinops": with_curvlinops}


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def check_gradients() -> None:
    """The mean of the examples' gradients is the gradient of the mean loss, by autograd."""
    model, batch = problem.model(), problem.cut(problem.rows("train"), 50)[0]
    found = example_gradients(model, batch, "separate", loss_gradient)
    problem.row_losses(model(*batch.inputs), batch.target).mean().backward()
    for name, gradient in found.items():
        parameter = model.get_parameter(name)
        error = (gradient.mean(0).view_as(parameter) - parameter.grad).abs().max()
        if not error < 1e-4 * max(p.grad.abs().max() for p in model.parameters()):
            raise SystemExit(f"the gradients of {name} do not sum to autograd's")


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    check_gradients()
    found: dict[str, dict[str, Tensor]] = {work: {} for work in LIMITS}
    for name, side in SIDES.items():
        (folder / name).mkdir(parents=True)
        if name != "curvlinops":
            found["dot"][name] = side.dot(problem.model(), folder / name)
            side.factors(problem.model(), folder / name, "empirical")
        found["ekfac_scores"][name] = side.ekfac_scores(problem.model(), folder / name)
    plain, corrected = (scores["ours"].double().flatten() for scores in found.values())
    factor = plain @ corrected / (plain @ plain)
    if not distance(factor * plain, corrected) > 0.1:
        raise SystemExit("EK-FAC scores are proportional to inner products: their agreement says nothing of curvature")
    for work, scores in found.items():
        for name in [name for name in scores if name != "ours"]:
            apart = distance(scores["ours"], scores[name])
            print(f"agreement of {work} with {name}: relative difference {apart:.1e}", flush=True)
            if not apart < LIMITS[work]:
                raise SystemExit(f"{work}: {name} differs by {apart:.1e}, more than {LIMITS[work]:.0e}")


if __name__ == "__main__":
    main()
