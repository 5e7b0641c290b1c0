# Encoded ensembles: what a generator would have made without a unit, by members that never saw it. Rule train trains them.


# All images in the order in which training sets grow.
rule pool:
    input:
        train="results/{study}/data/images/train.safetensors",
        heldout="results/{study}/data/images/heldout.safetensors",
    output:
        pool="results/{study}/data/pool/pool.safetensors",
        receipt="results/{study}/data/pool/receipt.json",
    log:
        "results/{study}/logs/pool.log",
    resources:
        **needs("pool", 1000, 10),
    params:
        **identify("pool", ""),
    shell:
        "python -m attribution.steps.pool"
        " --out results/{wildcards.study}/data/pool"
        " --train {input.train}"
        " --heldout {input.heldout}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Draw the code of an encoded ensemble: which member sees which unit.
rule encode:
    input:
        pool="results/{study}/data/pool/pool.safetensors",
    output:
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        receipt="results/{study}/design/{cohort}/receipt.json",
    log:
        "results/{study}/logs/encode/{cohort}.log",
    wildcard_constraints:
        cohort=paths.ENCODED,
    resources:
        **needs("encode", 1000, 10),
    params:
        **identify("encode", "seed training.batch ablation.members ablation.code ablation.unit"),
    shell:
        "python -m attribution.steps.encode"
        " --out results/{wildcards.study}/design/{wildcards.cohort}"
        " --pool {input.pool}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Training sets without one unit each: the ground truth of ablations.
rule leave_out:
    input:
        design=ablation("results/{study}/design/{cohort}/subsets.safetensors", "retrained"),
        landscape=ablation("results/{study}/ablations/{cohort}/landscape.safetensors", "retrained"),
    output:
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        receipt="results/{study}/design/{cohort}/receipt.json",
    log:
        "results/{study}/logs/leave_out/{cohort}.log",
    wildcard_constraints:
        cohort=paths.LEFT_OUT,
    resources:
        **needs("leave_out", 1000, 10),
    params:
        **identify("leave_out", "seed training.batch ablation.retrain.units ablation.retrain.replicates"),
    shell:
        "python -m attribution.steps.leave_out"
        " --out results/{wildcards.study}/design/{wildcards.cohort}"
        " --design {input.design}"
        " --landscape {input.landscape}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Sample a cohort whole and without each unit, from the same noise; and its derivatives in the members' weights.
rule ablate:
    input:
        design="results/{study}/design/{cohort}/subsets.safetensors",
        models="results/{study}/models/{cohort}/models.safetensors",
        pool="results/{study}/data/pool/pool.safetensors",
    output:
        landscape="results/{study}/ablations/{cohort}/landscape.safetensors",
        cost="results/{study}/ablations/{cohort}/cost.json",
        receipt="results/{study}/ablations/{cohort}/receipt.json",
    log:
        "results/{study}/logs/ablate/{cohort}.log",
    resources:
        **needs("ablate", gpu=True),
    params:
        **identify(
            "ablate",
            "seed denoiser diffusion ablation.steps ablation.samples ablation.quality ablation.nulls ablation.batch",
        ),
    shell:
        "python -m attribution.steps.ablate"
        " --out results/{wildcards.study}/ablations/{wildcards.cohort}"
        " --design {input.design}"
        " --models {input.models}"
        " --pool {input.pool}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The loss of the study's encoded ensemble without each unit, as a method.
rule score_ablation:
    input:
        design=ablation("results/{study}/design/{cohort}/subsets.safetensors", "main"),
        models=ablation("results/{study}/models/{cohort}/models.safetensors", "main"),
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        null="results/{study}/scores/{model}/{method}/null.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_ablation/{model}/{method}.log",
    wildcard_constraints:
        method=reading("encoded"),
    resources:
        **needs("score_ablation", gpu=True),
    params:
        **identify(
            "score_ablation",
            "seed denoiser diffusion measurement.draws measurement.batch ablation.nulls methods.{method} -methods.{method}.damping",
        ),
    shell:
        "python -m attribution.steps.score_ablation"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --design {input.design}"
        " --models {input.models}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Radius by size, search, false attribution, null rows, quality and retraining of the encoded ensembles.
rule ablation:
    input:
        designs=ablation("results/{study}/design/{cohort}/subsets.safetensors", "every"),
        landscapes=ablation("results/{study}/ablations/{cohort}/landscape.safetensors", "every"),
        costs=ablation("results/{study}/ablations/{cohort}/cost.json", "every"),
        left_out=ablation("results/{study}/design/{cohort}/subsets.safetensors", "left_out"),
        retrained=ablation("results/{study}/ablations/{cohort}/landscape.safetensors", "left_out"),
        scores="results/{study}/scores/full/ablation/scores.safetensors",
        null_scores="results/{study}/scores/full/ablation/null.safetensors",
        pool="results/{study}/data/pool/pool.safetensors",
    output:
        record="results/{study}/ablation/all/ablation.json",
        arrays="results/{study}/ablation/all/ablation.safetensors",
        receipt="results/{study}/ablation/all/receipt.json",
    log:
        "results/{study}/logs/ablation.log",
    resources:
        **needs("ablation", 4000, 30),
    params:
        **identify(
            "ablation",
            "seed data.train evaluation.bootstrap evaluation.coverage ablation.sizes ablation.samples ablation.quality ablation.top ablation.retrain.size ablation.retrain.replicates",
        ),
    shell:
        "python -m attribution.steps.ablation"
        " --out results/{wildcards.study}/ablation/all"
        " --designs {input.designs}"
        " --landscapes {input.landscapes}"
        " --costs {input.costs}"
        " --left_out {input.left_out}"
        " --retrained {input.retrained}"
        " --scores {input.scores}"
        " --null_scores {input.null_scores}"
        " --pool {input.pool}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Table and figures of the encoded ensembles.
rule ablation_report:
    input:
        numbers="results/{study}/summary/numbers/numbers.json",
        arrays="results/{study}/ablation/all/ablation.safetensors",
        design=ablation("results/{study}/design/{cohort}/subsets.safetensors", "main"),
        landscape=ablation("results/{study}/ablations/{cohort}/landscape.safetensors", "main"),
        pool="results/{study}/data/pool/pool.safetensors",
    output:
        table_csv="results/{study}/summary/ablation/ablation.csv",
        table=in_tables("results/{study}/summary/ablation/ablation.md", caption="../report/ablation_table.rst"),
        radius=in_figures("results/{study}/summary/ablation/radius.png", caption="../report/ablation_radius.rst"),
        radius_svg="results/{study}/summary/ablation/radius.svg",
        counterfactuals=in_figures(
            "results/{study}/summary/ablation/counterfactuals.png", caption="../report/counterfactuals.rst"
        ),
        counterfactuals_svg="results/{study}/summary/ablation/counterfactuals.svg",
        receipt="results/{study}/summary/ablation/receipt.json",
    log:
        "results/{study}/logs/ablation_report.log",
    resources:
        **needs("ablation_report", 2000, 10),
    params:
        **identify("ablation_report", "ablation.sizes"),
    shell:
        "python -m attribution.steps.ablation_report"
        " --out results/{wildcards.study}/summary/ablation"
        " --numbers {input.numbers}"
        " --arrays {input.arrays}"
        " --design {input.design}"
        " --landscape {input.landscape}"
        " --pool {input.pool}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
