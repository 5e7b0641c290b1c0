# Attribution by unlearning: models that forget one query each, and whose loss rises in them.


# The attributed model's losses at a noise bank, which all methods and queries share.
rule reference:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
    output:
        reference="results/{study}/reference/{bank}/reference.safetensors",
        receipt="results/{study}/reference/{bank}/receipt.json",
    log:
        "results/{study}/logs/reference/{bank}.log",
    resources:
        **needs("reference", gpu=True),
    params:
        **identify("reference", "seed denoiser diffusion unlearning.batch unlearning.banks.{bank}"),
    shell:
        "python -m attribution.steps.reference"
        " --out results/{wildcards.study}/reference/{wildcards.bank}"
        " --model {input.model}"
        " --data {input.data}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Copies of the full model that forget a query each, by mirrored unlearning or plain ascent.
rule unlearn:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        models="results/{study}/unlearned/{unlearned}/{part}/models.safetensors",
        receipt="results/{study}/unlearned/{unlearned}/{part}/receipt.json",
    log:
        "results/{study}/logs/unlearn/{unlearned}/{part}.log",
    wildcard_constraints:
        unlearned=paths.DESCENT,
    resources:
        **needs("unlearn", gpu=True),
    params:
        **identify("unlearn", "seed denoiser diffusion unlearning.null_loss unlearning.kinds.{unlearned}"),
    shell:
        "python -m attribution.steps.unlearn"
        " --out results/{wildcards.study}/unlearned/{wildcards.unlearned}/{wildcards.part}"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The same by a Newton step each, with the diagonal of the Fisher matrix or EK-FAC.
rule unlearn_newton:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        gradients="results/{study}/gradients/full/queries/loss/all/gradients.safetensors",
        basis=of_inverse("results/{study}/basis/full/{inverse}/basis.safetensors"),
        eigenvalues=of_inverse("results/{study}/eigenvalues/full/{inverse}/{part}/eigenvalues.safetensors"),
    output:
        models="results/{study}/unlearned/{unlearned}/{part}/models.safetensors",
        receipt="results/{study}/unlearned/{unlearned}/{part}/receipt.json",
    log:
        "results/{study}/logs/unlearn_newton/{unlearned}/{part}.log",
    wildcard_constraints:
        unlearned=paths.NEWTON,
    resources:
        **needs("unlearn_newton", gpu=True),
    params:
        **identify(
            "unlearn_newton", "seed denoiser diffusion curvature.batch curvature.bias unlearning.kinds.{unlearned}"
        ),
    shell:
        "python -m attribution.steps.unlearn_newton"
        " --out results/{wildcards.study}/unlearned/{wildcards.unlearned}/{wildcards.part}"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --gradients {input.gradients}"
        " --basis {input.basis}"
        " --eigenvalues {input.eigenvalues}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# How much worse each example fares in the models that forgot a query.
rule score_unlearning:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        reference=files("results/{study}/reference/{bank}/reference.safetensors"),
        unlearned=of_unlearned("results/{study}/unlearned/{unlearned}/{part}/models.safetensors"),
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_unlearning/{model}/{method}.log",
    wildcard_constraints:
        model="full",
        method=reading("unlearned"),
    resources:
        **needs("score_unlearning", gpu=True),
    params:
        **identify("score_unlearning", "denoiser diffusion unlearning.batch methods.{method} -methods.{method}.damping"),
    shell:
        "python -m attribution.steps.score_unlearning"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --model {input.model}"
        " --data {input.data}"
        " --reference {input.reference}"
        " --unlearned {input.unlearned}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Cheaper passes beside the full one, and how unlearning went.
rule prefilter:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        reference=of_prefilter("results/{study}/reference/{bank}/reference.safetensors"),
        unlearned=of_prefilter("results/{study}/unlearned/{unlearned}/{part}/models.safetensors"),
        scores=of_prefilter("results/{study}/scores/full/{by}/scores.safetensors"),
    output:
        record="results/{study}/prefilter/all/prefilter.json",
        receipt="results/{study}/prefilter/all/receipt.json",
    log:
        "results/{study}/logs/prefilter.log",
    resources:
        **needs("prefilter", gpu=True),
    params:
        **identify(
            "prefilter",
            "seed denoiser diffusion methods evaluation.bootstrap evaluation.coverage unlearning.batch unlearning.prefilter.method unlearning.prefilter.by unlearning.prefilter.top unlearning.prefilter.candidates unlearning.prefilter.sample unlearning.prefilter.rounds",
        ),
    shell:
        "python -m attribution.steps.prefilter"
        " --out results/{wildcards.study}/prefilter/all"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --reference {input.reference}"
        " --unlearned {input.unlearned}"
        " --scores {input.scores}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
