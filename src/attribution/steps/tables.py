"""The study's tables: scores, scores by target and the papers' claims from its reported numbers, and the benchmarks.

Writes lds, targets, claims and mucs (its ablations), each .csv and .md; methods.md, lds without variants of methods;
and peers.md, the benchmarks as last run.
"""

from attribution.core.store import load_json, save_text
from attribution.provenance.job import Job, main
from attribution.reporting import benchmarks, claims, mucs_table, tables
from attribution.workflow.config import read_yaml

OUTPUTS = {
    **{f"{table}.{ending}": "tolerance" for table in ("lds", "targets", "claims", "mucs") for ending in ("csv", "md")},
    **{f"{table}.md": "tolerance" for table in ("methods", "peers")},
}


def run(job: Job) -> None:
    """CSV for machines, Markdown for people; --claims: the papers' claims; --peers: the CSV of `make bench`."""
    numbers = load_json(job.input("numbers"))
    claimed = claims.parse(read_yaml(job.input("claims")))
    save_text(job.out / "lds.csv", tables.lds_csv(numbers))
    save_text(job.out / "lds.md", tables.lds_markdown(numbers) + "\n")
    save_text(job.out / "methods.md", tables.methods_markdown(numbers) + "\n")
    save_text(job.out / "targets.csv", tables.targets_csv(numbers))
    save_text(job.out / "targets.md", tables.targets_markdown(numbers) + "\n")
    save_text(job.out / "claims.csv", claims.claims_csv(claimed, numbers))
    save_text(job.out / "claims.md", claims.claims_markdown(claimed, numbers) + "\n")
    save_text(job.out / "mucs.csv", mucs_table.mucs_csv(numbers))
    save_text(job.out / "mucs.md", mucs_table.mucs_markdown(numbers) + "\n")
    peers = job.input("peers").read_text(encoding="utf-8")
    save_text(job.out / "peers.md", benchmarks.markdown("peers", peers) + "\n")


if __name__ == "__main__":
    main(run, OUTPUTS)
