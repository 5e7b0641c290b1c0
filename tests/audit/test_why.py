"""Why a job would run, by its last receipt; and what a study cost."""

import json
from pathlib import Path
from typing import Any

import pytest

from attribution.__main__ import main
from attribution.provenance import why
from attribution.provenance.cost import by_rule
from attribution.provenance.ledger import load
from attribution.workflow.plan import Planned

TRAIN = "results/demo/models/full"


def plan_of(root: Path, folder: str, **changes: Any) -> Planned:
    """A job planned just as it ran last, but for the changes."""
    entry = json.loads((root / folder / "receipt.json").read_text())
    inputs: dict[str, tuple[str, ...]] = {}
    for item in entry["inputs"]:
        inputs[item["name"]] = (*inputs.get(item["name"], ()), item["path"])
    same = {"step": entry["step"], "folder": folder, "spec": entry["spec"], "code": entry["code"]["hash"]}
    return Planned(**(same | {"lock": "lock", "inputs": inputs, "reason": "Forced execution"} | changes))


def causes(root: Path, *planned: Planned) -> dict[str, tuple[str, ...]]:
    return {job.folder: job.causes for job in why.explain(root, planned)}


def test_config_keys_are_named_with_both_values(local: Path) -> None:
    assert causes(local, plan_of(local, TRAIN, spec={"steps": 20})) == {TRAIN: ("steps: 10 -> 20",)}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2, "c": 1}}, ["a.b: 1 -> 2", "a.c: 2 -> 1"]),  # swapped
        ({"a": 1}, {"a": 1.0}, ["a: 1 -> 1.0"]),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}, ["a.b: [1] -> [1,2]"]),
        ({"a": 1}, {"b": 1}, ["a: 1 -> absent", "b: absent -> 1"]),
        ({"a": {"b": 1}}, {"a": 3}, ['a: {"b":1} -> 3']),
        ({"a": None}, {"a": None}, []),
    ],
)
def test_differences_of_specs(before: dict, now: dict, said: list[str]) -> None:
    assert why.differences(before, now) == said


def test_modules_are_named(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"attribution.steps.some": "changed", "attribution.core.rng": "new"}
    code = type("Code", (), {"modules": now})
    monkeypatch.setattr(why.fingerprint, "fingerprint", lambda *_, root: code)
    found = causes(local, plan_of(local, TRAIN, code="other"))[TRAIN]
    assert found == ("code changed: attribution.steps.some", "code imported now: attribution.core.rng")


def test_packages_and_files_are_named(local: Path) -> None:
    assert causes(local, plan_of(local, TRAIN, lock="other"))[TRAIN] == ("pinned packages changed (envs/*.lock.txt)",)
    inputs = {"data": ("results/demo/data/images/train.safetensors",), "more": ("results/demo/x/y.safetensors",)}
    assert causes(local, plan_of(local, TRAIN, inputs=inputs))[TRAIN] == (
        "reads more: results/demo/x/y.safetensors",
        "no longer reads: results/demo/design/full/subsets.safetensors",
    )
    (local / "results/demo/design/full/subsets.safetensors").write_bytes(b"others")
    assert causes(local, plan_of(local, TRAIN))[TRAIN] == (
        "results/demo/design/full/subsets.safetensors has other bytes",
    )
    (local / TRAIN / "log.jsonl").unlink()
    assert f"missing: {TRAIN}/log.jsonl" in causes(local, plan_of(local, TRAIN))[TRAIN]


def test_what_is_not_believed_is_named(local: Path) -> None:
    design = "results/demo/design/full"
    (local / design / "subsets.safetensors").write_bytes(b"others")
    assert causes(local, plan_of(local, design))[design] == (
        f"{design}/subsets.safetensors has other bytes than the job wrote",
    )
    (local / "results/demo/scores/full/a").rename(local / "results/demo/scores/full/c")
    copied = "results/demo/scores/full/c"
    said = "its receipt is that of another folder: the files were copied, or the folder renamed"
    assert causes(local, plan_of(local, copied))[copied][0] == said
    gone = plan_of(local, TRAIN)
    (local / TRAIN / "receipt.json").unlink()
    assert causes(local, gone)[TRAIN] == ("has no receipt: it did not finish, or its receipt was deleted",)


def test_what_runs_only_as_something_above_it_runs_says_so(local: Path) -> None:
    scores = "results/demo/scores/full/a"
    planned = [plan_of(local, TRAIN, spec={"steps": 20}), plan_of(local, scores)]
    train, score = why.explain(local, planned)
    assert (train.above, train.causes) == ((), ("steps: 10 -> 20",))
    assert (score.above, score.causes) == ((TRAIN,), ())
    assert why.text([train, score]).splitlines() == [
        "train: 1 job, 2.0 s recorded: demo/models/full",
        "    steps: 10 -> 20",
        "score: 1 job, 2.0 s recorded: demo/scores/full/a",
        "    reads what runs again: models/full",
        "2 jobs would run, 4.0 s recorded",
    ]


def test_what_is_no_known_cause_is_told_in_snakemakes_words(local: Path) -> None:
    assert causes(local, plan_of(local, TRAIN))[TRAIN] == ("forced execution",)


def test_what_never_ran_is_estimated_by_others_of_its_step(local: Path) -> None:
    new = "results/demo/scores/full/new"
    (job,) = why.explain(local, [Planned("score", new, {}, "c", "lock", {}, "Missing output files: x")])
    assert (job.causes, job.seconds, job.exact) == (("has not run here",), 2.0, False)
    assert why.text([job]).endswith("1 jobs would run, about 2.0 s for 1 new, as others of the step")
    (job,) = why.explain(local, [Planned("unheard_of", new, {}, "c", "lock", {}, "")])
    assert job.seconds is None
    assert why.text([job]).endswith("1 of unknown time")


def test_in_a_clone_times_are_those_published(clone: Path) -> None:
    (job,) = why.explain(clone, [Planned("train", TRAIN, {}, "c", "lock", {}, "")])
    assert (job.seconds, job.exact) == (2.0, False)


def test_nothing_to_run_is_said() -> None:
    assert why.text([]) == "nothing would run"


def test_costs_are_summed_by_rule(local: Path, make_job, monkeypatch, capsys) -> None:
    make_job(
        local, "scores/full/left_behind", "score", {}, {"scores.safetensors": b"x"}
    )  # read by nothing: not counted
    costs = {cost.step: cost for cost in by_rule(load(local, "demo", published=False), {"lds": 40})}
    assert (costs["score"].jobs, costs["score"].seconds, costs["score"].longest, costs["score"].peak_mb) == (
        2,
        4,
        2,
        10,
    )
    assert costs["score"].cpu_seconds is None
    assert (costs["lds"].asked_mb, costs["score"].asked_mb) == (40, None)
    assert sum(cost.jobs for cost in costs.values()) == 10
    monkeypatch.chdir(local)
    assert main(["cost", "demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["lds", "2", "4.0", "20", "%", "2.0", "10.0"]
    assert lines[-1].split() == ["all", "10", "20.0", "2.0", "10.0"]
    assert main(["cost", "demo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["step"] == "lds"
