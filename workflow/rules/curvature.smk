# What influence is made of: gradients and curvature of the full model.


# Per-example gradients of a quantity of the full model (its loss, ...), mean over many draws.
rule gradients:
    input:
        model="results/{study}/models/full/models.safetensors",
        data=of_set,
    output:
        gradients="results/{study}/gradients/{set}_{quantity}/gradients.safetensors",
        receipt="results/{study}/gradients/{set}_{quantity}/receipt.json",
    log:
        "results/{study}/logs/gradients/{set}_{quantity}.log",
    benchmark:
        "results/{study}/logs/gradients/{set}_{quantity}.tsv"
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec("seed data.dataset denoiser diffusion gradients curvature.bias"),
        code=identity.code("gradients"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.gradients"
        " --out results/{wildcards.study}/gradients/{wildcards.set}_{wildcards.quantity}"
        " --model {input.model}"
        " --data {input.data}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Their inner products.
rule gram:
    input:
        train="results/{study}/gradients/train_{quantity}/gradients.safetensors",
        queries="results/{study}/gradients/queries_{quantity}/gradients.safetensors",
    output:
        gram="results/{study}/gram/{quantity}/gram.safetensors",
        receipt="results/{study}/gram/{quantity}/receipt.json",
    log:
        "results/{study}/logs/gram/{quantity}.log",
    benchmark:
        "results/{study}/logs/gram/{quantity}.tsv"
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
        " --out results/{wildcards.study}/gram/{wildcards.quantity}"
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
        gradients="results/{study}/gradients/{set}_{quantity}/gradients.safetensors",
        basis="results/{study}/curvature/full/basis.safetensors",
    output:
        gradients="results/{study}/rotated/{set}_{quantity}/gradients.safetensors",
        receipt="results/{study}/rotated/{set}_{quantity}/receipt.json",
    log:
        "results/{study}/logs/rotate/{set}_{quantity}.log",
    benchmark:
        "results/{study}/logs/rotate/{set}_{quantity}.tsv"
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
        " --out results/{wildcards.study}/rotated/{wildcards.set}_{wildcards.quantity}"
        " --gradients {input.gradients}"
        " --basis {input.basis}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"
