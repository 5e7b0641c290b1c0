# The study as a workflow: one config/<study>.yaml, one target of that name, every artifact a file of some rule.
#
#   snakemake --cores all digits       one study           snakemake --profile slurm    all published studies
#
# Paths are results/{study}/{kind}/{who}/<file>: one job writes one folder, and no other job writes there.
#   data/images        training set and held-out pool        losses/{cohort}    every model's loss on every query
#   design/{cohort}    the subsets of a cohort               gradients, gram    of a model (full, seed1, ...)
#   models/{cohort}    its trained denoisers                 factors, basis, eigenvalues, rotated    its curvature
#   queries/all        generated, held-out, training         scores/{model}/{method}, lds/{method}   of a method
#   checkpoints        the full model while it trains        summary/{numbers,tables,figures}        of the study
#   data/pool          training set and pool in one order    ablations/{cohort}  landscapes of encoded ensembles
# Names in paths: workflow/paths.py. A training set's gradients and curvature are made part by part (gradients.shard).
# Every job leaves receipt.json beside its outputs. script:, run:, cache: and --touch are forbidden (docs/provenance.md).
import os
import sys
from functools import partial
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")
ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))
# Jobs run the code that is fingerprinted, by the Python that runs Snakemake, also where no environment is active.
path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
os.environ.update(PATH=path, PYTHONPATH=str(ROOT / "src"))

from attribution.tracking import handlers
from attribution.workflow import config as configs
from attribution.workflow import guard, identity, inputs, paths
from attribution.workflow.inputs import of_images, of_ranking, of_set, of_trajectories
from attribution.workflow.refusal import one_line
from attribution.workflow.spec import lock_hash

with one_line():
    guard.enter(ROOT)
    CONFIG = configs.read_yaml(ROOT / "config/config.yaml")
    SCHEMA = ROOT / "workflow/schemas/study.schema.yaml"
    STUDIES = {
        path.stem: configs.load(path, SCHEMA)
        for path in sorted(ROOT.glob("config/*.yaml"))
        if path.stem not in ("config", "claims")
    }
    LOCK = lock_hash(ROOT)
spec = partial(identity.spec, STUDIES)
cohorts = partial(inputs.of_cohorts, STUDIES)
methods = partial(inputs.of_methods, STUDIES)
removals = partial(inputs.of_removals, STUDIES)
ablation = partial(inputs.of_ablation, STUDIES)
files = partial(inputs.files, STUDIES)
of_ensemble = partial(inputs.of_ensemble, STUDIES)
of_measured = inputs.of_measured(STUDIES)
of_unlearned = partial(inputs.of_unlearned, STUDIES)
of_inverse = partial(inputs.of_inverse, STUDIES)
counterfactuals = partial(inputs.of_counterfactuals, STUDIES)
of_judged = partial(inputs.of_judged, STUDIES)
of_members = partial(inputs.of_members, STUDIES)
of_judged_methods = partial(inputs.of_judged_methods, STUDIES)
of_prefilter = partial(inputs.of_prefilter, STUDIES)
need = partial(inputs.need, STUDIES)
dataset_md5 = partial(inputs.dataset_md5, STUDIES, ROOT)


report: "workflow/report/workflow.rst"


wildcard_constraints:
    study=paths.STUDY,
    method=paths.METHOD,
    cohort=paths.COHORT,
    model=paths.MODEL,
    set="train|queries",
    part=paths.PART,
    quantity=paths.QUANTITY,
    measurement=paths.QUANTITY,
    feature=paths.QUANTITY,
    projection=paths.PROJECTION,
    curvature=paths.CURVATURE,
    bank=paths.QUANTITY,


include: "workflow/rules/models.smk"
include: "workflow/rules/curvature.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/unlearning.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/removal.smk"
include: "workflow/rules/counterfactual.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/summary.smk"


# What a study ends in: every final file, so that any of them is made again where it is missing.
ENDS = [*rules.numbers.output, *rules.tables.output, *rules.figures.output]
ends = partial(inputs.ends, STUDIES, ENDS, list(rules.ablation_report.output))


rule all:
    default_target: True
    input:
        ends(CONFIG["published"]),


for target, members in ({study: [study] for study in STUDIES} | CONFIG["groups"]).items():

    rule:
        name:
            target
        input:
            ends(members),


onstart:
    handlers.start(list(STUDIES))


onsuccess:
    handlers.finish(list(STUDIES))


onerror:
    handlers.finish(list(STUDIES))
