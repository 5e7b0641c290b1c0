"""Named streams: what they hold depends on their names alone, and is the same numbers on every machine."""

import subprocess
import sys

import numpy as np
import pytest

from attribution.core.rng import key, rng, torch_seed


def test_pinned_values():
    """A platform, or a NumPy, on which these differ would give another study under the same name."""
    assert key(0, "noise", 17) == 309114084939814758155505232831827205645
    assert torch_seed(0, "noise", 17) == 8378554060940397723
    stream = rng(0, "noise", 17)
    assert stream.random(3).tolist() == [0.7533174597685937, 0.5000067537621586, 0.49876119614510217]
    assert stream.integers(1000, size=4).tolist() == [652, 251, 160, 136]
    normal = stream.standard_normal(3, dtype=np.float32)
    # The tail of the normal sampler calls the platform's log: one unit in the last place, 1e-7, is allowed.
    np.testing.assert_allclose(normal, [2.765056848526001, -1.6574822664260864, 0.5186639428138733], rtol=3e-7)
    assert stream.permutation(6).tolist() == [1, 4, 0, 2, 5, 3]
    assert stream.choice(10, size=4, replace=False).tolist() == [6, 4, 1, 5]


def test_order_of_opening_does_not_matter():
    names = [("noise", number) for number in range(5)]
    forward = {name: rng(3, *name).random(4).tolist() for name in names}
    backward = {name: rng(3, *name).random(4).tolist() for name in reversed(names)}
    assert forward == backward
    interleaved = {name: rng(3, *name) for name in names}
    rows = [[interleaved[name].random() for name in names] for _ in range(4)]
    np.testing.assert_array_equal(np.transpose(rows), [forward[name] for name in names])


def test_names_are_told_apart():
    """By seed, type, order and where one name ends: names joined without care would make some of these one stream."""
    streams = [
        (0, ("a", "b")),
        (1, ("a", "b")),
        (0, ("b", "a")),
        (0, ("ab",)),
        (0, ("a", "b", "")),
        (0, ("a, b",)),
        (0, ('a", "b',)),
        (0, ("a/b",)),
        (0, (1,)),
        (0, ("1",)),
        (0, (1, 1)),
        (0, (11,)),
        (0, (-1,)),
        (10, (1,)),
        (1, (0, 1)),
        (101, ()),
    ]
    assert len({key(seed, *names) for seed, names in streams}) == len(streams)
    assert len({torch_seed(seed, *names) for seed, names in streams}) == len(streams)


def test_keys_fill_their_range():
    keys = [key(0, "range", number) for number in range(200)]
    seeds = [torch_seed(0, "range", number) for number in range(200)]
    assert max(keys) < 2**128
    assert max(seeds) < 2**63
    # Of 200 uniform numbers the largest falls short of 0.9 of the range once in 1.4e9 cases; a 32-bit key always does.
    assert max(keys) > 0.9 * 2**128
    assert max(seeds) > 0.9 * 2**63


def test_streams_of_successive_names_are_independent():
    draws = np.stack([rng(0, "column", number).standard_normal(2000) for number in range(20)])
    off = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    # 380 correlations of independent streams: standard deviation 0.022; streams that overlap score near 1.
    assert np.abs(off).max() < 0.1


def test_numbers_must_be_plain():
    """NumPy integers are refused, not silently given a stream of their own."""
    with pytest.raises(TypeError):
        rng(0, "noise", np.int64(17))


def test_the_hash_seed_of_the_process_does_not_matter():
    code = "from attribution.core.rng import key; print(key(0, 'noise', 17))"
    for seed in ("0", "1"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
        assert int(found.stdout) == key(0, "noise", 17)
