"""The losses of the attributed model at a noise bank, once for all queries and all methods of unlearning.

Writes reference.safetensors: losses [N, S] float32 of the training examples, the bank's t [S] and, where all share it,
eps [S, C, H, W]; meta: the bank's seed, name, sharing and digest.
"""

import torch

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion.ensemble import member
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading
from attribution.unlearning import bank as banks
from attribution.unlearning.losses import REFERENCE, bank_losses

OUTPUTS = {"reference.safetensors": "tolerance"}


def run(job: Job) -> None:
    """One pass over examples x draws."""
    spec, device = job.spec, devices.choose(job.record)
    data = loading.examples(job.input("data"), device)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device)
    params = member(loading.models(job.input("model"), device), 0)
    name, abar = spec["job"]["bank"], alphas_cumprod(spec["diffusion"])
    bank = banks.draw(spec["seed"], name, spec["unlearning"]["banks"][name], abar, data.shape)
    stack = {key: value[None] for key, value in params.items()}
    batch = spec["unlearning"]["batch"]
    found = bank_losses(model, {}, stack, [REFERENCE], data.images, data.names, bank, abar, batch)
    losses = torch.cat([part[0].cpu() for _, part in found])
    if not losses.isfinite().all():
        raise StudyError(f"{job.input('model')}: the loss of some example is not finite; the model is damaged")
    save_tensors(
        job.out / "reference.safetensors",
        {"losses": losses, "t": bank.t, "eps": bank.eps},
        {"seed": bank.seed, "name": bank.name, "shared": bank.shared, "digest": bank.digest()},
    )


if __name__ == "__main__":
    main(run, OUTPUTS)
