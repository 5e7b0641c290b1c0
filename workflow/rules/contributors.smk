# What contributors are worth: Shapley values by sparsified fine-tuning, judged by coalitions trained anew (rule train).


# Draw coalitions of contributors, and what a model of each is trained on.
rule coalitions:
    input:
        data="results/{study}/data/images/train.safetensors",
    output:
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        receipt="results/{study}/design/{cohort}/receipt.json",
    log:
        "results/{study}/logs/coalitions/{cohort}.log",
    wildcard_constraints:
        cohort=paths.COALITIONS,
    resources:
        **needs("coalitions", 1000, 10),
    params:
        **identify("coalitions", "seed contributors.count contributors.judge.coalitions contributors.judge.fraction"),
    shell:
        "python -m attribution.steps.coalitions"
        " --out results/{wildcards.study}/design/{wildcards.cohort}"
        " --data {input.data}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Prune the full model by magnitude and let it recover on all examples.
rule sparsify:
    input:
        data="results/{study}/data/images/train.safetensors",
        models="results/{study}/models/full/models.safetensors",
    output:
        models="results/{study}/models/sparse/models.safetensors",
        masks="results/{study}/models/sparse/masks.safetensors",
        curve="results/{study}/models/sparse/log.jsonl",
        receipt="results/{study}/models/sparse/receipt.json",
    log:
        "results/{study}/logs/sparsify.log",
    resources:
        **needs("sparsify", gpu=True),
    params:
        **identify("sparsify", "seed denoiser diffusion training contributors.sparsity contributors.recover"),
    shell:
        "python -m attribution.steps.sparsify"
        " --out results/{wildcards.study}/models/sparse"
        " --data {input.data}"
        " --models {input.models}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Fine-tune the pruned model on each coalition of a cohort.
rule finetune:
    input:
        data="results/{study}/data/images/train.safetensors",
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        sparse="results/{study}/models/sparse/models.safetensors",
        masks="results/{study}/models/sparse/masks.safetensors",
    output:
        models="results/{study}/models/{cohort}/models.safetensors",
        curve="results/{study}/models/{cohort}/log.jsonl",
        receipt="results/{study}/models/{cohort}/receipt.json",
    log:
        "results/{study}/logs/finetune/{cohort}.log",
    wildcard_constraints:
        cohort=paths.FINETUNED,
    resources:
        **needs("finetune", gpu=True),
    params:
        **identify("finetune", "seed denoiser diffusion training contributors.finetune"),
    shell:
        "python -m attribution.steps.finetune"
        " --out results/{wildcards.study}/models/{wildcards.cohort}"
        " --data {input.data}"
        " --subsets {input.subsets}"
        " --sparse {input.sparse}"
        " --masks {input.masks}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# What the models of a cohort, and their samples, are like.
rule properties:
    input:
        models="results/{study}/models/{cohort}/models.safetensors",
        losses="results/{study}/losses/{cohort}/losses.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        train="results/{study}/data/images/train.safetensors",
        heldout="results/{study}/data/images/heldout.safetensors",
    output:
        properties="results/{study}/properties/{cohort}/properties.safetensors",
        receipt="results/{study}/properties/{cohort}/receipt.json",
    log:
        "results/{study}/logs/properties/{cohort}.log",
    resources:
        **needs("properties", gpu=True),
    params:
        **identify("properties", "seed denoiser diffusion contributors.samples contributors.steps contributors.batch"),
    shell:
        "python -m attribution.steps.properties"
        " --out results/{wildcards.study}/properties/{wildcards.cohort}"
        " --models {input.models}"
        " --losses {input.losses}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --heldout {input.heldout}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Shapley values, and what predicts the properties of models trained without some contributors.
rule contributors:
    input:
        sft_designs=of_coalitions("results/{study}/design/{cohort}/subsets.safetensors", "sft"),
        sft=of_coalitions("results/{study}/properties/{cohort}/properties.safetensors", "sft"),
        half_designs=of_coalitions("results/{study}/design/{cohort}/subsets.safetensors", "half"),
        half=of_coalitions("results/{study}/properties/{cohort}/properties.safetensors", "half"),
        sparse="results/{study}/properties/sparse/properties.safetensors",
        scores=of_methods_of("results/{study}/scores/full/{method}/scores.safetensors", "contributors"),
        lds=of_methods_of("results/{study}/lds/{method}/lds.json", "contributors"),
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        record="results/{study}/contributors/all/contributors.json",
        arrays="results/{study}/contributors/all/contributors.safetensors",
        receipt="results/{study}/contributors/all/receipt.json",
    log:
        "results/{study}/logs/contributors.log",
    resources:
        **needs("contributors", 4000, 30),
    params:
        **identify(
            "contributors",
            "training.steps evaluation.coverage contributors.count contributors.methods contributors.finetune.steps",
        ),
    shell:
        "python -m attribution.steps.contributors"
        " --out results/{wildcards.study}/contributors/all"
        " --sft_designs {input.sft_designs}"
        " --sft {input.sft}"
        " --half_designs {input.half_designs}"
        " --half {input.half}"
        " --sparse {input.sparse}"
        " --scores {input.scores}"
        " --lds {input.lds}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Table and figure of the contributors.
rule contributors_report:
    input:
        numbers="results/{study}/summary/numbers/numbers.json",
        arrays="results/{study}/contributors/all/contributors.safetensors",
    output:
        table_csv="results/{study}/summary/contributors/contributors.csv",
        table=in_tables(
            "results/{study}/summary/contributors/contributors.md", caption="../report/contributors_table.rst"
        ),
        values=in_figures(
            "results/{study}/summary/contributors/shapley.png", caption="../report/contributors_shapley.rst"
        ),
        values_svg="results/{study}/summary/contributors/shapley.svg",
        receipt="results/{study}/summary/contributors/receipt.json",
    log:
        "results/{study}/logs/contributors_report.log",
    resources:
        **needs("contributors_report", 2000, 10),
    params:
        **identify("contributors_report", "contributors.methods", labels=labels),
    shell:
        "python -m attribution.steps.contributors_report"
        " --out results/{wildcards.study}/summary/contributors"
        " --numbers {input.numbers}"
        " --arrays {input.arrays}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
