"""A study of 40 digits in a temporary folder, whose jobs get what the rules give them: specs, inputs and folders.

The rules' own text is read, so a step that needs a key or a file that its rule does not name fails here.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from attribution.core.store import load_json, load_meta, load_tensors, save_tensors
from attribution.data import digits
from attribution.provenance import job, receipt
from attribution.workflow import config as configs
from attribution.workflow import fingerprint, identity, paths, registry, rule_inputs

ROOT = Path(__file__).parents[2]
TRAIN, HELDOUT = 40, 20
LEVELS = 17  # of the digits
UNLEARNED = {"parameters": ["hidden", "output"], "biases": True}
CHANGES = {
    "data": {"dataset": "digits", "train": TRAIN},
    "denoiser": {"kind": "mlp", "width": 8, "depth": 2, "time_features": 4},
    "training": {
        "steps": 30,
        "batch": 8,
        "learning_rate": 0.01,
        "warmup_steps": 5,
        "final_learning_rate": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "checkpoint_every": 10,
        "log_every": 10,
    },
    "design": {"subsets": 8, "fraction": 0.5, "replicates": 2, "control_subsets": 4, "cohort": 4},
    "queries": {"generated": 3, "heldout": 4, "training": 5},
    "sampling": {"steps": 5, "eta": 1.0, "clip": True, "floor": 0.0},
    "measurement": {"quantities": ["loss", "elbo", "trajectory"], "draws": 10, "batch": 50},
    "gradients": {"draws": 6, "batch": 60, "shard": 30, "bits": 32, "outputs": 2},
    "curvature": {
        "batch": 50,
        "bias": "joint",
        "kinds": {
            "model": {"fisher": "mc", "draws": 2, "sharing": "expand"},
            "averaged": {"fisher": "averaged", "draws": 2, "sharing": "expand"},
        },
    },
    "checkpoints": {"count": 3, "draws": 2},
    "ensemble": {"models": 3},
    "draws_sweep": {"draws": [2, 6]},
    "unlearning": {
        "cohort": 7,
        "batch": 500,
        "null_loss": "unit",
        "banks": {
            "main": {"draws": 8, "grid": "karras", "fraction": 0.7, "shared": "all"},
            "own": {"draws": 4, "grid": "uniform", "fraction": 1.0, "shared": "none"},
        },
        "prefilter": {"method": "mucs", "by": ["trak"], "top": 3, "candidates": [8, 12], "sample": 6, "rounds": [1, 2]},
        "kinds": {
            "mirrored": UNLEARNED
            | {"batch": 8, "retain": 1.0, "forget": 0.2, "bounded": True, "stop": 1.0}
            | {"max_steps": 4, "learning_rate": 0.003, "weight_decay": 0.01},
            "ascent": UNLEARNED | {"batch": 8, "optimiser": "adam", "steps": 2, "learning_rate": 0.01},
            "newton": UNLEARNED | {"inverse": "diagonal", "draws": 2, "damping": 0.1, "unit": "block", "step": 1.0},
            "newton_ekfac": UNLEARNED | {"inverse": "model", "draws": 1, "damping": 0.1, "unit": "model", "step": 1.0},
        },
    },
    "removal": {"methods": ["random", "trak"], "percents": [10, 25], "queries": 2, "replicates": 2},
    "counterfactual": {
        "methods": ["random", "trak"],
        "leave": {"count": 6, "queries": 2, "replicates": 2},
        "joint": {"count": 4, "queries": 2, "controls": 1, "replicates": 2},
    },
    "ablation": {
        "members": 8,
        "code": "random",
        "unit": "image",
        "sizes": [12, TRAIN],
        "samples": 3,
        "steps": 4,
        "batch": 200,
        "nulls": 8,
        "top": 3,
        "quality": 10,
        "retrain": {"size": 12, "units": 3, "replicates": 2},
    },
    "contributors": {
        "count": 10,
        "coalitions": 6,
        "judge": {"coalitions": 8, "fraction": 0.5},
        "cohort": 20,
        "sparsity": 0.5,
        "recover": {"steps": 4, "learning_rate": 0.01},
        "finetune": {"steps": 4, "learning_rate": 0.01},
        "samples": 30,
        "steps": 4,
        "batch": 500,
        "methods": ["random", "trak"],
    },
    "evaluation": {"bootstrap": 20, "coverage": 0.95, "compare": [["retrac", "tracin"], ["trak", "random"]]},
}


WILDCARDS = {
    "model": paths.MODEL,
    "set": "train|queries",
    "part": paths.PART,
    "projection": paths.PROJECTION,
    "cohort": paths.COHORT,
}


def read_rules():
    """Rule name -> its spec's keys, its folder, inputs by flag (function, pattern, word), folder as a regex."""
    text = "".join(path.read_text() for path in sorted(ROOT.glob("workflow/rules/*.smk")))
    found = {}
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL):
        given = body.partition("    output:")[0]
        files = re.findall(r'^        (\w+)=(?:(\w+)\(?)?\s*(?:"([^"]+)")?(?:, "(\w+)")?\s*\)?,$', given, re.MULTILINE)
        by_name = {file: (of, pattern, word) for file, of, pattern, word in files}
        flags = re.findall(r'" --(\w+) \{input\.(\w+)\}"', body)
        out = re.search(r'" --out (\S+)"', body)[1].replace("wildcards.", "")
        own = dict(re.findall(r'^        (method|cohort|unlearned)="?([^",]+)"?,$', body, re.MULTILINE))
        limits = WILDCARDS | {key: getattr(paths, value.removeprefix("paths."), value) for key, value in own.items()}
        folder = out
        for wildcard in re.findall(r"\{(\w+)\}", out):
            folder = folder.replace(f"{{{wildcard}}}", f"(?P<{wildcard}>{limits.get(wildcard, '[a-z][a-z0-9_]*')})")
        found[name] = SimpleNamespace(
            keys=re.search(r'\*\*identify\(\s*"\w+",\s*"([^"]*)"', body)[1],
            derived={"levels": lambda _study: LEVELS} if "levels=levels" in body else {},
            out=out,
            inputs={flag: by_name[file] for flag, file in flags},
            folder=re.compile(folder),
            reads=re.findall(r'^        method=reading\("(\w+)"\),$', body, re.MULTILINE),
        )
        assert len(flags) == len(files), f"the inputs of rule {name} are not read in full"
    return found


