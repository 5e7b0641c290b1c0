"""How tests are shared out among processes: what takes long to make is made in one, and files stay whole."""

from collections import defaultdict

import pytest


def test_one_process_makes_what_is_shared(request: pytest.FixtureRequest) -> None:
    """Two that both run the tiny study would take longer than one; so would fixtures of a file, made in both."""
    groups = defaultdict(set)
    for item in request.session.items:
        shared = [name for name in ("finished", "trained") if name in getattr(item, "fixturenames", ())]
        groups[shared[0] if shared else item.path].add(item.get_closest_marker("xdist_group").args[0])
    assert [names for names in groups.values() if len(names) != 1] == []
    assert len(set().union(*groups.values())) == len(groups)
