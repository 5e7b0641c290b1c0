# What the rules read by: functions of a job's wildcards that give its files, needs and spec; and what wildcards may be.
from functools import partial

from attribution.provenance import believe
from attribution.workflow import exclusive, identity, inputs, paths, registry
from attribution.workflow.inputs import of_images, of_ranking, of_set, of_trajectories, one_of

spec = partial(identity.spec, STUDIES)
cohorts = partial(inputs.of_cohorts, STUDIES)
methods = partial(inputs.of_methods, STUDIES)
removals = partial(inputs.of_removals, STUDIES)
ablation = partial(inputs.of_ablation, STUDIES)
files = partial(inputs.files, STUDIES)
of_ensemble = partial(inputs.of_ensemble, STUDIES)
of_preconditioner = partial(inputs.of_preconditioner, STUDIES)
of_measured = inputs.of_measured(STUDIES)
of_unlearned = partial(inputs.of_unlearned, STUDIES)
of_inverse = partial(inputs.of_inverse, STUDIES)
counterfactuals = partial(inputs.of_counterfactuals, STUDIES)
of_section = partial(inputs.of_section, STUDIES)
of_coalitions = partial(inputs.of_coalitions, STUDIES)
of_members = partial(inputs.of_members, STUDIES)
of_methods_of = partial(inputs.of_methods_of, STUDIES)
of_prefilter = partial(inputs.of_prefilter, STUDIES)
of_latents = partial(inputs.of_latents, STUDIES)
of_lengths = partial(inputs.of_lengths, STUDIES)
needs = partial(inputs.needs, STUDIES)
labels = lambda study: registry.labels(STUDIES[study])
reading = lambda reads: one_of(registry.reading(STUDIES.values(), reads))
dataset_md5 = partial(inputs.dataset_md5, STUDIES, ROOT)
autoencoder_md5 = partial(inputs.dataset_md5, STUDIES, ROOT, key="autoencoder")
images_sha256 = partial(inputs.images_sha256, STUDIES)
levels = partial(inputs.levels, STUDIES)
of_source = partial(inputs.of_source, STUDIES)


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
        return inputs.ends(STUDIES, final, {section: [*rule.output] for section, rule in reports.items()}, members)

    return of