class Wildcards(dict):
    """Attributes and items, as Snakemake's."""

    __getattr__ = dict.__getitem__


class Study:
    """Jobs of the study `tiny` under a root, in this process or in one of their own."""

    def __init__(self, root, **changes):
        self.root, self.rules = root, read_rules()
        config = configs.load(ROOT / "config/smoke.yaml", ROOT / "workflow/schemas/study.schema.yaml")
        self.config = config | CHANGES | changes
        self.studies, self.jobs = {"tiny": self.config}, []

    def images(self):
        """What the rule `dataset` leaves: the first digits, without a receipt."""
        whole = digits.load()
        for name, rows in (("train", np.arange(TRAIN)), ("heldout", np.arange(TRAIN, TRAIN + HELDOUT))):
            tensors = {"images": whole.images[rows], "labels": whole.labels[rows], "index": rows}
            save_tensors(self.root / f"results/tiny/data/images/{name}.safetensors", tensors)
        return self

    def producer(self, folder):
        """The one rule that writes the folder, and its wildcards."""
        (found,) = (
            (name, match.groupdict())
            for name, rule in self.rules.items()
            if name not in ("latents", "image_folder")
            and (match := rule.folder.fullmatch(folder))  # in the place of dataset
            and (not rule.reads or registry.method(match["method"]).reads in rule.reads)
        )
        return found[0], {key: value for key, value in found[1].items() if key != "study"}

    def make(self, folder):
        """Run what the folder needs and has not got, then the job that writes it; `jobs` lists them."""
        rule, wildcards = self.producer(folder)
        if rule == "dataset" or (rule, wildcards) in self.jobs:
            return
        for file in itertools.chain.from_iterable(self.files(rule, wildcards).values()):
            if (ROOT / file).is_file() and not file.startswith("results/tiny"):  # of the tree, not of a job
                (self.root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, self.root / file)
            else:
                self.make(file.rpartition("/")[0])
        self.run(rule, **wildcards)
        self.jobs.append((rule, wildcards))

    def out(self, rule, **wildcards):
        return self.root / self.rules[rule].out.format(study="tiny", **wildcards)

    def files(self, rule, wildcards):
        """Input files of a job, by flag."""
        found = Wildcards(study="tiny", **wildcards)
        functions = {
            "": lambda pattern, word: [pattern.format(**found)],
            "files": lambda pattern, word: rule_inputs.files(self.studies, pattern)(found),
            "of_ranking": lambda pattern, word: [rule_inputs.of_ranking(pattern)(found)],
            "of_lengths": lambda pattern, word: [rule_inputs.of_lengths(self.studies, pattern)(found)],
            "of_images": lambda pattern, word: [rule_inputs.of_images(found)],
            "of_set": lambda pattern, word: [rule_inputs.of_set(found)],
            "of_trajectories": lambda pattern, word: rule_inputs.of_trajectories(found),
            "of_measured": lambda pattern, word: rule_inputs.of_measured(self.studies)(found),
        }
        functions |= {
            listed: lambda pattern, word, listed=listed: rule_inputs.each(self.studies, listed, pattern, word)(found)
            for listed in rule_inputs.LISTS
        }
        return {flag: functions[of](pattern, word) for flag, (of, pattern, word) in self.rules[rule].inputs.items()}

    def arguments(self, rule, **wildcards):
        known, found = self.rules[rule], Wildcards(study="tiny", **wildcards)
        flags = {
            "out": [known.out.format(**found)],
            "spec": [identity.spec(self.studies, known.keys, **known.derived)(found)],
            "code": [identity.code(rule)(found)],
            "lock": ["0"],
        }
        flags |= self.files(rule, wildcards)
        return [word for flag, values in flags.items() for word in (f"--{flag}", *values)]

    def run(self, rule, **wildcards):
        """The job in this process; its folder."""
        step = import_module(f"attribution.steps.{rule}")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            job.execute(step.run, step.OUTPUTS, rule, self.arguments(rule, **wildcards), self.root)
        return self.out(rule, **wildcards)

    def start(self, rule, **wildcards):
        """The job as it is run by the workflow."""
        if not (self.root / "src").exists():  # a job's root is a checkout
            (self.root / "src").symlink_to(fingerprint.SOURCE)
        command = [sys.executable, "-m", f"attribution.steps.{rule}", *self.arguments(rule, **wildcards)]
        environment = os.environ | {"PYTHONPATH": str(fingerprint.SOURCE), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.root, env=environment, stdout=pipe, stderr=pipe, text=True)

    def copy(self, root, **changes):
        """The same files under another root, with another config."""
        shutil.copytree(self.root, root, dirs_exist_ok=True, symlinks=True)
        return Study(root, **changes)

    def receipt(self, rule, **wildcards):
        return receipt.read(self.out(rule, **wildcards))

    def tensors(self, rule, file, **wildcards):
        return load_tensors(self.out(rule, **wildcards) / f"{file}.safetensors")

    def meta(self, rule, file, **wildcards):
        return load_meta(self.out(rule, **wildcards) / f"{file}.safetensors")

    def json(self, rule, file, **wildcards):
        return load_json(self.out(rule, **wildcards) / f"{file}.json")


@pytest.fixture(scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def new_study():
    """The class of studies, for tests that need one of their own."""
    return Study


@pytest.fixture(scope="session")
def trained(tmp_path_factory, _one_thread):
    """Images, the full model's subset and the full model."""
    study = Study(tmp_path_factory.mktemp("trained")).images()
    study.run("design", cohort="full")
    study.run("train", cohort="full")
    return study


@pytest.fixture(scope="session")
def study(trained, tmp_path_factory):
    """Every job of the study; `jobs` lists them as (rule, wildcards)."""
    study = trained.copy(tmp_path_factory.mktemp("study"))
    study.jobs = [("design", {"cohort": "full"}), ("train", {"cohort": "full"})]
    for end in ("numbers", "tables", "figures", "ablation", "contributors"):
        study.make(f"results/tiny/summary/{end}")
    return study
