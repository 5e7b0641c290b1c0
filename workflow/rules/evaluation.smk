# Judged by retraining: linear datamodelling scores and their ceiling, predicted changes, and which examples are on top of all lists.


# Every retrained model's losses with its subset, put together from the cohorts of a stream: read by all that judges.
rule outcomes:
    input:
        subsets=cohorts("results/{study}/design/{cohort}/subsets.safetensors"),
        losses=cohorts("results/{study}/losses/{cohort}/losses.safetensors"),
    output:
        outcomes="results/{study}/outcomes/{stream}/outcomes.safetensors",
        receipt="results/{study}/outcomes/{stream}/receipt.json",
    log:
        "results/{study}/logs/outcomes/{stream}.log",
    wildcard_constraints:
        stream="crn|own",
    resources:
        **needs("outcomes", 1000, 10),
    params:
        **identify("outcomes", ""),
    shell:
        "python -m attribution.steps.outcomes"
        " --out results/{wildcards.study}/outcomes/{wildcards.stream}"
        " --subsets {input.subsets}"
        " --losses {input.losses}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# One method against the retrained models.
rule lds:
    input:
        scores="results/{study}/scores/full/{method}/scores.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
    output:
        record="results/{study}/lds/{method}/lds.json",
        arrays="results/{study}/lds/{method}/lds.safetensors",
        receipt="results/{study}/lds/{method}/receipt.json",
    log:
        "results/{study}/logs/lds/{method}.log",
    resources:
        **needs("lds", 1000, 10),
    params:
        **identify("lds", "seed measurement.quantities evaluation.coverage methods.{base}"),
    shell:
        "python -m attribution.steps.lds"
        " --out results/{wildcards.study}/lds/{wildcards.method}"
        " --scores {input.scores}"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The same for scores from few gradient draws.
rule lds_draws:
    input:
        scores="results/{study}/draws/scores/scores.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
    output:
        record="results/{study}/draws/lds/lds.json",
        receipt="results/{study}/draws/lds/receipt.json",
    log:
        "results/{study}/logs/lds_draws.log",
    resources:
        **needs("lds_draws", 1000, 10),
    params:
        **identify("lds_draws", "seed evaluation.coverage"),
    shell:
        "python -m attribution.steps.lds_draws"
        " --out results/{wildcards.study}/draws/lds"
        " --scores {input.scores}"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# What any method can reach, and what common random numbers save.
rule ceiling:
    input:
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
        own=cohorts("results/{study}/outcomes/own/outcomes.safetensors", "own"),
    output:
        record="results/{study}/ceiling/all/ceiling.json",
        receipt="results/{study}/ceiling/all/receipt.json",
    log:
        "results/{study}/logs/ceiling.log",
    resources:
        **needs("ceiling", 1000, 10),
    params:
        **identify("ceiling", "seed data.train evaluation.bootstrap evaluation.coverage"),
    shell:
        "python -m attribution.steps.ceiling"
        " --out results/{wildcards.study}/ceiling/all"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --own {input.own}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# What influence predicts of the retrained models in units of the loss, beside what they measured.
rule overestimate:
    input:
        scores=methods("results/{study}/scores/full/{method}/scores.safetensors"),
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
        baseline="results/{study}/losses/without0_random/losses.safetensors",
    output:
        record="results/{study}/overestimate/all/overestimate.json",
        changes="results/{study}/overestimate/all/overestimate.safetensors",
        receipt="results/{study}/overestimate/all/receipt.json",
    log:
        "results/{study}/logs/overestimate.log",
    resources:
        **needs("overestimate", 1000, 10),
    params:
        **identify(
            "overestimate", "seed data.train methods measurement.quantities evaluation.bootstrap evaluation.coverage"
        ),
    shell:
        "python -m attribution.steps.overestimate"
        " --out results/{wildcards.study}/overestimate/all"
        " --scores {input.scores}"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --baseline {input.baseline}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Which methods put the same examples on top for every query, and whose scores follow the gradients' length.
rule prevalence:
    input:
        scores=methods("results/{study}/scores/full/{method}/scores.safetensors"),
        lds=methods("results/{study}/lds/{method}/lds.json"),
        gram=of_lengths("results/{study}/gram/full/loss/loss/{projection}/gram.safetensors"),
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        record="results/{study}/prevalence/all/prevalence.json",
        receipt="results/{study}/prevalence/all/receipt.json",
    log:
        "results/{study}/logs/prevalence.log",
    resources:
        **needs("prevalence", 1000, 10),
    params:
        **identify("prevalence", "seed methods evaluation"),
    shell:
        "python -m attribution.steps.prevalence"
        " --out results/{wildcards.study}/prevalence/all"
        " --scores {input.scores}"
        " --lds {input.lds}"
        " --gram {input.gram}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
