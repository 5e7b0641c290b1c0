# Judged by retraining without the top influences of a query (rules train and measure make and measure these models too).


# For each query, the training set without its highest-scoring examples.
rule remove:
    input:
        scores=of_ranking("results/{study}/scores/full/{method}/scores.safetensors"),
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
    output:
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        receipt="results/{study}/design/{cohort}/receipt.json",
    log:
        "results/{study}/logs/remove/{cohort}.log",
    wildcard_constraints:
        cohort=paths.REMOVED,
    resources:
        **needs("remove", 1000, 10),
    params:
        **identify("remove", "seed removal.queries removal.replicates"),
    shell:
        "python -m attribution.steps.remove"
        " --out results/{wildcards.study}/design/{wildcards.cohort}"
        " --scores {input.scores}"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# How much a query's loss rises without its top influences, against a random removal of the same size.
rule removal:
    input:
        queries="results/{study}/queries/all/queries.safetensors",
        subsets=removals("results/{study}/design/{cohort}/subsets.safetensors"),
        losses=removals("results/{study}/losses/{cohort}/losses.safetensors"),
    output:
        record="results/{study}/removal/all/removal.json",
        receipt="results/{study}/removal/all/receipt.json",
    log:
        "results/{study}/logs/removal.log",
    resources:
        **needs("removal", 1000, 10),
    params:
        **identify(
            "removal",
            "seed evaluation.bootstrap evaluation.coverage removal.methods removal.percents removal.replicates",
        ),
    shell:
        "python -m attribution.steps.removal"
        " --out results/{wildcards.study}/removal/all"
        " --queries {input.queries}"
        " --subsets {input.subsets}"
        " --losses {input.losses}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
