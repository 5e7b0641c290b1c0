"""K-FAC influence: the GGN as a Kronecker product a block (Mlodozeniec et al. 2025).

tau = grad m_q^T (F + lambda I)^{-1} grad l_n, F = B (x) A in each block, with the exact damping: in the eigenbasis the
eigenvalues are the products of those of the factors.

Shape letters: L dampings, Q queries, N training examples, O x J shape of a block.
"""

from torch import Tensor

from attribution.curvature.ekfac import Eigenvalues
from attribution.curvature.kfac import Basis, kfac_eigenvalues
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
    eigenvalues = kfac_eigenvalues(basis)
    return sweep(queries, train, eigenvalues, relative(eigenvalues, dampings, unit), bits)
