"""Run by the Python of .crate: hold crates against the Provenance Run Crate profile and all that it builds on.

    python validate_crate.py CRATE...

Prints one JSON object: crate -> the required checks that it fails, [check, message]. Nothing is fetched: the names of
the two contexts stand for what they say of the terms that are used here, and the two checks that fetch them are left
out.
"""

import json
import sys

import rdflib.plugins.parsers.jsonld
import rdflib.plugins.shared.jsonld.context
import rdflib.plugins.shared.jsonld.util

PROFILE = "provenance-run-crate-0.5"
FETCHING = ["ro-crate-1.1_3.1", "ro-crate-1.1_3.2"]
BIOSCHEMAS = "https://bioschemas.org/"
TERMS = {
    "@vocab": "http://schema.org/",
    "File": "http://schema.org/MediaObject",
    "ComputationalWorkflow": f"{BIOSCHEMAS}ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}FormalParameter",
    "input": f"{BIOSCHEMAS}ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}ComputationalWorkflow#output",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
    "sha256": "https://w3id.org/ro/terms/workflow-run#sha256",
}
CONTEXTS = ("https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context")


def offline() -> None:
    """Let rdflib take the terms from here; to be called before the validator is imported, which keeps what it finds."""
    util = rdflib.plugins.shared.jsonld.util
    fetch = util.source_to_json

    def load(source, *arguments, **options):
        return ({"@context": TERMS}, None) if source in CONTEXTS else fetch(source, *arguments, **options)

    for module in (util, rdflib.plugins.shared.jsonld.context, rdflib.plugins.parsers.jsonld):
        module.source_to_json = load


def failed(crate: str) -> list[list[str]]:
    from rocrate_validator import models, services

    settings = services.ValidationSettings(
        rocrate_uri=crate,
        profile_identifier=PROFILE,
        requirement_severity=models.Severity.REQUIRED,
        skip_availability_check=True,
        skip_checks=FETCHING,
    )
    issues = services.validate(settings).get_issues()
    return [[issue.check.identifier, str(issue.message)] for issue in issues]


if __name__ == "__main__":
    offline()
    print(json.dumps({crate: failed(crate) for crate in sys.argv[1:]}))
