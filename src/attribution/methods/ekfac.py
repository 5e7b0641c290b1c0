"""EK-FAC influence: K-FAC with the exact diagonal in its eigenbasis (George et al. 2018; Mlodozeniec et al. 2025).

tau = grad m_q^T (Q diag(Lambda) Q^T + lambda I)^{-1} grad l_n: what the paper reports as "K-FAC influence".

Shape letters: L dampings, Q queries, N training examples, O x J shape of a block.
"""

from torch import Tensor

from attribution.curvature.ekfac import Eigenvalues, mean
from attribution.curvature.kfac import Basis
from attribution.curvature.solve import Unit, relative, sweep


def score(
    queries: dict[str, Tensor],
    train: dict[str, Tensor],
    basis: Basis,
    corrected: Eigenvalues,
    dampings: list[float],
    unit: Unit,
    bits: int,
) -> Tensor:
    """[L, Q, N] from rotated gradients [Q or N, O, J], those of the preconditioned queries in `bits` bits.

    Dampings are relative to the mean eigenvalue of `unit`: the model, or each block.
    """
    eigenvalues = mean(corrected)
    return sweep(queries, train, eigenvalues, relative(eigenvalues, dampings, unit), bits)
