"""What the steps that score share: the method's function and settings, and the file of its scores, held to its form."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from attribution.core.store import save_tensors
from attribution.errors import StudyError
from attribution.provenance.job import Job


def function(job: Job) -> Callable[..., Any]:
    """The function that computes the job's method: that of its name in its module, else the module's `score`."""
    module, name = (job.spec["job"][key] for key in ("module", "function"))
    found = getattr(import_module(f"attribution.methods.{module}"), name, None)
    found = found or getattr(import_module(f"attribution.methods.{module}"), "score", None)
    if found is None:
        raise StudyError(f"methods/{module}.py: has neither a function {name} nor a function score")
    return found


def settings(job: Job) -> dict[str, Any]:
    """The method's settings in the study's config, but those that its scores do not depend on."""
    return job.spec["methods"][job.spec["job"]["method"]]


def save(job: Job, scores: Any, queries: int, examples: int, **more: Any) -> None:
    """Write scores.safetensors: scores [L, Q, N] float32, dampings [L] where the method has any, and `more`.

    Scores [Q, N] are one layer. Raises StudyError, naming the method and what is expected, where the shape is another,
    or where an entry is not a finite number.
    """
    name, dampings = job.spec["job"]["method"], settings(job).get("dampings")
    array = np.asarray(scores)
    layers = len(dampings) if dampings else None
    wanted = f"[{layers or 'L'}, {queries}, {examples}] (dampings, queries, training examples)"
    if array.dtype.kind not in "fiu":
        raise StudyError(f"{name}: its scores are {array.dtype}; expected numbers {wanted}")
    held = array[None] if array.ndim == 2 else array
    if held.ndim != 3 or held.shape[1:] != (queries, examples) or layers not in (None, len(held)):
        raise StudyError(f"{name}: its scores are {list(array.shape)}; expected {wanted}")
    if len(bad := np.argwhere(~np.isfinite(held))):
        where = f"of query {bad[0, 1]} and training example {bad[0, 2]}"
        raise StudyError(f"{name}: {len(bad)} of its scores are not finite, the first {where}")
    tensors = {"scores": held.astype("float32")} | ({"dampings": dampings} if dampings else {})
    save_tensors(job.out / "scores.safetensors", tensors | more)
