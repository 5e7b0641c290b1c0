# The full model while it trains: checkpoints, gradients at them, and the scores of methods that sum over training.


# The full model's training once more, its raw weights kept on the way.
rule checkpoints:
    input:
        data="results/{study}/data/images/train.safetensors",
        subsets="results/{study}/design/full/subsets.safetensors",
        model="results/{study}/models/full/models.safetensors",
    output:
        checkpoints="results/{study}/checkpoints/models/checkpoints.safetensors",
        receipt="results/{study}/checkpoints/models/receipt.json",
    log:
        "results/{study}/logs/checkpoints.log",
    resources:
        **needs("checkpoints", gpu=True),
    params:
        **identify("checkpoints", "seed denoiser diffusion training checkpoints.count"),
    shell:
        "python -m attribution.steps.checkpoints"
        " --out results/{wildcards.study}/checkpoints/models"
        " --data {input.data}"
        " --subsets {input.subsets}"
        " --model {input.model}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Inner products of gradients at each checkpoint, at the noise that was met in training and over many draws.
rule checkpoint_products:
    input:
        checkpoints="results/{study}/checkpoints/models/checkpoints.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        subsets="results/{study}/design/full/subsets.safetensors",
    output:
        products="results/{study}/checkpoints/products/products.safetensors",
        receipt="results/{study}/checkpoints/products/receipt.json",
    log:
        "results/{study}/logs/checkpoint_products.log",
    resources:
        **needs("checkpoint_products", gpu=True),
    params:
        **identify(
            "checkpoint_products",
            "seed denoiser diffusion training.batch gradients.batch curvature.bias checkpoints.draws",
        ),
    shell:
        "python -m attribution.steps.checkpoint_products"
        " --out results/{wildcards.study}/checkpoints/products"
        " --checkpoints {input.checkpoints}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --subsets {input.subsets}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Methods that sum over checkpoints of the full model's training.
rule score_checkpoints:
    input:
        products="results/{study}/checkpoints/products/products.safetensors",
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_checkpoints/{model}/{method}.log",
    wildcard_constraints:
        model="full",
        method=reading("checkpoints"),
    resources:
        **needs("score_checkpoints", 2000, 10),
    params:
        **identify("score_checkpoints", "methods.{method} -methods.{method}.damping"),
    shell:
        "python -m attribution.steps.score_checkpoints"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --products {input.products}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
