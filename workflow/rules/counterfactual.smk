# Judged by counterfactual retraining: without each query's top examples, and without those of all queries together
# (rule train makes these models too).


# The training sets without what a method names, and their random controls.
rule leave_k_out:
    input:
        scores=of_ranking("results/{study}/scores/full/{method}/scores.safetensors"),
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
    output:
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        receipt="results/{study}/design/{cohort}/receipt.json",
    log:
        "results/{study}/logs/leave_k_out/{cohort}.log",
    wildcard_constraints:
        cohort=paths.COUNTED,
    resources:
        **needs("leave_k_out", 1000, 10),
    params:
        **identify("leave_k_out", "seed counterfactual.leave counterfactual.joint"),
    shell:
        "python -m attribution.steps.leave_k_out"
        " --out results/{wildcards.study}/design/{wildcards.cohort}"
        " --scores {input.scores}"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The generated queries made anew from the same noise, and the losses of the old ones.
rule regenerate:
    input:
        models="results/{study}/models/{cohort}/models.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        regenerated="results/{study}/regenerated/{cohort}/regenerated.safetensors",
        receipt="results/{study}/regenerated/{cohort}/receipt.json",
    log:
        "results/{study}/logs/regenerate/{cohort}.log",
    resources:
        **needs("regenerate", gpu=True),
    params:
        **identify(
            "regenerate",
            "seed denoiser diffusion sampling measurement.draws measurement.batch counterfactual.leave.queries counterfactual.joint.queries counterfactual.joint.controls",
            levels=levels,
        ),
    shell:
        "python -m attribution.steps.regenerate"
        " --out results/{wildcards.study}/regenerated/{wildcards.cohort}"
        " --models {input.models}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# How much images and losses change, against random removals of the same size and another seed alone.
rule counterfactual:
    input:
        train="results/{study}/data/images/train.safetensors",
        subsets=counterfactuals("results/{study}/design/{cohort}/subsets.safetensors"),
        regenerated=counterfactuals("results/{study}/regenerated/{cohort}/regenerated.safetensors"),
    output:
        record="results/{study}/counterfactual/all/counterfactual.json",
        receipt="results/{study}/counterfactual/all/receipt.json",
    log:
        "results/{study}/logs/counterfactual.log",
    resources:
        **needs("counterfactual", 1000, 10),
    params:
        **identify(
            "counterfactual",
            "seed evaluation counterfactual.methods counterfactual.leave.queries counterfactual.joint.queries counterfactual.joint.controls",
        ),
    shell:
        "python -m attribution.steps.counterfactual"
        " --out results/{wildcards.study}/counterfactual/all"
        " --train {input.train}"
        " --subsets {input.subsets}"
        " --regenerated {input.regenerated}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Whether the judged methods name the same examples, for other queries and as each other.
rule overlap:
    input:
        scores=of_methods_of("results/{study}/scores/full/{method}/scores.safetensors", "counterfactual"),
        lds=of_methods_of("results/{study}/lds/{method}/lds.json", "counterfactual"),
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        record="results/{study}/overlap/all/overlap.json",
        receipt="results/{study}/overlap/all/receipt.json",
    log:
        "results/{study}/logs/overlap.log",
    resources:
        **needs("overlap", 1000, 10),
    params:
        **identify(
            "overlap",
            "seed evaluation.bootstrap evaluation.coverage counterfactual.methods counterfactual.joint.count",
        ),
    shell:
        "python -m attribution.steps.overlap"
        " --out results/{wildcards.study}/overlap/all"
        " --scores {input.scores}"
        " --lds {input.lds}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
