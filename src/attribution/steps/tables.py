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
    frames = {"lds": tables.lds_table, "targets": tables.targets_table, "mucs": mucs_table.table}
    for name, frame in frames.items():
        save_text(job.out / f"{name}.csv", frame(numbers).to_csv(lineterminator="\n"))
    save_text(job.out / "claims.csv", claims.claims_csv(claimed, numbers))
    texts = {
        "lds": tables.lds_markdown(numbers),
        "methods": tables.methods_markdown(numbers),
        "targets": tables.targets_markdown(numbers),
        "claims": claims.claims_markdown(claimed, numbers),
        "mucs": mucs_table.mucs_markdown(numbers),
        "peers": benchmarks.markdown("peers", job.input("peers").read_text(encoding="utf-8")),
    }
    for name, text in texts.items():
        save_text(job.out / f"{name}.md", text + "\n")


if __name__ == "__main__":
    main(run, OUTPUTS)
