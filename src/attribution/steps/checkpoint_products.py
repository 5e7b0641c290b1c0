"""Inner products of the queries' loss gradients and the training set's at checkpoints of the training.

Writes products.safetensors, float64, all that TracIn and its kin need:
    replayed [K, Q, N]     training gradients at the timestep and noise that each example met last before the checkpoint
    directed [K, Q, N]     the same, with the query's gradient as the mean of its rows scaled to length one
    averaged [K, Q, N]     training gradients averaged over checkpoints.draws draws
    replayed_norm, averaged_norm [K, N], query_norm [K, Q], learning_rate [K]
Query gradients are means over checkpoints.draws draws; draws are those of the step `gradients`, the first of them. The
gradients of a few training examples exist at a time, as many as gradients.batch rows hold with all their draws.

Shape letters: K checkpoints, Q queries, N training examples, n some of them, C H W image, O x J shape of a block.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from attribution.core import device as devices
from attribution.core.store import load_meta, load_tensors, save_tensors
from attribution.curvature.directions import lengths, mean_directions
from attribution.curvature.gradients import example_gradients, mean_gradients
from attribution.curvature.inner import inner
from attribution.curvature.noised_batches import by_examples
from attribution.curvature.replay import Meeting, last_met, replayed
from attribution.curvature.rows import loss_gradient
from attribution.diffusion.noise import alphas_cumprod
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.training.stream import Stream, batch

OUTPUTS = {"products.safetensors": "tolerance"}


def run(job: Job) -> None:
    """Checkpoint by checkpoint."""
    spec, device = job.spec, devices.choose(job.record)
    data, queries = (loading.examples(job.input(name), device) for name in ("data", "queries"))
    checkpoints = job.input("checkpoints")
    meta, design = load_meta(checkpoints), load_meta(job.input("subsets"))
    members = load_tensors(job.input("subsets"), "pt")["members"][0]
    stream = Stream(spec["seed"], tuple(design["streams"][0]))
    met = [
        last_met(_meetings(stream, members, step, spec, data.shape), len(members), data.shape) for step in meta["steps"]
    ]
    parts = []
    for name, (t, eps) in zip(meta["names"], met, strict=True):
        model = loading.single(checkpoints, spec["denoiser"], data.shape, device, name)
        parts.append(_products(model, data, queries, t, eps, spec))
    products = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    rates = torch.tensor(meta["learning_rates"], dtype=torch.float64)
    save_tensors(job.out / "products.safetensors", products | {"learning_rate": rates})


def _meetings(
    stream: Stream, members: Tensor, step: int, spec: dict[str, Any], shape: tuple[int, int, int]
) -> Iterator[Meeting]:
    """What the batches of the first `step` steps held, the last one first; members [N] are those of the model."""
    size, timesteps = spec["training"]["batch"], spec["diffusion"]["timesteps"]
    for done in reversed(range(step)):
        positions, t, eps = batch(stream, done, len(members), size, timesteps, shape)
        yield members[positions], t, eps


def _products(
    model: nn.Module, data: loading.Examples, queries: loading.Examples, t: Tensor, eps: Tensor, spec: dict[str, Any]
) -> dict[str, Tensor]:
    """The products of one checkpoint, on the CPU: those of the file's head without K."""
    rows, draws, bias = spec["gradients"]["batch"], spec["checkpoints"]["draws"], spec["curvature"]["bias"]
    abar = alphas_cumprod(spec["diffusion"])
    shared = {"seed": spec["seed"], "count": draws, "quantity": "loss"}
    of_queries = queries.images, queries.names, abar

    means, directions = [], []
    for _, drawn in by_examples(*of_queries, stream="gradients/queries", batch=rows, **shared):
        means.append(mean_gradients(model, drawn, bias, loss_gradient))
    # As many gradients at a time as above: there one for each example, here one for each row.
    for _, drawn in by_examples(*of_queries, stream="gradients/queries", batch=max(1, rows // draws), **shared):
        directions.append(mean_directions(model, drawn, bias, loss_gradient))
    query, direction = _joined(means), _joined(directions)

    found: dict[str, list[Tensor]] = {name: [] for name in ("replayed", "directed", "averaged")}
    norms: dict[str, list[Tensor]] = {name: [] for name in ("replayed_norm", "averaged_norm")}
    for few, drawn in by_examples(data.images, data.names, abar, stream="gradients/train", batch=rows, **shared):
        averaged = mean_gradients(model, drawn, bias, loss_gradient)
        met = example_gradients(model, replayed(data.images[few], abar, t[few], eps[few]), bias, loss_gradient)
        found["replayed"].append(inner(query, met))
        found["directed"].append(inner(direction, met))
        found["averaged"].append(inner(query, averaged))
        norms["replayed_norm"].append(lengths(met))
        norms["averaged_norm"].append(lengths(averaged))
    joined = {name: torch.cat(parts, -1).cpu() for name, parts in (found | norms).items()}
    return joined | {"query_norm": lengths(query).cpu()}


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Gradients [n, O, J] of all groups as one [Q, O, J] a block, in float64 once for all products with them."""
    return {block: torch.cat([part.pop(block) for part in parts]).double() for block in list(parts[0])}


if __name__ == "__main__":
    main(run, OUTPUTS)
