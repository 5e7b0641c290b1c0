"""Table and figure of the study's contributors.

Writes contributors.csv and .md from the reported numbers, and the figure shapley.
"""

from attribution.core.store import load_json, load_tensors, save_text
from attribution.provenance.job import Job, main
from attribution.reporting import contributors
from attribution.reporting.style import save

OUTPUTS = {f"contributors.{ending}": "tolerance" for ending in ("csv", "md")} | {
    f"shapley.{ending}": "tolerance" for ending in ("png", "svg")
}


def run(job: Job) -> None:
    """Values in the table are those of the reported numbers."""
    numbers, methods = load_json(job.input("numbers")), job.spec["contributors"]["methods"]
    table = contributors.contributors_table(numbers, methods)
    save_text(job.out / "contributors.csv", table.to_csv(lineterminator="\n"))
    save_text(job.out / "contributors.md", contributors.contributors_markdown(numbers, methods) + "\n")
    save(contributors.shapley_values(load_tensors(job.input("arrays"))), job.out, "shapley")


if __name__ == "__main__":
    main(run, OUTPUTS)
