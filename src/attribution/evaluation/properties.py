"""Properties of a generator as a whole, and of what it makes of single images: what contributors are credited for.

Oriented so that more is better:
    loss        minus the mean loss on held-out images
    quality     minus the Fréchet distance of generated to held-out images (quality.py)
    diversity   entropy, in bits, of the classes nearest to generated images (Lu et al. 2025: of clusters of faces)
    query       minus the loss of each generated query, a property a query
Lu et al. 2025 credit contributors for the inception score, the entropy of clusters and an aesthetic score.

Shape letters: M models, G samples, Q queries, F features.
"""

import numpy as np

from attribution.evaluation.quality import Features, frechet, nearest

GLOBAL = ("loss", "quality", "diversity")
LOCAL = "query"


def of_samples(samples: np.ndarray, held: np.ndarray, means: np.ndarray, extract: Features) -> dict[str, np.ndarray]:
    """quality and diversity [M] of samples [M, G, C, H, W]; held [N, F], means of the classes [classes, F]."""
    features = [extract(of_model) for of_model in samples]
    return {
        "quality": np.array([-frechet(found, held) for found in features]),
        "diversity": np.array([entropy(nearest(found, means), len(means)) for found in features]),
    }


def entropy(classes: np.ndarray, count: int) -> float:
    """Of the frequencies of classes [G] in 0 to count - 1, in bits."""
    share = np.bincount(classes, minlength=count) / len(classes)
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum()) + 0.0


def of_losses(losses: np.ndarray, kinds: np.ndarray) -> dict[str, np.ndarray]:
    """loss [M] and query [M, Q'] from losses [M, Q] and the queries' kinds [Q]; Q' generated ones."""
    return {"loss": -losses[:, kinds == "heldout"].mean(1), LOCAL: -losses[:, kinds == "generated"]}
