"""Sampling from an ensemble that averages its members' predicted noise, for many choices of members at once.

One x_t is propagated with the mean prediction of the retained members (Dai & Gifford 2023, 2024), from exogenous noise
that does not depend on the choice:
    x_{k+1} = scale_k x_k - shift_k eps_bar(x_k, t_k) + sigma_k z_k,   eps_bar = sum_j w_j eps_j,   x_0 = z_0,
    scale = sqrt(b / a),   shift = sqrt(b (1 - a) / a) - sqrt(1 - b - sigma^2),   sigma^2 = (1 - b)/(1 - a) (1 - a / b)
with a, b = abar at t and at the next timestep, 1 after the last. This is ancestral sampling with DDPM's posterior
variance (Ho et al. 2020, Eq. 6 and 7), strided; with as many steps as there are timesteps, DDPM itself. Predicted clean
images are not clipped on the way, only the sample is, to [-1, 1].

Factual sample: all members; counterfactual without a unit: the members that never saw it. At the first step all choices
share one x_T, so each member answers once; later each member answers only for the choices that retain it.

First order in the weights (Dai & Gifford's Jacobian search): J_j = d x / d w_j at w_j = 1/M, carried along by
    dx_j <- scale dx_j - shift (eps_j(x) + sum_k w_k (d eps_k / dx) dx_j),
forward-mode derivatives in M directions at once. Removing members moves w by delta, x by about sum_j delta_j J_j.

Shape letters: A ablations (choices of members), M members, G samples, K steps, C H W image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from attribution.core.rng import Name
from attribution.diffusion.ensemble import Stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.diffusion.sampler import keyed_normal
from attribution.errors import StudyError


@dataclass(frozen=True)
class Chain:
    """The sampler's steps, K each: timestep, scale, shift, sigma (see above)."""

    t: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    sigma: tuple[float, ...]


