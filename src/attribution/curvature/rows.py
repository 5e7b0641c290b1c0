"""Rows, and the vectors that are back-propagated from their outputs.

A row is one (example, draw) pair: a noised image with its timestep, and the noise that is to be predicted. Rows are
ordered example-major, so that row r is draw r % E of example r // E.

The loss of a row is the mean over its D output dims of the squared error, so its Hessian in the outputs is (2/D) I.
A Fisher is E[J^T u u^T J] for a random output vector u, where J is the Jacobian of a row's output:
    mc         u = sqrt(2/D) eta, eta ~ N(0, I)   E[u u^T] = (2/D) I: an unbiased estimate of the GGN, one vector a row
    type2      u_d = sqrt(2/D) e_d, d = 1..D      sum_d u_d u_d^T = (2/D) I: the GGN itself, D vectors a row
    empirical  u = (2/D) (f - target)             the gradient of the row's loss: no GGN, and 2/D s^2 times its size
                                                  for residuals of mean square s^2
The MC vector is the loss gradient at a pseudo-target f - sqrt(D/2) eta. Its variance must be D/2 (1/2 for a loss summed
over dims): another one scales the curvature, and a damping then means something else.
Source: Kunstner, Hennig, Balles 2019, "Limitations of the empirical Fisher approximation"; Dangel et al. 2025, "KFAC
from scratch" (type-2, MC and empirical).

Shape letters: R = N E rows, N examples, E draws, D output dims of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attribution.errors import StudyError

Fisher = Literal["mc", "type2", "empirical"]


@dataclass(frozen=True)
class Batch:
    """`examples` (N) examples with `draws` (E) draws each: R = N E rows; the model is called as model(*inputs).

    Raises StudyError where a tensor does not hold R rows.
    """

    inputs: tuple[Tensor, ...]  # each [R, ...]
    target: Tensor  # [R, ...]
    examples: int
    draws: int
    pseudo: Tensor | None = None  # eta [R, ...] for the MC Fisher, where the caller keys it instead of a generator

    def __post_init__(self) -> None:
        held = {len(tensor) for tensor in (*self.inputs, self.target)}
        if held != {self.rows}:
            raise StudyError(f"a batch of {self.examples} examples x {self.draws} draws holds {sorted(held)} rows")

    @property
    def rows(self) -> int:
        return self.examples * self.draws


def loss_gradient(output: Tensor, batch: Batch) -> Tensor:
    """d(loss of a row)/d(its output) = (2/D) (f - target); output [R, ...] -> [R, ...]."""
    return (output - batch.target) * (2.0 / output[0].numel())


def fisher_vectors(fisher: Fisher, output: Tensor, batch: Batch, generator: torch.Generator | None) -> Iterator[Tensor]:
    """The vectors u to back-propagate from `output` [R, ...]: one [R, ...] tensor, or D of them for "type2".

    "mc" takes eta from `batch.pseudo`, else from `generator`, on the generator's own device and in the output's dtype.
    Raises StudyError for an unknown Fisher, and where "mc" has no source of eta or two.
    """
    output = output.detach()
    scale = (2.0 / output[0].numel()) ** 0.5
    if fisher == "mc":
        yield scale * _standard_normal(output, batch.pseudo, generator)
    elif fisher == "type2":
        for d in range(output[0].numel()):
            u = output.new_zeros(len(output), output[0].numel())
            u[:, d] = scale
            yield u.view(output.shape)
    elif fisher == "empirical":
        yield loss_gradient(output, batch)
    else:
        raise StudyError(f"fisher is {fisher!r}: choose mc, type2 or empirical")


def _standard_normal(output: Tensor, pseudo: Tensor | None, generator: torch.Generator | None) -> Tensor:
    if (pseudo is None) == (generator is None):
        raise StudyError("the mc Fisher draws from batch.pseudo or from a generator: give one of them")
    if pseudo is None:
        eta = torch.randn(output.shape, generator=generator, device=generator.device, dtype=output.dtype)
        return eta.to(output.device)
    if pseudo.shape != output.shape:
        raise StudyError(f"batch.pseudo has shape {list(pseudo.shape)}, the output {list(output.shape)}")
    return pseudo.to(output)
