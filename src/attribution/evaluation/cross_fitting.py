"""Scores that were fitted to half of the retrained models, judged by the other half, both ways round.

What evaluate.py does for a damping, for scores that learned anything else from retrained models: layer 0 was fitted to
the selection half and is reported on the reporting half, layer 1 the other way round. Neither layer is ever judged by
models that it was fitted to. Records and arrays are those of evaluate.py for a method without dampings.

Shape letters: N training examples, Q queries, R training replicates, S subsets.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attribution.errors import StudyError
from attribution.evaluation.intervals import interval, mean, of_halves
from attribution.evaluation.lds import group_prediction, mean_outcome
from attribution.evaluation.selection import by_kind, halves

WITHOUT = ("selected_damping", "other_damping", "at_edge", "default", "least")


def evaluate_targets(
    scores: np.ndarray,
    masks: np.ndarray,
    outcomes: Mapping[str, np.ndarray],
    kinds: np.ndarray,
    seed: int,
    coverage: float,
) -> dict[str, tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Target -> record and arrays, of scores [2, Q, N] by the half that they were fitted to, selection first."""
    if len(scores) != 2:
        raise StudyError(f"scores fitted to halves of the subsets must be [2, Q, N], got {list(scores.shape)}")
    predictions = np.stack([group_prediction(masks, layer) for layer in scores])  # [2, S, Q]
    split = halves(len(masks), seed)
    judges = [split["reporting"], split["selection"]]
    found = {}
    for target, measured in outcomes.items():
        truth = mean_outcome(measured)  # [S, Q]
        record: dict[str, Any] = {}
        arrays = {"prediction": predictions[0], "per_query": np.empty(truth.shape[1])}
        for kind, queries in by_kind(kinds, truth.shape[1]).items():
            spread = of_halves(predictions[:, :, queries], truth[:, queries], judges)
            arrays["per_query"][queries], arrays[f"spread_{kind}"] = spread[0], spread
            record[kind] = {
                "lds": mean(spread),
                "interval": interval(spread, coverage),
                "n": {"queries": len(queries), "subsets": len(truth)},
                "sweep": [],
            } | dict.fromkeys(WITHOUT)
        found[target] = {"kinds": record, "halves": split}, arrays
    return found
