# What the rules read by: functions of a job's wildcards that give its files, needs and spec; and what wildcards may be.
from functools import partial

from attribution.provenance import believe
from attribution.workflow import exclusive, identity, paths, registry, rule_inputs
from attribution.workflow.rule_inputs import of_images, of_ranking, of_set, of_trajectories, one_of

identify = partial(identity.identify, STUDIES, LOCK)
globals().update({listed: partial(rule_inputs.each, STUDIES, listed) for listed in rule_inputs.LISTS})  # cohorts, ...
files = partial(rule_inputs.files, STUDIES)
of_measured = rule_inputs.of_measured(STUDIES)
of_lengths = partial(rule_inputs.of_lengths, STUDIES)
needs = partial(rule_inputs.needs, STUDIES)
in_tables = partial(report, category="{study}", subcategory="Tables")
in_figures = partial(report, category="{study}", subcategory="Figures")
labels = lambda study: registry.labels(STUDIES[study])
reading = lambda reads: one_of(registry.reading(STUDIES.values(), reads))
dataset_md5 = partial(rule_inputs.dataset_md5, STUDIES, ROOT)
autoencoder_md5 = partial(rule_inputs.dataset_md5, STUDIES, ROOT, key="autoencoder")
images_sha256 = partial(rule_inputs.images_sha256, STUDIES)
levels = partial(rule_inputs.levels, STUDIES)
of_source = partial(rule_inputs.of_source, STUDIES)


wildcard_constraints:
    study=paths.STUDY,
    method=paths.METHOD,
    cohort=paths.COHORT,
    model=paths.MODEL,
    set="train|queries",
    part=paths.PART,
    quantity=paths.QUANTITY,
    measurement=paths.QUANTITY,
    feature=paths.QUANTITY,
    projection=paths.PROJECTION,
    curvature=paths.CURVATURE,
    bank=paths.QUANTITY,


# What a study ends in: every final file, so that any of them is made again where it is missing. A run claims its studies
# as it plans them (workflow/exclusive.py).
def ends(members):
    @one_line()
    def of(wildcards):
        if workflow.is_main_process and workflow.execution_settings and not workflow.dryrun:
            exclusive.hold(Path(), members, workflow.executor_plugin.name)
            believe.ready(Path(), members)
        final = [*rules.numbers.output, *rules.tables.output, *rules.figures.output]
        reports = {"ablation": rules.ablation_report, "contributors": rules.contributors_report}
        return rule_inputs.ends(STUDIES, final, {section: [*rule.output] for section, rule in reports.items()}, members)

    return of
