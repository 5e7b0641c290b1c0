"""The rules as they are written: each is one command with its identity, its log, its needs and its receipt."""

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from attribution.workflow import identity, paths, registry, rule_inputs

ROOT = Path(__file__).parents[2]
STEPS = ROOT / "src/attribution/steps"
FILES = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
METHODS = {"methods": dict.fromkeys([*registry.methods(), "ensemble_trak", "trak_mine", "abu_mine", "abu_plus_mine"])}
DIRECTIVES = {"input", "output", "log", "resources", "params", "shell", "wildcard_constraints"}
IDENTIFY = re.compile(r'\n        \*\*identify\(\s*"(?P<step>\w+)",\s*"(?P<keys>[^"]*)"(,\s*\w+=\w+)*,?\s*\),\n\s*')
NEEDS = re.compile(r'\n        \*\*needs\("(?P<rule>\w+)"(, \d+, \d+)?(?P<gpu>, gpu=True)?\),\n\s*')


def parse(text: str) -> dict[str, dict[str, str]]:
    """Rule -> directive -> its text. Formatted by snakefmt: a rule stands at the margin, a directive 4 blanks in."""
    found = {}
    for name, body in re.findall(r"^rule (\w+):\n((?:    .*\n|\n)*)", text, re.MULTILINE):
        pieces = re.split(r"^    (\w+):", body, flags=re.MULTILINE)
        assert not pieces[0].strip(), f"{name}: {pieces[0]}"
        assert len(set(pieces[1::2])) == len(pieces[1::2]), f"{name}: a directive stands twice"
        found[name] = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return found


RULES = {name: rule for path in FILES[1:] for name, rule in parse(path.read_text(encoding="utf-8")).items()}


def named(block: str) -> dict[str, str]:
    """Entries of a directive: name -> the first string in its value, or the value where it holds none."""
    entries = re.findall(r"^        (\w+)=((?:.*\n?)(?:         .*\n|        \),\n)*)", block, re.MULTILINE)
    return {name: (re.search(r'"([^"]*)"', value) or [value, value.strip(" ,\n")])[1] for name, value in entries}


def command(rule: dict[str, str]) -> str:
    """The shell text, as Python joins its strings."""
    return ast.literal_eval(f"({rule['shell'].strip()})")


def test_all_rules_are_read() -> None:
    """A parser that finds no rules would find no fault; each step but the one of DVC's stage is the step of a rule."""
    written = sum(path.read_text(encoding="utf-8").count("\nrule ") for path in FILES[1:])
    assert len(RULES) == written >= 17
    steps = {path.stem for path in STEPS.glob("*.py") if "main(run, OUTPUTS)" in path.read_text(encoding="utf-8")}
    assert steps == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_every_directive_and_no_other(name: str) -> None:
    """script:, run:, cache:, retries: and the like are not among them (docs/provenance.md)."""
    optional = {"input", "wildcard_constraints"}
    assert DIRECTIVES - optional <= set(RULES[name]) <= DIRECTIVES


@pytest.mark.parametrize("name", RULES)
def test_a_rule_asks_for_memory_and_time_by_its_name(name: str) -> None:
    assert NEEDS.fullmatch(RULES[name]["resources"])["rule"] == name


@pytest.mark.parametrize("gpu", [False, True])
def test_memory_and_time_grow_with_the_attempt_and_gpus_do_not(gpu: bool) -> None:
    study = {"resources": {"mem_mb": 4000, "runtime": 30, "gpu": 2, "rules": {"train": {"mem_mb": 9000}}}}
    wildcards = SimpleNamespace(study="s")

    def asked(attempt: int, *arguments: object) -> list[int]:
        return [need(wildcards, attempt) for need in rule_inputs.needs({"s": study}, *arguments, gpu=gpu).values()]

    gpus = [2] if gpu else []
    assert asked(1, "train") == [9000, 30, *gpus]
    assert asked(3, "train", 1000, 10) == [36000, 40, *gpus]
    assert asked(2, "design", 1000, 10) == [2000, 20, *gpus]


def grouped() -> dict[str, str]:
    """Rule -> its group in the Slurm profile."""
    return yaml.safe_load((ROOT / "slurm/profile.v9+.yaml").read_text(encoding="utf-8"))["groups"]


def test_only_rules_without_a_gpu_are_grouped() -> None:
    assert grouped().keys() <= RULES.keys()
    assert [name for name in grouped() if "gpu=True" in RULES[name]["resources"]] == []


