"""TRAK and its normalisations from inner products alone: an N x N eigendecomposition in place of a P x P inverse.

With Phi [N, P] the train features (gradients, or sketches of them) and phi_q those of a query, by the push-through
identity Phi (Phi^T Phi + lambda I)^{-1} = (Phi Phi^T + lambda I)^{-1} Phi, and with Phi Phi^T = V diag(s) V^T:
    scores        tau = phi_q^T (Phi^T Phi + lambda I)^{-1} phi_n = [phi_q Phi^T V diag(1 / (s + lambda)) V^T]_n
    relative      tau / |(Phi^T Phi + lambda I)^{-1} phi_n|, whose square is [V diag(s / (s + lambda)^2) V^T]_nn
    renormalised  tau / |phi_n|
    left_out      phi_q^T (Phi^T Phi - phi_n phi_n^T + lambda I)^{-1} phi_n = tau / (1 - h_n), by Sherman and Morrison,
                  with the leverage h_n = phi_n^T (Phi^T Phi + lambda I)^{-1} phi_n: 1 - h_n is
                  [V diag(lambda / (s + lambda)) V^T]_nn, which is above 0 and loses no digits where h_n is close to 1
lambda is quoted relative to the kernel's mean diagonal, so that it means the same under any scale of the features:
their sum over draws or their mean, a projection's normalisation. All is NumPy in float64: a float32 inverse of the
P x P matrix, which has rank N at most, is noise below a damping of some 1e-7 of its largest eigenvalue.
Source: Park et al. 2023, Eq. 13 (TRAK); Barshan, Brunet, Dziugaite 2020, "RelatIF: identifying explanatory training
examples via relative influence" (theta-relative influence); Hammoudeh & Lowd 2022, "Identifying a training-set attack's
target using renormalized influence estimation".

Shape letters: L dampings, Q queries, N training examples, P parameters or features.
"""

from collections.abc import Iterator

import numpy as np
from scipy.linalg import eigh

from attribution.errors import StudyError


def scores(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N] float64 of query_train [Q, N] and train_train [N, N], one layer a lambda / mean(diag(Phi Phi^T)).

    Raises StudyError for a damping that is not above 0, and where the kernel is not finite. A kernel of zeros scores 0.
    """
    return np.stack([tau for tau, _, _ in _layers(gram, dampings)])


def relative(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N]: `scores` divided by the length of the parameter change that example n causes; 0 where it causes none.

    An outlier moves every query; what is left is how much of its move concerns this one. The same errors as `scores`.
    """
    return np.stack([_divide(tau, lengths) for tau, lengths, _ in _layers(gram, dampings)])


def renormalised(gram: dict[str, np.ndarray], dampings: list[float]) -> np.ndarray:
    """[L, Q, N]: `scores` divided by |phi_n|, the root of train_norm [N]; 0 where that is 0. The same errors."""
    return _divide(scores(gram, dampings), np.sqrt(gram["train_norm"]))


def left_out(gram: dict[str, np.ndarray], dampings: list[float]) -> Iterator[np.ndarray]:
    """[Q, N] for each damping: `scores` whose kernel does not hold the example that is scored. The same errors.

    Layers come one at a time, as there may be many rows a query. lambda is relative to the kernel of all examples.
    """
    return (tau / rest for tau, _, rest in _layers(gram, dampings))


def _layers(gram: dict[str, np.ndarray], dampings: list[float]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each damping scores [Q, N], lengths |(Phi^T Phi + lambda I)^{-1} phi_n| [N] and 1 - h_n [N].

    Scores and lengths are 0 where phi_n is 0.
    """
    if any(not damping > 0 for damping in dampings):
        raise StudyError(f"the ridge must be above 0: {list(dampings)}")
    kernel, products = (np.asarray(gram[name], np.float64) for name in ("train_train", "query_train"))
    if not (np.isfinite(kernel).all() and np.isfinite(products).all()):
        raise StudyError("an inner product of gradients is not finite: a gradient overflows")
    unit = np.trace(kernel) / len(kernel)
    if unit == 0:  # no feature at all: every inner product is 0
        for _ in dampings:
            yield np.zeros(products.shape), np.zeros(len(kernel)), np.ones(len(kernel))
        return
    values, vectors = eigh(kernel)
    values = values.clip(min=0)
    rotated, weights = products @ vectors, vectors**2  # [Q, N], [N, N]
    present = np.diag(kernel) > 0  # eigenvectors are rounded: a feature of zeros would have a length of rounding errors
    for damping in dampings:
        ridge = damping * unit
        damped = values + ridge  # [N]
        tau, squared = (rotated / damped) @ vectors.T, weights @ (values / damped**2)
        yield np.where(present, tau, 0.0), np.sqrt(np.where(present, squared, 0.0)), weights @ (ridge / damped)


def _divide(tau: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    lengths = np.broadcast_to(lengths, tau.shape)
    return np.divide(tau, lengths, out=np.zeros_like(tau), where=lengths > 0)
