"""Shapley values of a game by least squares over coalitions, and how far one game follows another.

With rows x_k in {0, 1}^n of coalitions, their weights w_k (sum 1; design/contributors.py) and their worth v_k,
    A = sum_k w_k x_k x_k^T,   b = sum_k w_k x_k (v_k - v_0),
    phi = A^-1 (b - 1 (1^T A^-1 b - v_1 + v_0) / (1^T A^-1 1))
minimises the weighted squared error of v_0 + x^T phi under sum phi = v_1 - v_0 (Covert & Lee 2021, Eq. 7): over all
coalitions the Shapley values, over drawn ones an estimate that is efficient however few they are.

That estimate is noisy where worth depends on size: one contributor is nearly as good as all, beside a network without
training. A game of the size alone is worth the same to all contributors, (g(n) - g(0)) / n. So g(s) = a + b / s,
fitted beside the values, is taken out first (`values`), a control variate: limit and efficiency are the same.

Shape letters: K coalitions, n contributors, P properties.
"""

import numpy as np
from scipy import stats

from attribution.errors import StudyError


def least_squares(
    coalitions: np.ndarray, worth: np.ndarray, weights: np.ndarray, empty: np.ndarray, whole: np.ndarray
) -> np.ndarray:
    """Shapley values [n, P] from coalitions [K, n] bool, worth [K, P] and weights [K]; empty, whole [P]: the ends.

    Raises StudyError where the coalitions do not tell the contributors apart: no ridge hides that.
    """
    x = coalitions.astype(np.float64)
    weighted = (x * weights[:, None]).T
    A = weighted @ x
    if np.linalg.matrix_rank(A, hermitian=True) < len(A):
        raise StudyError(f"{len(x)} coalitions do not tell {len(A)} contributors apart")
    solved = np.linalg.solve(A, np.column_stack([weighted @ (worth - empty), np.ones(len(A))]))
    free, ones = solved[:, :-1], solved[:, -1]
    return free - np.outer(ones, free.sum(0) - whole + empty) / ones.sum()


def values(
    coalitions: np.ndarray, worth: np.ndarray, weights: np.ndarray, empty: np.ndarray, whole: np.ndarray
) -> np.ndarray:
    """`least_squares` of what a game a + b / |S|, `empty` where S is, leaves; and its share for each contributor.

    a and b are those of the best a + b / |S| + sum of values, so a game that is such a sum loses nothing to them.
    """
    count = coalitions.shape[1]
    of_size = np.stack([np.ones(len(coalitions)), 1 / coalitions.sum(1)], axis=1)
    root = np.sqrt(weights)[:, None]
    fitted = np.linalg.lstsq(np.hstack([of_size, coalitions]) * root, worth * root, rcond=None)[0][:2]  # [2, P]
    end = fitted[0] + fitted[1] / count
    left = least_squares(coalitions, worth - of_size @ fitted, weights, np.zeros_like(empty), whole - end)
    return left + (end - empty) / count


def half_width(
    coalitions: np.ndarray,
    worth: np.ndarray,
    weights: np.ndarray,
    empty: np.ndarray,
    whole: np.ndarray,
    coverage: float,
) -> np.ndarray:
    """Half of the interval of `values`, [n, P], by what they are without each pair of a coalition and its complement.

    Coalitions in the order of design/contributors.py: all but one, one alone, then drawn pairs. As the ends are pairs
    too, the noise of training every model counts. Student's t, a degree of freedom for each drawn pair.
    """
    count = coalitions.shape[1]
    drawn = (len(coalitions) - 2 * count) // 2
    pair = np.concatenate([np.tile(np.arange(count), 2), count + np.repeat(np.arange(drawn), 2)])
    whole_fit = values(coalitions, worth, weights, empty, whole)
    variance = sum(
        (values(coalitions, worth, weights * (pair != left), empty, whole) - whole_fit) ** 2
        for left in range(count + drawn)
    )
    return np.sqrt(variance) * stats.t.ppf((1 + coverage) / 2, drawn)


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spread [1 + K, P] (intervals.py) of the correlation over coalitions of a with b, [K, P] each.

    To first order in what a coalition takes with it. NaN where one does not vary.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = ((values - values.mean(0)) / values.std(0) for values in (a, b))
    r = (x * y).mean(0)
    return np.concatenate([r[None], (x * y - r * (x * x + y * y) / 2) / (len(a) - 1)])
