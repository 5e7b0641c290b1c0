# What influence is made of: gradients and curvature of the full model.


# Per-example loss gradients of the full model, mean over many draws.
rule gradients:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
    output:
        train="results/{study}/gradients/full/train.safetensors",
        queries="results/{study}/gradients/full/queries.safetensors",
        receipt="results/{study}/gradients/full/receipt.json",
    log:
        "results/{study}/logs/gradients.log",
    benchmark:
        "results/{study}/logs/gradients.tsv"
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec("seed denoiser diffusion gradients curvature.bias"),
        code=identity.code("gradients"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.gradients"
        " --out results/{wildcards.study}/gradients/full"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Their inner products.
rule gram:
    input:
        train="results/{study}/gradients/full/train.safetensors",
        queries="results/{study}/gradients/full/queries.safetensors",
    output:
        gram="results/{study}/gram/full/gram.safetensors",
        receipt="results/{study}/gram/full/receipt.json",
    log:
        "results/{study}/logs/gram.log",
    benchmark:
        "results/{study}/logs/gram.tsv"
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec(""),
        code=identity.code("gram"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.gram"
        " --out results/{wildcards.study}/gram/full"
        " --train {input.train}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Kronecker factors of the GGN, their eigenbasis, and corrected eigenvalues.
rule curvature:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
    output:
        basis="results/{study}/curvature/full/basis.safetensors",
        eigenvalues="results/{study}/curvature/full/eigenvalues.safetensors",
        receipt="results/{study}/curvature/full/receipt.json",
    log:
        "results/{study}/logs/curvature.log",
    benchmark:
        "results/{study}/logs/curvature.tsv"
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec("seed denoiser diffusion curvature"),
        code=identity.code("curvature"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.curvature"
        " --out results/{wildcards.study}/curvature/full"
        " --model {input.model}"
        " --data {input.data}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# The gradients in that basis: a damping sweep then costs a product each.
rule rotate:
    input:
        train="results/{study}/gradients/full/train.safetensors",
        queries="results/{study}/gradients/full/queries.safetensors",
        basis="results/{study}/curvature/full/basis.safetensors",
    output:
        train="results/{study}/rotated/full/train.safetensors",
        queries="results/{study}/rotated/full/queries.safetensors",
        receipt="results/{study}/rotated/full/receipt.json",
    log:
        "results/{study}/logs/rotate.log",
    benchmark:
        "results/{study}/logs/rotate.tsv"
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec(""),
        code=identity.code("rotate"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.rotate"
        " --out results/{wildcards.study}/rotated/full"
        " --train {input.train}"
        " --queries {input.queries}"
        " --basis {input.basis}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"
