"""Cost of gradients, EK-FAC factors and scores beside other libraries: `make bench` writes peers.csv anew.

Each work runs in a process of its own, on one thread, in turns: ours, peer, ours, peer, ... REPEATS times. Times are
seconds of CPU (user and system), the least of the repeats: on a shared machine wall time measures the others, and is
printed beside. Memory is the most that a process held, in MB, imports included (printed too, as base), the least of the
repeats. Before anything is timed, agreement.py checks that all libraries compute the same numbers.

    python benchmarks/peers.py [REPEATS]

The columns of results/published/benchmarks/peers.csv: work, peer, ours_s and peer_s (CPU seconds), their ratio,
ours_mb and peer_mb (peak).
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "results" / "published" / "benchmarks" / "peers.csv"
REPEATS = 5
ROWS = [  # work, what it is called, the libraries that it is timed beside, and what they do
    ("gradients", "gradients of 500 examples x 4 draws", {"plain": "one batched forward and backward"}),
    ("dot", "gradient products, 50 queries x 500", {"kronfluence": "kronfluence 1.0.1 identity"}),
    (
        "factors",
        "EK-FAC factors of 2000 rows",
        {"kronfluence": "kronfluence 1.0.1 ekfac", "curvlinops": "curvlinops 3.0.1 ekfac"},
    ),
    ("ekfac_scores", "EK-FAC scores, 50 queries x 500", {"kronfluence": "kronfluence 1.0.1 ekfac"}),
]
Run = dict[str, float]


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS
    with tempfile.TemporaryDirectory() as folder:
        print(start("agreement.py", f"{folder}/agreement"), end="", flush=True)
        runs = timed(Path(folder), repeats)
    rows = [row(runs, work, title, peer, name) for work, title, peers in ROWS for peer, name in peers.items()]
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{TABLE.relative_to(ROOT)}\n{TABLE.read_text(encoding='utf-8')}", end="")


def timed(folder: Path, repeats: int) -> dict[tuple[str, str], list[Run]]:
    """(work, library) -> its runs; scores are taken with the factors of the same repeat."""
    runs: dict[tuple[str, str], list[Run]] = {}
    for repeat in range(repeats):
        for work, _, peers in ROWS:
            for library in ("ours", *peers):
                place = folder / str(repeat) / library
                place.mkdir(parents=True, exist_ok=True)
                run = json.loads(start("measure.py", work, library, str(place)).splitlines()[-1])
                runs.setdefault((work, library), []).append(run)
                said = "  ".join(f"{name} {value:7.2f}" for name, value in run.items())
                print(f"{repeat + 1}/{repeats} {work:13} {library:12} {said}", flush=True)
    return runs


def row(runs: dict[tuple[str, str], list[Run]], work: str, title: str, peer: str, name: str) -> dict[str, str]:
    """One line of the table."""
    ours, theirs = (
        {key: min(run[key] for run in runs[work, library]) for key in ("cpu", "peak")} for library in ("ours", peer)
    )
    return {
        "work": title,
        "peer": name,
        "ours_s": f"{ours['cpu']:.2f}",
        "peer_s": f"{theirs['cpu']:.2f}",
        "ratio": f"{ours['cpu'] / theirs['cpu']:.2f}",
        "ours_mb": f"{ours['peak']:.0f}",
        "peer_mb": f"{theirs['peak']:.0f}",
    }


def start(script: str, *arguments: str) -> str:
    """Standard output of one script of this folder, on one thread; its own complaint where it fails."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", ".peers"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).parent / script), *arguments],
        env=os.environ | threads | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"benchmarks/{script} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
