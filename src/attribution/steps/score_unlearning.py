"""Score by unlearning: how much worse each training example fares in the models that forgot a query.

Writes scores.safetensors (steps/scoring.py). Of each batch of examples only the scores are kept: memory holds Q x N of
them, and the models of one cohort.
"""

import torch

from attribution.core import device as devices
from attribution.diffusion.ensemble import member
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.provenance.job import Job, main
from attribution.steps import loading, scoring, unlearned
from attribution.unlearning.losses import bank_losses

OUTPUTS = {"scores.safetensors": "tolerance"}


def run(job: Job) -> None:
    """The method's function of (losses before [n, S], after [M, n, S], settings) -> [M, n]."""
    spec, device = job.spec, devices.choose(job.record)
    score, settings, abar = scoring.function(job), scoring.settings(job), alphas_cumprod(spec["diffusion"])
    data = loading.examples(job.input("data"), device)
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device)
    params = member(loading.models(job.input("model"), device), 0)
    bank, before = unlearned.load_reference(job.input("reference"), device)
    rows_of = []
    for path in job.inputs["unlearned"]:
        held = unlearned.load(path, params, device)
        scores = torch.empty(len(held.names), len(data.names))
        batch = spec["unlearning"]["batch"]
        found = bank_losses(model, held.frozen, held.stack, held.names, data.images, data.names, bank, abar, batch)
        for rows, after in found:
            scores[:, rows] = score(before[rows], after, settings).float().cpu()
        if not scores.isfinite().all():
            raise StudyError(
                f"{path}: the loss of some example is not finite: the models are damaged or ascended too far"
            )
        rows_of.append((held.first, scores))
    together = torch.cat([scores for _, scores in sorted(rows_of, key=lambda pair: pair[0])])
    scoring.save(job, together, len(together), len(data.names))


if __name__ == "__main__":
    main(run, OUTPUTS)