def test_nothing_lies_between_two_rules_of_a_group() -> None:
    """A group that waits for a job which waits for the group never begins: `prepare` is first, `evaluate` last."""

    def folders(directive: str, names: set[str]) -> set[str]:
        text = "".join(RULES[name].get(directive, "") for name in names)
        return set(re.findall(r'"results/\{study\}/(\w+/\w*)', text))

    groups: dict[str, set[str]] = {}
    for name, group in grouped().items():
        groups.setdefault(group, set()).add(name)
    prepare, evaluate = groups["prepare"], groups["evaluate"]
    assert groups == {"prepare": prepare, "lds": {"lds"}, "evaluate": evaluate}
    last = evaluate | {"lds"}
    assert folders("output", RULES.keys() - prepare) & folders("input", prepare) == set()
    assert folders("output", last) & folders("input", RULES.keys() - last) == set()
    assert folders("output", evaluate) & folders("input", {"lds"}) == set()
    assert len(folders("output", evaluate)) >= 8


@pytest.mark.parametrize("name", RULES)
def test_the_identity_of_a_job_is_spec_code_and_lock(name: str) -> None:
    assert IDENTIFY.fullmatch(RULES[name]["params"])["step"] == name
    assert command(RULES[name]).endswith(
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
    )


def test_params_are_spec_code_and_lock() -> None:
    """With one of them less, an edit of config, code or packages reruns nothing."""
    studies = {"s": {"seed": 3, "data": {"train": 40}}}
    params = identity.identify(studies, "10cc", "design", "seed", levels=lambda study: f"of {study}")
    wildcards = type("Wildcards", (dict,), {"study": "s"})(study="s", part="0_20")
    assert params.keys() == {"spec", "code", "lock"}
    assert params["lock"] == "10cc"
    assert params["code"](wildcards) == identity.code_hash("design", None)
    job = {"part": "0_20", "first": 0, "last": 20}
    assert json.loads(params["spec"](wildcards)) == {"job": job, "levels": "of s", "seed": 3}


@pytest.mark.parametrize("name", RULES)
def test_a_job_writes_one_folder_with_a_receipt(name: str) -> None:
    outputs = named(RULES[name]["output"])
    (folder,) = {str(Path(path).parent) for path in outputs.values()}
    assert outputs["receipt"] == f"{folder}/receipt.json"
    out = folder.replace("{", "{wildcards.")
    assert f" --out {out} " in command(RULES[name])
    module = ast.parse((STEPS / f"{name}.py").read_text(encoding="utf-8"))
    declared = {Path(path).name for path in outputs.values()} - {"receipt.json"}
    values: dict = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and node.targets[0].id in ("NAMES", "OUTPUTS"):
            exec(compile(ast.Module([node], []), name, "exec"), values)
    assert declared == set(values["OUTPUTS"])


@pytest.mark.parametrize("name", RULES)
def test_a_command_names_its_step_and_every_input(name: str) -> None:
    words = command(RULES[name])
    assert words.startswith(f"python -m attribution.steps.{name} ")
    inputs = set(named(RULES[name].get("input", "")))
    assert dict(re.findall(r" --(\w+) \{input\.(\w+)\}", words)) == {item: item for item in inputs}
    assert not any("receipt" in path for path in named(RULES[name].get("input", "")).values())


@pytest.mark.parametrize("name", RULES)
def test_logs_are_one_a_job(name: str) -> None:
    wildcards = set(re.findall(r"\{(\w+)\}", RULES[name]["output"]))
    (path,) = re.findall(r'"([^"]*)"', RULES[name]["log"])
    assert set(re.findall(r"\{(\w+)\}", path)) == wildcards
    assert path.startswith("results/{study}/logs/")
    assert path.endswith(".log")


def constraint(name: str, wildcard: str) -> str:
    """The pattern of a rule's wildcard_constraints, or nothing."""
    block = RULES[name].get("wildcard_constraints", "")
    if found := re.search(rf'{wildcard}="([^"]*)"', block):
        return found[1]
    if found := re.search(rf'{wildcard}=reading\("(\w+)"\)', block):
        assert found[1] in registry.READS
        return rule_inputs.one_of(registry.reading([METHODS], found[1]))
    found = re.search(rf"{wildcard}=paths\.(\w+)", block)
    return getattr(paths, found[1]) if found else ""


