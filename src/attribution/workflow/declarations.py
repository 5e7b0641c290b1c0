"""What a module declares of itself: a literal that is assigned to a name, read from its file without running it."""

import ast
from pathlib import Path
from typing import Any

from attribution.errors import StudyError


def literal(path: Path, name: str) -> dict[str, Any] | None:
    """The dict that a module assigns to `name`; None where it assigns none.

    Raises StudyError where the file is no Python or what it assigns is not a dict of literals.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [ast.literal_eval(node.value) for node in tree.body if assigns(node, name)]
    except SyntaxError as error:
        raise StudyError(f"{path}:{error.lineno}: not valid Python ({error.msg})") from error
    except (ValueError, TypeError) as error:
        raise StudyError(f"{path}: {name} is not made of literals ({error})") from error
    if found and not isinstance(found[0], dict):
        raise StudyError(f"{path}: {name} is not a dict")
    return found[0] if found else None


def assigns(node: ast.stmt, name: str) -> bool:
    """Whether a statement of a module assigns to the name."""
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
