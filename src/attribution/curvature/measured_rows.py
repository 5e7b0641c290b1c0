"""The rows that a quantity's gradients are made of, and what is back-propagated from them.

Most quantities are means over keyed noise (noised_batches.py). Three, of queries alone, are not:
    trajectory  minus the log-probability of a sampling trajectory: a row for each counted step
    journey     the loss at the clean images predicted along the trajectory: TRAK's query feature in Journey-TRAK
                (Georgiev et al. 2023, as Zheng et al. 2024 run it), mean over K images, count / K draws of each
    output      J^T u for a random direction u of the output, E |<u, v>|^2 = mean square of v: a row each, not their
                mean, for the predicted change of the output (DAS, Lin et al. 2024)

Shape letters: n examples of a group, Q queries, K sampling steps, E draws, D output dims of a row, R rows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import starmap
from typing import NamedTuple

from torch import Tensor

from attribution.core.rng import Name
from attribution.curvature.noised_batches import batches, by_examples, tiled
from attribution.curvature.rows import Batch
from attribution.diffusion import quantities, trajectory
from attribution.diffusion.elbo import Schedule
from attribution.diffusion.trajectory import Steps, Trajectory

ALONG = ("trajectory", "journey")  # quantities that need the queries' trajectories


class Measured(NamedTuple):
    """Groups of batches, each with all rows of some examples, and d(quantity of a row)/d(its output)."""

    groups: Iterator[Iterable[Batch]]
    output_gradient: Callable[[Tensor, Batch], Tensor]


class Draws(NamedTuple):
    """Which keyed draws, how many of them, and how many rows at a time."""

    seed: int
    stream: str
    count: int
    batch: int


def of_noise(quantity: str, chain: Schedule, images: Tensor, names: list[Name], draws: Draws) -> Measured:
    """A quantity of images [n, C, H, W] over keyed noise; StudyError for an unknown one."""
    groups = by_examples(images, names, chain.abar.float(), quantity=quantity, **draws._asdict())
    return Measured((group for _, group in groups), quantities.output_gradient(quantity, chain))


def of_trajectory(steps: Steps, path: Trajectory, batch: int) -> Measured:
    """Minus the log-probability of each way, over all counted steps."""

    def group(samples: slice, cuts: list[tuple[int, int]]) -> Iterator[Batch]:
        for start, stop in cuts:
            x, t, target = trajectory.rows(steps, path, samples, slice(start, stop))
            yield Batch(inputs=(x, t), target=target, examples=samples.stop - samples.start, draws=stop - start)

    groups = starmap(group, tiled(len(path.states), len(steps), batch))
    return Measured(groups, trajectory.output_gradient(steps))


def of_journey(chain: Schedule, images: Tensor, names: list[str], queries: int, draws: Draws) -> Measured:
    """The loss of every query's predicted clean images [Q K, C, H, W], a mean over all of them and their draws."""
    steps = len(images) // queries
    draws = draws._replace(count=-(-draws.count // steps))

    def group(q: int) -> Iterator[Batch]:
        own = slice(q * steps, (q + 1) * steps)
        for _, drawn in by_examples(images[own], names[own], chain.abar.float(), quantity="loss", **draws._asdict()):
            for batch in drawn:
                yield replace(batch, examples=1, draws=batch.rows)

    return Measured(map(group, range(queries)), quantities.output_gradient("loss", chain))


def of_outputs(chain: Schedule, images: Tensor, names: list[Name], draws: Draws) -> Measured:
    """Random directions of the output, every row an example of its own: [n E] gradients, example-major."""
    drawn = batches(images, names, chain.abar.float(), pseudo=True, **draws._asdict())

    def direction(output: Tensor, batch: Batch) -> Tensor:
        return batch.pseudo.to(output) / output[0].numel() ** 0.5

    return Measured(([replace(batch, examples=batch.rows, draws=1)] for batch in drawn), direction)
