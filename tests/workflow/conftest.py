"""A whole study to vary: the text of a valid config, and a loader that applies one edit to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from attribution.workflow import config

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "study.schema.yaml"

MLP = """\
title: Digits, MLP denoiser
seed: 0
data: {dataset: digits, train: 1000}
denoiser: {kind: mlp, width: 128, depth: 3, time_features: 32}
diffusion: {timesteps: 1000, beta_schedule: linear, beta_start: 0.0001, beta_end: 0.02}
training: {steps: 3000, batch: 64, learning_rate: 0.003, warmup_steps: 100, final_learning_rate: 0.02,
  weight_decay: 0.01, clip_norm: 1.0, ema_decay: 0.99, checkpoint_every: 1000, log_every: 100}
design: {subsets: 64, fraction: 0.5, replicates: 2, control_subsets: 16, cohort: 32}
queries: {generated: 50, heldout: 50, training: 50}
sampling: {steps: 100, eta: 0.0, clip: true, floor: 0.0}
measurement: {quantities: [loss], draws: 1000, batch: 1000}
gradients: {draws: 1000, batch: 1000, shard: 400, bits: 32, outputs: 2}
curvature: {batch: 1000, bias: joint, kinds: {model: {fisher: mc, draws: 50, sharing: expand}}}
checkpoints: {count: 3, draws: 10}
ensemble: {models: 3}
methods:
  random: {}
  gradient_dot: {measurement: loss, feature: loss, projection: none}
  trak: {measurement: loss, feature: loss, projection: none, damping: 0.1, dampings: [0.001, 0.01, 0.1, 1.0, 10.0]}
  ekfac: {curvature: model, measurement: loss, damping: 0.1, dampings: [0.0001, 0.001, 0.01, 0.1, 1.0], unit: model,
    bits: 32}
  ensemble_trak: {of: trak}
draws_sweep: {draws: [10, 30, 100, 300, 1000]}
removal: {methods: [random, ekfac], percents: [2, 10], queries: 5, replicates: 2}
evaluation: {bootstrap: 1000, coverage: 0.95, compare: [[ekfac, trak]]}
resources: {mem_mb: 2000, runtime: 30, gpu: 0}
"""


@pytest.fixture
def study() -> dict[str, Any]:
    """The parsed config, to be changed by a test."""
    return yaml.safe_load(MLP)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Load a config from its text, written to study.yaml."""

    def from_text(text: str) -> dict[str, Any]:
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return config.load(path, SCHEMA)

    return from_text
