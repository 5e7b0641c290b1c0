# The study as a workflow: one config/<study>.yaml, one target of that name, every artifact a file of some rule.
#
#   snakemake --cores all digits       one study           snakemake --profile slurm    all published studies
#   snakemake --cores all cifar2 --config scale=tiny       a study cut down (config/scale/tiny.yaml)
#
# Paths are results/{study}/{kind}/{who}/<file>: one job writes one folder, and no other job writes there.
#   data/images        training set and held-out pool        losses/{cohort}    every model's loss on every query
#   design/{cohort}    the subsets of a cohort               gradients, gram    of a model (full, seed1, ...)
#   models/{cohort}    its trained denoisers                 factors, basis, eigenvalues, rotated    its curvature
#   queries/all        generated, held-out, training         scores/{model}/{method}, lds/{method}   of a method
#   checkpoints        the full model while it trains        outcomes/{stream}   losses and subsets of all its cohorts
#   data/pool          training set and pool in one order    ablations/{cohort}  landscapes of encoded ensembles
#   summary/{numbers,tables,figures}  of the study           unlearned, reference  models that forget a query
#   properties/{cohort}, contributors  what models are like, and what each contributor is worth
# Names in paths: workflow/paths.py. A training set's gradients and curvature are made part by part (gradients.shard).
# Every job leaves receipt.json beside its outputs. script:, run:, cache: and --touch are forbidden (docs/provenance.md).
import os
import sys
from functools import partial
from pathlib import Path

from snakemake import cli
from snakemake.utils import min_version

min_version("9.0")
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))
# Jobs run the code that is fingerprinted, by the Python that runs Snakemake, also where no environment is active.
path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
os.environ.update(PATH=path, PYTHONPATH=str(ROOT / "src"))

from attribution.provenance import believe
from attribution.workflow import config as configs
from attribution.workflow import guard, orphans, scale, scheduler_polling
from attribution.workflow.one_line import one_line
from attribution.workflow.spec import lock_hash

with one_line():
    guard.enter(ROOT)
    CONFIG = configs.read_yaml(ROOT / "config/config.yaml")
    SCALE = config.get("scale")
    STUDIES = scale.studies(ROOT, ROOT / "workflow/schemas/study.schema.yaml", SCALE, CONFIG["groups"])
    LOCK = lock_hash(ROOT)
    if workflow.is_main_process:
        if STUDIES.broken:
            STUDIES.ask(scale.asked(cli.parse_args(sys.argv[1:])[1].targets, STUDIES, CONFIG, SCALE))
        scheduler_polling.remember_job_age()
        orphans.clear(Path(), STUDIES, lambda: cli.parse_args(sys.argv[1:])[1])
        believe.believe(Path(), STUDIES)


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/curvature.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/unlearning.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/removal.smk"
include: "workflow/rules/counterfactual.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/contributors.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/handlers.smk"


rule all:
    default_target: True
    input:
        ends(scale.published(STUDIES, CONFIG, SCALE)),


for target, members in scale.targets(STUDIES, CONFIG, SCALE).items():

    rule:
        name:
            target
        input:
            ends(members),
