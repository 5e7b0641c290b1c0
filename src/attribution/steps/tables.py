"""The study's table of results, made from its reported numbers alone.

Writes lds.csv and lds.md.
"""

from attribution.core.store import load_json, save_text
from attribution.provenance.job import Job, main
from attribution.reporting import tables

OUTPUTS = {"lds.csv": "tolerance", "lds.md": "tolerance"}


def run(job: Job) -> None:
    """CSV for machines, Markdown for people."""
    numbers = load_json(job.input("numbers"))
    save_text(job.out / "lds.csv", tables.lds_csv(numbers))
    save_text(job.out / "lds.md", tables.lds_markdown(numbers) + "\n")


if __name__ == "__main__":
    main(run, OUTPUTS)
