"""A new attribution method as one working file: declared, computed, and named in a study's config.

`python -m attribution new method NAME` writes src/attribution/methods/NAME.py and adds NAME to the methods of a study.
"""

import re
from argparse import Namespace
from pathlib import Path

from attribution.errors import StudyError
from attribution.workflow import paths, registry

METHODS = re.compile(r"^methods:[ \t]*(#.*)?\n", re.MULTILINE)
# reads -> imports, arguments before the settings, arguments after them, what comes back, a first body
STARTS = {
    "images": (
        "import numpy as np\n",
        "queries: np.ndarray, train: np.ndarray",
        ", seed: int",
        (
            "np.ndarray",
            "[Q, N] of images queries [Q, C, H, W] and train [N, C, H, W] in [-1, 1]; draw from seed alone.",
        ),
        "    q, x = (images.reshape(len(images), -1) for images in (queries, train))\n"
        "    return -np.stack([np.abs(one - x).mean(1) for one in q])\n",
    ),
    "gram": (
        "import numpy as np\n",
        "gram: dict[str, np.ndarray]",
        "",
        (
            "np.ndarray",
            "[1, Q, N] of query_train [Q, N], train_train [N, N], query_norm [Q], train_norm [N] (squared).",
        ),
        '    return gram["query_train"][None] / np.sqrt(gram["train_norm"]).clip(min=1e-30)\n',
    ),
    "checkpoints": (
        "import numpy as np\n",
        "products: dict[str, np.ndarray]",
        "",
        ("np.ndarray", "[1, Q, N] of averaged [K, Q, N] and what else steps/checkpoint_products.py lists."),
        '    return np.median(products["averaged"], 0)[None]\n',
    ),
    "unlearned": (
        "from torch import Tensor\n",
        "before: Tensor, after: Tensor",
        "",
        ("Tensor", "[M, n] of losses before [n, S] and after [M, n, S] each of M queries was unlearned."),
        "    return (after - before).median(-1).values\n",
    ),
}
SETTINGS = {
    "images": "{}",
    "checkpoints": "{}",
    "gram": """{
        "measurement": {"$ref": "#/$defs/kernel_measurement", "default": "loss"},
        "feature": {"$ref": "#/$defs/feature", "default": "loss"},
        "projection": {"$ref": "#/$defs/projection", "default": "none"},
    }""",
    "unlearned": """{
        "unlearned": {"type": "string", "description": "one of unlearning.kinds", "default": "mirrored"},
        "bank": {"type": "string", "description": "one of unlearning.banks", "default": "main"},
    }""",
}
FILE = '''"""{label}: what it computes, in a sentence, and where it comes from.

Shape letters: Q queries, N training examples.
"""

from typing import Any

{imports}
FAMILY = {{
    "family": "{label}",  # the group in figures: one that exists, or a new one
    "reads": "{reads}",  # {explained}
    "settings": {settings},  # name -> JSON schema with "description" and "default"
    "methods": {{
        "{name}": {{
            "label": "{label}",
            "about": "one line for config/README.md",
            "score": "the formula, for docs/methods.md",
            "source": "the paper",
        }},
    }},
}}


def {name}({arguments}, settings: dict[str, Any]{more}) -> {returns}:
    """{shapes} Larger = removing n hurts q more."""
{body}'''


def write(root: Path, given: Namespace) -> str:
    """Write the module of `given.name`, named in the config of `given.study`; returns what to run next.

    Nothing is written where it is refused.

    Raises StudyError for a name that is taken or no name, and for a study that is not there or lists no methods.
    """
    name, reads, study = given.name, given.reads, given.study
    path, config = root / "src" / registry.FOLDER / f"{name}.py", root / "config" / f"{study}.yaml"
    if not re.fullmatch(paths.METHOD, name):
        raise StudyError(f"{name}: no name for a method; use small letters, digits and _, a letter first")
    known = registry.methods(root / "src")
    taken = [one for one in known if f"{name}_".startswith(f"{one}_")]
    if taken or path.exists():
        raise StudyError(f"{name}: is {taken[0] if taken else path} or a variant of it already; choose another name")
    if reads not in STARTS:
        raise StudyError(f"--reads {reads}: no start to write for it; choose one of {', '.join(STARTS)}")
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    if not METHODS.search(text):
        raise StudyError(f"{config}: no such study, or its methods are not listed line by line")
    imports, arguments, more, (returns, shapes), body = STARTS[reads]
    made = FILE.format(
        name=name,
        label=name.replace("_", " ").capitalize(),
        reads=reads,
        explained=registry.READS[reads],
        settings=SETTINGS[reads],
        imports=imports,
        arguments=arguments,
        more=more,
        returns=returns,
        shapes=shapes,
        body=body,
    )
    path.write_text(made, encoding="utf-8")
    config.write_text(METHODS.sub(lambda found: f"{found[0]}  {name}: {{}}\n", text, count=1), encoding="utf-8")
    return "\n".join(
        (
            f"wrote {path.relative_to(root)}, and {name} into {config.relative_to(root)}",
            f"next: snakemake -n {study}    then: snakemake --cores all {study}",
            "when it is described: python -m attribution.workflow.config_readme",
        )
    )
