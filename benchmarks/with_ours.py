"""This project's side of every comparison: streamed over examples, so that no array of N gradients is ever held.

Shape letters: N examples, Q queries, O x J shape of a block.
"""

from dataclasses import replace
from pathlib import Path

import problem
import torch
from torch import Tensor, nn

from attribution.core.store import load_tensors, save_tensors
from attribution.curvature import ekfac, kfac, state
from attribution.curvature.gradients import example_gradients
from attribution.curvature.rows import Fisher, loss_gradient
from attribution.curvature.solve import relative_damping, scores

EXAMPLES = 50  # at once; E times as many rows
BESIDE = 20  # at once, where the gradients of all queries are held
ROWS = 200  # at once, for factors


def gradients(model: nn.Module, folder: Path) -> None:
    """Gradients of all training examples, a batch of examples at a time."""
    for batch in problem.cut(problem.rows("train"), EXAMPLES):
        example_gradients(model, batch, "joint", loss_gradient)


def dot(model: nn.Module, folder: Path) -> Tensor:
    """[Q, N] inner products of gradients."""
    return against_all(model, example_gradients(model, problem.rows("queries"), "joint", loss_gradient))


def factors(model: nn.Module, folder: Path, fisher: Fisher = "mc") -> None:
    """Basis and corrected eigenvalues of EK-FAC, into `folder`."""
    batches = problem.cut(problem.singly(problem.rows("train")), ROWS)
    options = dict(fisher=fisher, bias="joint", generator=torch.Generator().manual_seed(0) if fisher == "mc" else None)
    basis = kfac.eigenbasis(kfac.accumulate(model, batches, sharing="expand", **options))
    corrected = ekfac.accumulate_eigenvalues(model, batches, basis, **options)
    save_tensors(folder / "basis.safetensors", state.pack(basis))
    save_tensors(folder / "eigenvalues.safetensors", state.pack(corrected))


def ekfac_scores(model: nn.Module, folder: Path) -> Tensor:
    """[Q, N] EK-FAC scores with the factors in `folder`: the queries are solved for, the training gradients plain."""
    held = (load_tensors(folder / f"{part}.safetensors", "pt") for part in ("basis", "eigenvalues"))
    basis, eigenvalues = state.unpack_basis(next(held)), ekfac.mean(state.unpack_eigenvalues(next(held)))
    damping = relative_damping(eigenvalues, problem.DAMPING)
    back = replace(basis, QA={name: Q.mT for name, Q in basis.QA.items()}, QB={n: Q.mT for n, Q in basis.QB.items()})
    queries = ekfac.rotate(example_gradients(model, problem.rows("queries"), "joint", loss_gradient), basis)
    for name, query in queries.items():
        query /= eigenvalues[name] + damping
    return against_all(model, ekfac.rotate(queries, back))


def against_all(model: nn.Module, queries: dict[str, Tensor]) -> Tensor:
    """[Q, N] inner products of `queries` [Q, O, J] with the gradients of all training examples."""
    ones = {name: torch.ones(q.shape[1:]) for name, q in queries.items()}
    parts = problem.cut(problem.rows("train"), BESIDE)
    gradients = (example_gradients(model, part, "joint", loss_gradient) for part in parts)
    return torch.cat([scores(queries, g, ones, 0.0) for g in gradients], 1)
