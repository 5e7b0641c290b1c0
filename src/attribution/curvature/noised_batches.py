"""Batches of noised images for gradients and curvature: rows with keyed (t, eps), cut to fit memory.

Row r of a batch is draw r % E of example r // E: inputs (x_t, t), target eps, and for Monte-Carlo curvature a keyed
pseudo-target eta, so that the estimate does not depend on how rows fall into batches.

Shape letters: N examples, E draws, R = N E rows, C H W image.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, groupby, starmap
from operator import itemgetter

from torch import Tensor

from attribution.core.rng import Name
from attribution.curvature.rows import Batch
from attribution.diffusion.noise import add_noise, draws, tiles
from attribution.diffusion.quantities import timesteps


def noised_batch(
    images: Tensor,
    examples: Sequence[Name],
    abar: Tensor,
    start: int,
    stop: int,
    *,
    seed: int,
    stream: str,
    quantity: str,
    pseudo: bool,
) -> Batch:
    """Draws start..stop-1 of `stream` for images [N, C, H, W], on the images' device; loss_at_<t> fixes their t."""
    shape = images.shape[1:]
    t, eps = (part.to(images.device) for part in draws(seed, stream, examples, start, stop, len(abar), shape))
    t = timesteps(quantity, t, len(abar))
    x_t = add_noise(abar, images[:, None], t, eps)  # [N, E, C, H, W]
    eta = draws(seed, f"{stream}/pseudo", examples, start, stop, len(abar), shape)[1] if pseudo else None
    return Batch(
        inputs=(x_t.flatten(0, 1), t.flatten()),
        target=eps.flatten(0, 1),
        examples=len(images),
        draws=stop - start,
        pseudo=eta.flatten(0, 1).to(images.device) if pseudo else None,
    )


def tiled(examples: int, count: int, batch: int) -> Iterator[tuple[slice, list[tuple[int, int]]]]:
    """The tiles of examples x draws, grouped: (slice of examples, [(first draw, last draw + 1), ...] of its tiles)."""
    for rows, group in groupby(tiles(examples, count, batch), key=itemgetter(0)):
        yield rows, [(start, stop) for _, start, stop in group]


def by_examples(
    images: Tensor,
    examples: Sequence[Name],
    abar: Tensor,
    *,
    seed: int,
    stream: str,
    count: int,
    batch: int,
    quantity: str,
    pseudo: bool = False,
    first: int = 0,
) -> Iterator[tuple[slice, Iterator[Batch]]]:
    """All rows of N examples x `count` draws, grouped: (slice of examples, the batches that hold all their draws).

    A batch has at most `batch` rows. The draws are the `count` ones from `first` on.
    """
    for rows, cuts in tiled(len(images), count, batch):
        shared = {"seed": seed, "stream": stream, "quantity": quantity, "pseudo": pseudo}
        draw = partial(noised_batch, images[rows], examples[rows], abar, **shared)
        yield rows, starmap(draw, [(first + start, first + stop) for start, stop in cuts])


def batches(
    images: Tensor,
    examples: Sequence[Name],
    abar: Tensor,
    *,
    seed: int,
    stream: str,
    count: int,
    batch: int,
    pseudo: bool,
) -> Iterator[Batch]:
    """The same rows without their groups: example-major, as curvature takes them."""
    choice = {"seed": seed, "stream": stream, "count": count, "batch": batch}
    groups = by_examples(images, examples, abar, quantity="loss", pseudo=pseudo, **choice)
    return chain.from_iterable(drawn for _, drawn in groups)
