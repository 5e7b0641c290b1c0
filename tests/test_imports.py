"""The import graph of the package: downward only, third-party libraries where they belong, a light workflow.

The levels are those of the layout: packages on one level do not know each other, a package may import from itself and
from every level below. The checker takes any source folder, so that it is itself tested on a tree of violations.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = "attribution"

LEVELS = [
    {"errors"},
    {"workflow"},
    {"provenance"},
    {"core"},
    {"data", "design", "diffusion"},
    {"training", "curvature", "unlearning"},
    {"methods"},
    {"evaluation"},
    {"reporting", "tracking"},
    {"steps", "scaffold", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

ONLY_IN = {
    "diffusers": {"diffusion"},
    "mlflow": {"tracking"},
    "pandas": {"reporting", "evaluation"},
    "seaborn": {"reporting", "evaluation"},
}
LIGHT = {"errors", "workflow", "provenance"}
PARSERS = {"yaml", "jsonschema"}  # in workflow/config*.py only


def violations(source: Path) -> Iterator[str]:
    """One line for each import that breaks a rule, under any source folder that holds the package."""
    for path in sorted((source / PACKAGE).rglob("*.py")):
        where = path.relative_to(source / PACKAGE)
        package = where.parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if where.name == "__init__.py":
            if tree.body:
                yield f"{where}: not empty"
            continue
        if package not in LEVEL:
            yield f"{where}: {package} has no level"
            continue
        for node in ast.walk(tree):
            for module in imported(node):
                if problem := broken(package, where, module):
                    yield f"{where}:{node.lineno}: {problem}"


def imported(node: ast.AST) -> list[str]:
    """Dotted names that a statement imports; a relative import starts with a dot."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return [f"{module}.{alias.name}" for alias in node.names]
    return []


def broken(package: str, where: Path, module: str) -> str | None:
    """Why a module of `package` may not import `module`, or None."""
    first, _, rest = module.partition(".")
    if not first:
        return "relative import"
    if first != PACKAGE:
        if first in ONLY_IN and package not in ONLY_IN[first]:
            return f"imports {first}"
        parser = first in PARSERS and where.match("workflow/config*.py")
        if package in LIGHT and first not in sys.stdlib_module_names and not parser:
            return f"imports {first}, which is not in the standard library"
        return None
    other = rest.partition(".")[0]
    if other not in LEVEL:
        return f"imports {module}, which has no level"
    if other == package:
        return "methods import each other" if package == "methods" else None
    return None if LEVEL[other] < LEVEL[package] else f"{package} imports {other}"


def test_package_keeps_to_the_levels() -> None:
    assert list(violations(SOURCE)) == []


def test_every_package_is_read() -> None:
    """A checker that finds no files would find no violations."""
    read = {path.relative_to(SOURCE / PACKAGE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")}
    assert {"errors", "workflow", "provenance", "core"} <= read


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("core/x.py", "import attribution.diffusion.loss\n", "core/x.py:1: core imports diffusion"),
        ("core/x.py", "def f():\n    from attribution import steps\n", "core/x.py:2: core imports steps"),
        ("diffusion/x.py", "from attribution.data import digits\n", "diffusion/x.py:1: diffusion imports data"),
        ("training/x.py", "from attribution.curvature.kfac import f\n", "training/x.py:1: training imports curvature"),
        (
            "workflow/x.py",
            "from attribution.provenance import receipt\n",
            "workflow/x.py:1: workflow imports provenance",
        ),
        ("reporting/x.py", "import attribution.tracking.a\n", "reporting/x.py:1: reporting imports tracking"),
        ("methods/x.py", "from attribution.methods.trak import f\n", "methods/x.py:1: methods import each other"),
        ("methods/x.py", "from attribution.methods import trak\n", "methods/x.py:1: methods import each other"),
        ("steps/x.py", "from ..core import rng\n", "steps/x.py:1: relative import"),
        ("steps/x.py", "from . import y\n", "steps/x.py:1: relative import"),
        (
            "steps/x.py",
            "from attribution.helpers import y\n",
            "steps/x.py:1: imports attribution.helpers.y, which has no level",
        ),
        ("helpers/x.py", "", "helpers/x.py: helpers has no level"),
        ("methods/x.py", "from diffusers import UNet2DModel\n", "methods/x.py:1: imports diffusers"),
        ("steps/x.py", "import mlflow.tracking\n", "steps/x.py:1: imports mlflow"),
        ("core/x.py", "import pandas as pd\n", "core/x.py:1: imports pandas"),
        ("steps/x.py", "import seaborn\n", "steps/x.py:1: imports seaborn"),
        ("provenance/x.py", "import numpy\n", "provenance/x.py:1: imports numpy, which is not in the standard library"),
        ("workflow/spec.py", "import yaml\n", "workflow/spec.py:1: imports yaml, which is not in the standard library"),
        (
            "provenance/config.py",
            "import yaml\n",
            "provenance/config.py:1: imports yaml, which is not in the standard library",
        ),
        ("core/__init__.py", "X = 1\n", "core/__init__.py: not empty"),
    ],
)
def test_checker_finds_a_violation(tmp_path: Path, name: str, text: str, problem: str) -> None:
    path = tmp_path / PACKAGE / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert list(violations(tmp_path)) == [problem]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("errors.py", ""),
        ("core/x.py", "import numpy\nimport torch\nfrom attribution.errors import StudyError\n"),
        ("core/x.py", "from attribution.core import rng\n"),
        ("diffusion/x.py", "import diffusers\n"),
        ("tracking/x.py", "import mlflow\nfrom attribution.evaluation import lds\n"),
        ("evaluation/x.py", "import pandas, seaborn\nfrom attribution.methods.trak import f\n"),
        ("workflow/config_readme.py", "import yaml, jsonschema, sys\n"),
        ("provenance/job.py", "from attribution.workflow import guard\n"),
        ("__main__.py", "from attribution.provenance import chain\n"),
        ("core/__init__.py", ""),
    ],
)
def test_checker_lets_the_rest_pass(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / PACKAGE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert list(violations(tmp_path)) == []


def test_what_the_snakefile_imports_is_light() -> None:
    """Neither numpy (0.1 s) nor torch (2 s), and the parsers of YAML and JSON Schema only when a config is loaded."""
    script = (
        "import sys;"
        "from attribution.workflow import config, fingerprint, guard, paths, spec;"
        "from attribution.provenance import job, receipt;"
        "print(*sorted({'numpy', 'torch', 'yaml', 'jsonschema'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
