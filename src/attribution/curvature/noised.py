"""Batches of noised images for gradients and curvature: rows with keyed (t, eps), cut to fit memory.

Row r of a batch is draw r % E of example r // E: inputs (x_t, t), target eps, and for Monte-Carlo curvature a keyed
pseudo-target eta, so that the estimate does not depend on how rows fall into batches.

Shape letters: N examples, E draws, R = N E rows, C H W image.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from torch import Tensor

from attribution.core.rng import Name
from attribution.curvature.rows import Batch
from attribution.diffusion.noise import add_noise, draws, tiles
from attribution.diffusion.quantities import timesteps


def noised(
    images: Tensor,
    examples: Sequence[Name],
    abar: Tensor,
    *,
    seed: int,
    stream: str,
    start: int,
    stop: int,
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
    """All rows of N examples x `count` draws, at most `batch` rows at a time."""
    for rows, start, stop in tiles(len(images), count, batch):
        yield noised(
            images[rows],
            examples[rows],
            abar,
            seed=seed,
            stream=stream,
            start=start,
            stop=stop,
            quantity="loss",
            pseudo=pseudo,
        )


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
    first: int = 0,
) -> Iterator[tuple[slice, Iterator[Batch]]]:
    """Rows for gradients of a quantity, grouped: (slice of examples, the batches that together hold all their draws).

    The draws are the `count` ones from `first` on.
    """
    for rows, group in groupby(tiles(len(images), count, batch), key=lambda tile: (tile[0].start, tile[0].stop)):
        part = slice(*rows)
        draw = partial(noised, images[part], examples[part], abar, seed=seed, stream=stream)
        tiled = ((first + start, first + stop) for _, start, stop in group)
        yield part, (draw(start=start, stop=stop, quantity=quantity, pseudo=False) for start, stop in tiled)
