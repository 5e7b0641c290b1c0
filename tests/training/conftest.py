"""A small training problem in float64, where batched and plain runs differ by rounding alone."""

from types import SimpleNamespace

import pytest
import torch

from attribution.diffusion.denoisers import build, initial
from attribution.diffusion.ensemble import stack
from attribution.diffusion.noise import alphas_cumprod
from attribution.training.loop import Cohort, train
from attribution.training.state import State

SHAPE = (1, 4, 4)
DIFFUSION = {"timesteps": 1000, "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
MLP = {"kind": "mlp", "width": 6, "depth": 2, "time_features": 4}
TRAINING = {
    "steps": 11,
    "batch": 4,
    "learning_rate": 0.01,
    "warmup_steps": 3,
    "final_learning_rate": 0.1,
    "weight_decay": 0.02,
    "clip_norm": 0.3,
    "ema_decay": 0.8,
    "checkpoint_every": 4,
    "log_every": 4,
}


class Problem:
    """20 images of 4x4; `run` trains models with these members and streams from their first weights."""

    def __init__(self, denoiser):
        self.denoiser, self.shape, self.training = denoiser, SHAPE, TRAINING
        self.abar = alphas_cumprod(DIFFUSION).double()
        self.images = torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def model(self):
        return build(self.denoiser, SHAPE).double()

    def first(self, streams):
        weights = [initial(self.denoiser, SHAPE, stream.seed, *stream.names) for stream in streams]
        return State.first({name: value.double() for name, value in stack(weights).items()})

    def cohort(self, members, streams):
        names = tuple(f"model {m}" for m in range(len(members)))
        return Cohort(names, torch.tensor([list(rows) for rows in members]), tuple(streams))

    def run(self, members, streams, *, state=None, images=None, on_checkpoint=lambda state: None, **changes):
        """Averaged weights, the records of the log, and the state whose weights were trained."""
        state, records = state or self.first(streams), []
        found = train(
            self.model(),
            state,
            self.cohort(members, streams),
            self.images if images is None else images,
            self.abar,
            TRAINING | changes,
            on_log=records.append,
            on_checkpoint=on_checkpoint,
        )
        return SimpleNamespace(ema=found, records=records, state=state)


@pytest.fixture(params=["mlp", "unet"])
def problem(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def mlp():
    return Problem(MLP)


@pytest.fixture
def unet(unet):
    return Problem(unet)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