def test_rules_share_a_folder_only_where_constraints_tell_them_apart() -> None:
    writers: dict[str, list[str]] = {}
    for name, rule in RULES.items():
        writers.setdefault(str(Path(named(rule["output"])["receipt"]).parent), []).append(name)
    shared = {folder: names for folder, names in writers.items() if len(names) > 1}
    trained = ["full", "crn0_000_031", "own1_000_1023", "without5_trak", "leave50_mucs", "joint2_trak", "enc1000"]
    trained += ["loo256", "half0_000_031"]
    values = {
        "results/{study}/scores/{model}/{method}": ("method", list(METHODS["methods"])),
        "results/{study}/design/{cohort}": ("cohort", [*trained, "sft0_000_063"]),
        "results/{study}/models/{cohort}": ("cohort", [*trained, "sft0_000_063"]),
        "results/{study}/unlearned/{unlearned}/{part}": (
            "unlearned",
            ["mirrored", "mirrored_all", "ascent", "ascent_adam", "newton", "newton_ekfac"],
        ),
    }
    assert shared.keys() == values.keys() | {"results/{study}/data/images"}
    images = {"dataset": "dataset", "image_folder": "folder", "latents": "autoencoder"}
    assert images.keys() == set(shared["results/{study}/data/images"])
    studies = {
        "named": {"data": {"dataset": "digits"}},
        "own": {"data": {"folder": "pictures"}},
        "encoded": {"data": {"dataset": "artbench", "autoencoder": "sd2_autoencoder"}},
    }
    found = [rule_inputs.of_source(studies, source) for source in images.values()]
    assert found == ["named", "own", "encoded"]
    for name, source in images.items():
        assert f'study=of_source("{source}"),' in RULES[name]["wildcard_constraints"]
    for folder, (wildcard, names) in values.items():
        patterns = [constraint(name, wildcard) for name in shared[folder]]
        for value in names:
            assert sum(bool(re.fullmatch(pattern, value)) for pattern in patterns) == 1, value
    for pattern in (constraint(name, "cohort") for name in shared["results/{study}/models/{cohort}"]):
        assert not re.fullmatch(pattern, "sparse")  # which rule sparsify makes


def read_keys(step: str) -> set[str]:
    """The dotted config keys that a step takes from its spec, or from names given to parts of it."""
    tree = ast.parse((STEPS / f"{step}.py").read_text(encoding="utf-8"))
    parts: dict[str, list[str]] = {"spec": []}

    def path(node: ast.expr) -> list[str] | None:
        if isinstance(node, ast.Attribute) and node.attr == "spec":
            return []
        if isinstance(node, ast.Name):
            return parts.get(node.id)
        if isinstance(node, ast.Subscript) and (before := path(node.value)) is not None:
            return [*before, node.slice.value if isinstance(node.slice, ast.Constant) else "*"]
        return None

    within = set()  # expressions that are no reading by themselves: they are given a name, or only a part is taken
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            within.add(id(node.value))
        if isinstance(node, ast.Assign):
            pair = isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
            names, values = (node.targets[0].elts, node.value.elts) if pair else (node.targets[:1], [node.value])
            for name, value in zip(names, values, strict=True):
                if isinstance(name, ast.Name) and (keys := path(value)) is not None:
                    parts[name.id] = keys
                    within |= {id(name), id(value)}
    found = {".".join(keys) for node in ast.walk(tree) if id(node) not in within and (keys := path(node))}
    return {key.partition(".*")[0] for key in found if key.partition(".")[0] not in ("job", *DERIVED)}


DERIVED = ("dvc_md5", "autoencoder_md5", "images_sha256", "levels")  # of the study, not of one key


@pytest.mark.parametrize("name", RULES)
def test_a_spec_holds_the_keys_that_the_step_reads(name: str) -> None:
    """One key more reruns what did not change; one less is not there when the step runs."""
    sections = yaml.safe_load((ROOT / "workflow/schemas/study.schema.yaml").read_text(encoding="utf-8"))["properties"]
    declared = set(IDENTIFY.fullmatch(RULES[name]["params"])["keys"].split())
    step = (STEPS / f"{name}.py").read_text(encoding="utf-8")
    optional = [key.removesuffix("?").rpartition(".") for key in declared if key.endswith("?")]
    assert all(f'.get("{key}")' in step for _, _, key in optional)
    declared = {key.partition(".{")[0] for key in declared if not key.endswith("?")}
    read = read_keys(name) - {section for section, _, _ in optional}  # which is read by `get` as well
    if "scoring.save(job" in step:  # which takes all settings of the method
        read.add("methods")
        assert "-methods" in declared  # the default damping, which scores do not depend on
    declared.discard("-methods")
    assert {key for key in read if not any(f"{key}.".startswith(f"{known}.") for known in declared)} == set()
    for key in declared - read:
        within = {part for part in read if part.startswith(f"{key}.")}
        parts = {f"{key}.{part}" for part in sections[key]["properties"]}
        assert within == parts, f"{key}: not all of it is read"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_forbidden_is_written(path: Path) -> None:
    code = "\n".join(line.partition("#")[0] for line in path.read_text(encoding="utf-8").splitlines())
    forbidden = "script|run|cache|notebook|wrapper|retries|shadow|checkpoint"
    assert not re.search(rf"^\s*({forbidden})\b.*:", code, re.MULTILINE)
    assert not re.search(r"(?<!\.)\b(temp|ancient|touch|update|protected)\(", code)  # they hide what is stale or gone
