"""Factors, bases and eigenvalues as flat dicts of tensors: what core.store.save_tensors writes and load_tensors reads.

Keys are "<part>/<block>" ("A/up.0.conv"), and "rows" for the number of rows that sums were taken over.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from attribution.curvature.ekfac import Eigenvalues
from attribution.curvature.kfac import Basis, Factors
from attribution.errors import StudyError


def pack(held: Factors | Basis | Eigenvalues) -> dict[str, Tensor]:
    """Every tensor of `held` under its flat name; `rows` as an int64 scalar."""
    fields = held._asdict() if isinstance(held, Eigenvalues) else vars(held)
    tensors = {}
    for part, value in fields.items():
        if part == "rows":
            tensors["rows"] = torch.tensor(value, dtype=torch.int64)
        else:
            tensors |= {f"{part}/{name}": tensor for name, tensor in value.items()}
    return tensors


def unpack_factors(tensors: Mapping[str, Tensor]) -> Factors:
    """Inverse of pack for Factors; StudyError where a part is missing."""
    return Factors(A=_part(tensors, "A"), B=_part(tensors, "B"), rows=_rows(tensors))


def unpack_basis(tensors: Mapping[str, Tensor]) -> Basis:
    """Inverse of pack for a Basis; StudyError where a part is missing."""
    return Basis(**{part: _part(tensors, part) for part in ("QA", "QB", "a", "b")})


def unpack_eigenvalues(tensors: Mapping[str, Tensor]) -> Eigenvalues:
    """Inverse of pack for Eigenvalues; StudyError where a part is missing."""
    return Eigenvalues(sums=_part(tensors, "sums"), rows=_rows(tensors))


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    named = {key.removeprefix(f"{part}/"): tensor for key, tensor in tensors.items() if key.startswith(f"{part}/")}
    if not named:
        raise StudyError(f"the file holds no {part!r} tensors: it is of another kind")
    return named


def _rows(tensors: Mapping[str, Tensor]) -> int:
    if "rows" not in tensors:
        raise StudyError("the file holds no number of rows: it is of another kind")
    return int(tensors["rows"])
