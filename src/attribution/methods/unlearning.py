"""Attribution by unlearning: forget the query, and see how much worse each training example fares.

Every method compares an example's losses t before and u after a query was unlearned, at one noise bank for all
(unlearning/bank.py); `unlearned` says how it was forgotten, `score` how the losses are compared:

- MUCS, mirrored unlearning and noise-consistent skew (Serrà et al. 2026, arXiv 2605.17938): 1/S sum_s (u_ns - t_ns) /
  (u_ns + t_ns + floor) after unlearning/mirrored.py. To first order it is the influence of the query on n's log-loss.
- AbU, attribution by unlearning (Wang et al. 2024, arXiv 2406.09408): 1/S sum_s (u_ns - t_ns) after a Newton step up
  the query's loss with the diagonal of the Fisher matrix. Theirs is averaged over 20 even timesteps, with noise that
  both models share and examples do not.
- AbU+ (Wang et al. 2025, arXiv 2511.10721): the same with EK-FAC. For a small step it is EK-FAC influence, up to scale
  and the noise of its draws.
- Forward-INF (Ko et al. 2024, arXiv 2402.08922, the mirrored influence hypothesis): a step or a few of Adam; their
  example takes the absolute value, which cannot tell help from harm.
- Ascent on the query alone, the negative control. Wang et al. 2024 find it no better than random: what a few steps of
  ascent move is every example's loss.

Shape letters: M queries, n examples, S draws.
"""

from typing import Any

from torch import Tensor

from attribution.unlearning.skew import compare

FAMILY = {
    "family": "Unlearning",
    "reads": "unlearned",
    "settings": {
        "unlearned": {"type": "string", "description": "one of unlearning.kinds"},
        "bank": {"type": "string", "description": "one of unlearning.banks", "default": "main"},
        "score": {
            "enum": ["skew", "difference", "skew_of_means"],
            "description": "how losses before and after are compared",
            "default": "difference",
        },
        "floor": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "added to the sum of both losses that a skew divides by",
            "default": 0.0,
        },
    },
    "methods": {
        "mucs": {
            "label": "MUCS",
            "about": "relative rise of an example's loss once the query is forgotten",
            "score": "mean over a noise bank of (u - t) / (u + t + floor), losses of n before and after q is unlearned",
            "source": "Serrà et al. 2026; [unlearning.md](unlearning.md)",
            "settings": {
                "unlearned": {"default": "mirrored"},
                "score": {"default": "skew"},
                "floor": {"default": 0.001},
            },
            "variants": {
                "unbounded": "MUCS, unbounded",
                "forget_only": "MUCS, retaining nothing",
                "difference": "MUCS, differences",
                "per_example": "MUCS, noise per example",
                "independent": "MUCS, noise per model",
                "whole_grid": "MUCS, whole grid",
                "trained_noise": "MUCS, noise of training",
                "few_draws": "MUCS, few draws",
                "all": "MUCS, all parameters",
                "all_difference": "MUCS, all, differences",
            },
        },
        "ascent": {
            "label": "Ascent",
            "about": "rise of an example's loss after ascent on the query",
            "score": "mean of u - t after gradient ascent on q",
            "source": "negative control",
            "settings": {"unlearned": {"default": "ascent"}},
        },
        "forward_inf": {
            "label": "Forward-INF",
            "about": "the same after a few steps of Adam",
            "score": "the same after a step of Adam",
            "source": "Ko et al. 2024",
            "settings": {"unlearned": {"default": "ascent_adam"}},
        },
        "abu": {
            "label": "AbU",
            "about": "the same after a Newton step with a diagonal Fisher matrix",
            "score": "the same after a Newton step, diagonal F",
            "source": "Wang et al. 2024",
            "settings": {"unlearned": {"default": "newton"}},
        },
        "abu_plus": {
            "label": "AbU+",
            "about": "the same with EK-FAC",
            "score": "the same after a Newton step, EK-FAC",
            "source": "Wang et al. 2025",
            "settings": {"unlearned": {"default": "newton_ekfac"}},
        },
    },
}


def score(before: Tensor, after: Tensor, settings: dict[str, Any]) -> Tensor:
    """[M, n] float64 of losses [n, S] and [M, n, S], by the settings `score` and `floor`."""
    return compare(settings["score"], settings["floor"], before, after)
