"""Every key of the smoke study set to what nobody means: refused in one line, or a study that can be planned.

`python tests/workflow/test_config_fuzz.py` tries every value at every key and prints what is accepted, to be read.
"""

import copy
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import StudyError
from attribution.workflow import config, limits, paths

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/study.schema.yaml"
SMOKE = config.read_yaml(ROOT / "config/smoke.yaml")
UNMEANT = [
    *("text", "", "größer", "loss\n", "loss_at_" + "9" * 5000, "../up", "1:00:00", "1_000", "yes"),
    *(True, None, [], {}, [None], [[]], ["loss", "loss"], [1, 1], {"x": 1}, {"bad\n": {}}),
    *(-1, 0, 1, 3, 10**6, 3 * 10**6, 10**9, 10**12, 10**400, -(10**400)),
    *(-1.0, 0.0, 1.0, 0.5, 0.999999, 1e-300, 1e-12, 1e30, 1e300, float("nan"), float("inf"), float("-inf")),
]


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where there is a value, sections and entries of lists among them."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


PLACES = list(places(SMOKE))


def mutated(place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(SMOKE)
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    same = inner[place[-1]]
    inner[place[-1]] = [*same, *same] if value == "twice" and isinstance(same, list) else value
    return found


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp())


def outcome(place: tuple[str | int, ...], value: Any) -> str:
    """Why a study is refused, else nothing; whatever it is, it can be planned. Any other exception is a fault."""
    path = folder() / "study.yaml"
    path.write_text(yaml.dump(mutated(place, value), Dumper=yaml.CSafeDumper), encoding="utf-8")
    try:
        loaded = config.load(path, SCHEMA)
    except StudyError as error:
        message = str(error).removeprefix(f"{folder()}/")
        assert message.startswith("study.yaml:"), message
        assert "\n" not in message
        assert len(message) < 1500
        return message
    streams = [paths.coalitions(loaded, stream) for stream in ("sft", "half")]
    named = [paths.cohorts(loaded), paths.removals(loaded), paths.encoded(loaded), paths.counterfactuals(loaded)]
    named += [*streams, paths.models(loaded), paths.parts(loaded), paths.query_parts(loaded)]
    assert sum(map(len, named)) < limits.JOBS
    for names in (*named[:4], *streams):
        assert [paths.parse(name).name for name in names] == names
    return ""


@settings(max_examples=150, derandomize=True)
@given(st.sampled_from(PLACES), st.sampled_from([*UNMEANT, "twice"]))
def test_what_nobody_means_is_refused_in_one_line_or_can_be_planned(place: tuple[str | int, ...], value: Any) -> None:
    """10**400 ended in an OverflowError, 5,000 digits in a ValueError; ensemble.models 10**9 took gigabytes here."""
    outcome(place, value)


if __name__ == "__main__":
    for one in PLACES:
        accepted = [repr(value) for value in (*UNMEANT, "twice") if not outcome(one, value)]
        print(".".join(map(str, one)), "accepts", ", ".join(accepted) or "nothing")
