"""kronfluence 1.0.1 on the same problem.

Its factors want one row an example and its scores all draws of one, summed: it fits on single rows, and the file of its
factors is told that parameters are shared, by which it means several calls of a layer in one forward. Without a
processed gradient its scores keep the last draw alone, hence the flag of the task. A loss is the sum over a batch of
means over D dims; the pseudo-target of that loss has variance D/2.
"""

import json
from pathlib import Path

import problem
import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from torch import Tensor, nn

ROWS = 200  # at once, for factors
EXAMPLES = 50  # at once, for scores


class Denoising(Task):
    """The loss of rows (one draw) or of examples (E draws, one call of the model a draw, mean over them)."""

    enable_post_process_per_sample_gradient = True

    def compute_train_loss(self, batch, model, sample=False):
        if batch[1].dim() == 1:
            return self.loss(model, *batch, sample)
        draws = zip(*(part.unbind(1) for part in batch), strict=True)
        return sum(self.loss(model, *draw, sample) for draw in draws) / batch[1].shape[1]

    def compute_measurement(self, batch, model):
        return self.compute_train_loss(batch, model)

    def loss(self, model, x, t, target, sample):
        output = model(x, t)
        if sample:
            target = output.detach() + (output[0].numel() / 2) ** 0.5 * torch.randn_like(output)
        return problem.row_losses(output, target).sum()


class Rows(Denoising):
    """The same with the library's own path for gradients: one call of a layer a forward."""

    enable_post_process_per_sample_gradient = False


def dot(model: nn.Module, folder: Path) -> Tensor:
    """[Q, N] inner products of gradients: the identity for factors."""
    run = analyzer(model, Denoising(), folder)
    run.fit_all_factors("identity", singly(), factor_args=FactorArguments(strategy="identity"))
    return pairwise(run, folder, "identity", None)


def factors(model: nn.Module, folder: Path, fisher: str = "mc") -> None:
    """EK-FAC factors and eigenvalues, into `folder`."""
    arguments = FactorArguments(strategy="ekfac", use_empirical_fisher=fisher == "empirical")
    run = analyzer(model, Rows(), folder)
    run.fit_all_factors("ekfac", singly(), per_device_batch_size=ROWS, factor_args=arguments)


def ekfac_scores(model: nn.Module, folder: Path) -> Tensor:
    """[Q, N] EK-FAC scores with the factors in `folder`."""
    return pairwise(analyzer(model, Denoising(), folder), folder, "ekfac", damping(folder))


def damping(folder: Path) -> float:
    """DAMPING times the mean eigenvalue of the factors in `folder`."""
    from kronfluence.factor.eigen import load_lambda_matrices

    held = load_lambda_matrices(folder / "bench" / "factors_ekfac")
    sums, counts = held["lambda_matrix"], held["num_lambda_processed"]
    trace = sum(float(sums[name].sum() / counts[name]) for name in sums)
    return problem.DAMPING * trace / sum(value.numel() for value in sums.values())


def analyzer(model: nn.Module, task: Task, folder: Path) -> Analyzer:
    return Analyzer("bench", prepare_model(model, task), task, output_dir=str(folder), cpu=True, disable_tqdm=True)


def singly() -> torch.utils.data.Dataset:
    return problem.dataset(problem.singly(problem.rows("train")))


def pairwise(run: Analyzer, folder: Path, name: str, damping: float | None) -> Tensor:
    path = folder / "bench" / f"factors_{name}" / "factor_arguments.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"has_shared_parameters": True}))
    run.compute_pairwise_scores(
        "scores",
        name,
        problem.dataset(problem.rows("queries")),
        problem.dataset(problem.rows("train")),
        per_device_query_batch_size=problem.QUERIES,
        per_device_train_batch_size=EXAMPLES,
        score_args=ScoreArguments(damping_factor=damping),
        overwrite_output_dir=True,
    )
    return run.load_pairwise_scores("scores")["all_modules"]
