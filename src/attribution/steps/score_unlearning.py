"""Score by unlearning: how much worse each training example fares in the models that forgot a query.

Writes scores.safetensors: scores [1, Q, N] float32, larger = removing n hurts q more. Of each batch of examples only
the scores are kept: memory holds Q x N of them, and the models of one cohort.
"""

from importlib import import_module

import torch

from attribution.core import device as devices
from attribution.core.store import save_tensors
from attribution.diffusion.ensemble import member
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import inputs, unlearned
from attribution.unlearning.losses import bank_losses

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """methods/<module>.py: score(losses before [n, S], after [M, n, S], settings) -> [M, n]."""
    spec, device = job.spec, devices.choose()
    job.record |= devices.describe(device)
    method = import_module(f"attribution.methods.{spec['job']['module']}")
    settings, abar = spec["methods"][spec["job"]["method"]], alphas_cumprod(spec["diffusion"])
    data = inputs.examples(job.input("data"), device)
    model = inputs.single(job.input("model"), spec["denoiser"], data.shape, device)
    params = member(inputs.models(job.input("model"), device), 0)
    bank, before = unlearned.load_reference(job.input("reference"), device)
    rows_of = []
    for path in job.inputs["unlearned"]:
        held = unlearned.load(path, params, device)
        scores = torch.empty(len(held.names), len(data.names))
        batch = spec["unlearning"]["batch"]
        found = bank_losses(model, held.frozen, held.stack, held.names, data.images, data.names, bank, abar, batch)
        for rows, after in found:
            scores[:, rows] = method.score(before[rows], after, settings).float().cpu()
        if not scores.isfinite().all():
            raise StudyError(
                f"{path}: the loss of some example is not finite: the models are damaged or ascended too far"
            )
        rows_of.append((held.first, scores))
    together = torch.cat([scores for _, scores in sorted(rows_of, key=lambda pair: pair[0])])
    save_tensors(job.out / "scores.safetensors", {"scores": together[None]}, {"bank": bank.digest()})


if __name__ == "__main__":
    main(run, OUTPUTS)