def chain(diffusion: dict[str, Any], steps: int) -> Chain:
    """`steps` ancestral steps over the timesteps 0, r, 2r, ..., r = T // steps, downwards."""
    count = diffusion["timesteps"]
    if not 1 <= steps <= count:
        raise StudyError(f"{steps} sampling steps, but there are {count} timesteps: lower ablation.steps")
    abar = alphas_cumprod(diffusion).double()
    t = torch.arange(steps).flip(0) * (count // steps)
    a, b = abar[t], torch.cat([abar[t[1:]], torch.ones(1, dtype=torch.float64)])
    variance = (1 - b) / (1 - a) * (1 - a / b)
    shift = (b * (1 - a) / a).sqrt() - (1 - b - variance).clamp(min=0).sqrt()
    tables = ((b / a).sqrt(), shift, variance.clamp(min=0).sqrt())
    return Chain(tuple(t.tolist()), *(tuple(table.tolist()) for table in tables))


def exogenous(chain: Chain, seed: int, samples: Sequence[Name], shape: Sequence[int]) -> Tensor:
    """All noise of the samples called `samples`, [K + 1, G, C, H, W]: x_T, then one z a step; no choice enters."""
    return torch.stack([keyed_normal(seed, "ablation", samples, step, shape) for step in ("x_T", *range(len(chain.t)))])


@torch.no_grad()
def sample(model: nn.Module, params: Stack, chain: Chain, noise: Tensor, retained: Tensor, batch: int) -> Tensor:
    """Images [A, G, C, H, W] in [-1, 1] by the members that `retained` [A, M] (bool) keeps; noise [K + 1, G, C, H, W].

    `batch` bounds the rows of one pass, members and choices together; it changes no image beyond rounding. Raises
    StudyError where a row keeps no member.
    """
    if not retained.any(1).all():
        raise StudyError(
            f"choice {int((~retained.any(1)).nonzero()[0])} keeps no member: there is nothing to sample from"
        )
    samples = noise.shape[1]
    height = max(1, batch // (samples * retained.shape[1]))
    parts = [retained[first : first + height] for first in range(0, len(retained), height)]
    first = _members(model, params, noise[0], chain.t[0])  # [M, G, C, H, W]
    return torch.cat([_sample(model, params, chain, noise, part, first) for part in parts])


def _sample(model: nn.Module, params: Stack, chain: Chain, noise: Tensor, retained: Tensor, first: Tensor) -> Tensor:
    """`sample` for the choices of one pass; first [M, G, C, H, W]: the members' answers to x_T."""
    choice, place, valid = _table(retained)
    counts = retained.sum(1).to(noise)[:, None, None, None, None]  # [A, 1, 1, 1, 1]
    x = noise[0].expand(len(retained), *noise.shape[1:])  # [A, G, C, H, W]
    for k, t in enumerate(chain.t):
        if k == 0:
            out = first[:, None].expand(-1, choice.shape[1], *first.shape[1:])  # [M, L, G, C, H, W]
        else:
            rows = x[choice]  # [M, L, G, C, H, W], the choices that each member is in
            out = _members_apart(model, params, rows.flatten(1, 2), t).unflatten(1, rows.shape[1:3])
        # a sum over who stays: those who left do not enter it with a weight of 0 either
        eps = torch.zeros_like(x).index_add_(0, place, out[valid]) / counts
        x = chain.scale[k] * x - chain.shift[k] * eps + chain.sigma[k] * noise[k + 1]
    return x.clamp(-1, 1)


@torch.no_grad()
def tangents(model: nn.Module, params: Stack, chain: Chain, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The factual sample [G, C, H, W] of all members, and J [M, G, C, H, W], its derivative in each member's weight.

    The weights are not renormalised; where the sample is clipped the derivative is 0.
    """
    members = len(next(iter(params.values())))
    x = noise[0]
    moved = x.new_zeros(members, *x.shape)  # [M, G, C, H, W]
    for k, t in enumerate(chain.t):
        eps, pushed = (_members(model, params, x, t), 0.0) if k == 0 else _pushed(model, params, x, moved, t)
        moved = chain.scale[k] * moved - chain.shift[k] * (eps + pushed)
        x = chain.scale[k] * x - chain.shift[k] * eps.mean(0) + chain.sigma[k] * noise[k + 1]
    return x.clamp(-1, 1), moved * (x.abs() <= 1)


def _members(model: nn.Module, params: Stack, x: Tensor, t: int) -> Tensor:
    """Answers [M, G, C, H, W] of all members to the same x [G, C, H, W]."""
    times = torch.full((len(x),), t, device=x.device)
    return vmap(lambda p: functional_call(model, p, (x, times)))(params)


def _members_apart(model: nn.Module, params: Stack, x: Tensor, t: int) -> Tensor:
    """Answers [M, R, C, H, W] of each member to its own x [M, R, C, H, W]; the time features are computed once."""
    times = torch.full((x.shape[1],), t, device=x.device)
    return vmap(lambda p, x: functional_call(model, p, (x, times)))(params, x)


def _pushed(model: nn.Module, params: Stack, x: Tensor, moved: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Members' answers [M, G, C, H, W] to x, and the mean member's derivative along each of moved [M, G, C, H, W].

    The directions are the inner vmap, so that each layer is one product a member over all directions and samples.
    """
    times = torch.full((len(x),), t, device=x.device)

    def derivatives(p: dict[str, Tensor]) -> Tensor:
        return vmap(lambda v: jvp(lambda x: functional_call(model, p, (x, times)), (x,), (v,))[1])(moved)

    return _members(model, params, x, t), vmap(derivatives)(params).mean(0)


def _table(retained: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which choices each member is in: positions [M, L], padded by 0; the valid ones in one list; valid [M, L]."""
    counts = retained.sum(0)  # [M]
    choice = retained.T.nonzero()[:, 1]
    longest = max(1, int(counts.max()))
    valid = torch.arange(longest, device=retained.device) < counts[:, None]
    table = torch.zeros(valid.shape, dtype=torch.int64, device=retained.device)
    table[valid] = choice  # nonzero lists member by member
    return table, choice, valid
