"""Average ranks, as scipy.stats.rankdata gives them, whose import takes longer than most evaluations compute."""

import numpy as np


def average_ranks(values: np.ndarray, axis: int) -> np.ndarray:
    """Ranks 1, 2, ... along `axis`, float64 of the shape of `values`; equal values share the mean of their places.

    NaN all along the axis where a value there is NaN.
    """
    x = np.swapaxes(np.asarray(values), axis, -1)
    order = np.argsort(x, axis=-1, kind="stable")
    ordered = np.take_along_axis(x, order, -1)
    begins = np.ones(x.shape, dtype=bool)  # a run of equal values
    begins[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    places = np.arange(x.shape[-1])
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=-1)
    ends = np.ones(x.shape, dtype=bool)
    ends[..., :-1] = begins[..., 1:]
    last = np.minimum.accumulate(np.where(ends, places, x.shape[-1])[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(x.shape)
    np.put_along_axis(ranks, order, 1 + (first + last) / 2, -1)
    ranks[np.isnan(x).any(-1)] = np.nan
    return np.swapaxes(ranks, axis, -1)
