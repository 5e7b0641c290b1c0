"""What attribution by unlearning costs, and what less of it keeps: queries' unlearning, draws, candidates.

Writes prefilter.json, of the generated queries: "unlearning": steps, shares that met the cap or took no step, losses on
fresh noise before and after; "draws": reliability and rank correlation by number of draws; "prefilter": for each cheap
method, number of candidates and of rounds, its cost (share of a full pass), recall of the full pass's top and rank
correlation. Values are {value, interval, n}. Each query's full pass is evaluated once, and looked up after.
"""

from typing import Any

import numpy as np
import torch

from attribution.core import device as devices
from attribution.core.store import load_tensors, save_json
from attribution.diffusion.ensemble import member
from attribution.diffusion.noise import alphas_cumprod
from attribution.errors import StudyError
from attribution.evaluation.fidelity import by_draws, mean_interval, rank_correlation, recall, split_half
from attribution.provenance.job import Job, main
from attribution.steps import loading, unlearned
from attribution.steps.retrained import layer_at, query_kinds
from attribution.unlearning.losses import bank_losses
from attribution.unlearning.prefilter import candidates, estimate
from attribution.unlearning.skew import skew

OUTPUTS = {"prefilter.json": "tolerance"}
KIND = "generated"


def run(job: Job) -> None:
    """Terms of the skew, [Q, N, S], cohort by cohort; then every setting on them."""
    spec, device = job.spec, devices.choose(job.record)
    choice, methods = spec["unlearning"]["prefilter"], spec["methods"]
    wanted = np.flatnonzero(query_kinds(job.input("queries")) == KIND)
    about, terms = _terms(job, wanted, methods[choice["method"]]["floor"], device)
    settings = spec["evaluation"]

    def summary(values: np.ndarray) -> dict[str, Any]:
        return mean_interval(np.asarray(values, np.float64), spec["seed"], settings["bootstrap"], settings["coverage"])

    full, draws = terms.mean(2), terms.shape[2]
    record: dict[str, Any] = {
        "method": choice["method"],
        "unlearning": {name: summary(values) for name, values in about.items()},
        "draws": {"reliability": summary(split_half(terms))}
        | {f"first{count}": summary(found) for count, found in by_draws(terms, (draws // 4, draws // 2)).items()},
        "prefilter": [],
    }
    for name, path in zip(choice["by"], job.inputs["scores"], strict=True):
        scored = load_tensors(path)
        cheap = scored["scores"][layer_at(scored, methods[name]["damping"]) if "dampings" in scored else 0][wanted]
        for count in choice["candidates"]:
            for rounds in choice["rounds"]:
                found = [_query(job, q, cheap[q], terms[q], count, rounds) for q in range(len(wanted))]
                scores = np.stack([scores for scores, _ in found])
                record["prefilter"].append(
                    {
                        "by": name,
                        "candidates": count,
                        "rounds": rounds,
                        "cost": summary(np.array([cost for _, cost in found])),
                        "recall": summary(recall(full, scores, choice["top"])),
                        "rank": summary(rank_correlation(full, scores)),
                    }
                )
    save_json(job.out / "prefilter.json", record)


def _query(job: Job, q: int, cheap: np.ndarray, terms: np.ndarray, count: int, rounds: int) -> tuple[np.ndarray, float]:
    """Scores [N] of one query from its terms [N, S], and their cost."""
    choice = job.spec["unlearning"]["prefilter"]
    top, sample = candidates(cheap, count, choice["sample"], job.spec["seed"], q)
    return estimate(cheap, top, sample, lambda rows, part: terms[rows, part], terms.shape[1], rounds, choice["top"])


def _terms(
    job: Job, wanted: np.ndarray, floor: float, device: torch.device
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How unlearning went, [Q] each, and the terms [Q, N, S] of which the skew is the mean, of the wanted queries."""
    spec = job.spec
    data, abar = loading.examples(job.input("data"), device), alphas_cumprod(spec["diffusion"])
    model = loading.single(job.input("model"), spec["denoiser"], data.shape, device)
    params = member(loading.models(job.input("model"), device), 0)
    bank, before = unlearned.load_reference(job.input("reference"), device)
    if bank.shared != "all":
        raise StudyError(f"unlearning.prefilter: needs a bank that all examples share, {bank.name!r} is not")
    parts, about = [], []
    for path in job.inputs["unlearned"]:
        held = unlearned.load(path, params, device)
        rows = torch.tensor([m for m in range(len(held.names)) if held.first + m in wanted], dtype=torch.int64)
        if not len(rows):
            continue
        names = [held.names[m] for m in rows.tolist()]
        stack = {name: value[rows.to(device)] for name, value in held.stack.items()}
        arguments = model, held.frozen, stack, names, data.images, data.names, bank, abar, spec["unlearning"]["batch"]
        found = [_of_draws(before[part], after, floor) for part, after in bank_losses(*arguments)]
        parts.append(np.concatenate(found, 1))
        about.append({name: value[rows].double().numpy() for name, value in held.about.items()})
    together = {name: np.concatenate([part[name] for part in about]) for name in about[0]}
    went = {
        "steps": together["steps"],
        "capped": 1 - together["reached"],
        "without_a_step": together["steps"] == 0,
        "query_before": together["query_before"],
        "query_after": together["query_after"],
        "train_before": together["train_before"],
        "train_after": together["train_after"],
    }
    return went, np.concatenate(parts)


def _of_draws(before: torch.Tensor, after: torch.Tensor, floor: float) -> np.ndarray:
    """Skew draw by draw, [M, n, S] float32 of losses [n, S] and [M, n, S]."""
    return skew(before[..., None], after[..., None], floor).float().cpu().numpy()


if __name__ == "__main__":
    main(run, OUTPUTS)
