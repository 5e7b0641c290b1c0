# What influence is made of: gradients and curvature of a model (full, or of another seed), part by part of the examples.


# Per-example gradients of a quantity (the loss, ...), mean over many draws.
rule gradients:
    input:
        model=files("results/{study}/models/{cohort}/models.safetensors"),
        data=of_set,
        trajectories=of_trajectories,
    output:
        gradients="results/{study}/gradients/{model}/{set}/{quantity}/{part}/gradients.safetensors",
        receipt="results/{study}/gradients/{model}/{set}/{quantity}/{part}/receipt.json",
    log:
        "results/{study}/logs/gradients/{model}/{set}/{quantity}/{part}.log",
    resources:
        **needs("gradients", gpu=True),
    params:
        **identify(
            "gradients",
            "seed denoiser diffusion gradients.draws gradients.batch gradients.bits gradients.outputs curvature.bias",
            levels=levels,
        ),
    shell:
        "python -m attribution.steps.gradients"
        " --out results/{wildcards.study}/gradients/{wildcards.model}/{wildcards.set}/{wildcards.quantity}/{wildcards.part}"
        " --model {input.model}"
        " --data {input.data}"
        " --trajectories {input.trajectories}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Inner products of the queries' gradients and the training set's, projected or not.
rule gram:
    input:
        train=files("results/{study}/gradients/{model}/train/{feature}/{part}/gradients.safetensors"),
        queries="results/{study}/gradients/{model}/queries/{measurement}/all/gradients.safetensors",
    output:
        gram="results/{study}/gram/{model}/{measurement}/{feature}/{projection}/gram.safetensors",
        receipt="results/{study}/gram/{model}/{measurement}/{feature}/{projection}/receipt.json",
    log:
        "results/{study}/logs/gram/{model}/{measurement}/{feature}/{projection}.log",
    resources:
        **needs("gram", gpu=True),
    params:
        **identify("gram", "seed"),
    shell:
        "python -m attribution.steps.gram"
        " --out results/{wildcards.study}/gram/{wildcards.model}/{wildcards.measurement}/{wildcards.feature}/{wildcards.projection}"
        " --train {input.train}"
        " --queries {input.queries}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Kronecker factors of a Fisher matrix, summed over a part of the examples.
rule factors:
    input:
        model=files("results/{study}/models/{cohort}/models.safetensors"),
        data="results/{study}/data/images/train.safetensors",
    output:
        factors="results/{study}/factors/{model}/{curvature}/{part}/factors.safetensors",
        receipt="results/{study}/factors/{model}/{curvature}/{part}/receipt.json",
    log:
        "results/{study}/logs/factors/{model}/{curvature}/{part}.log",
    resources:
        **needs("factors", gpu=True),
    params:
        **identify("factors", "seed denoiser diffusion curvature.batch curvature.bias curvature.kinds.{curvature}"),
    shell:
        "python -m attribution.steps.factors"
        " --out results/{wildcards.study}/factors/{wildcards.model}/{wildcards.curvature}/{wildcards.part}"
        " --model {input.model}"
        " --data {input.data}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Their eigenbasis, from the sums of all parts.
rule basis:
    input:
        factors=files("results/{study}/factors/{model}/{curvature}/{part}/factors.safetensors"),
    output:
        basis="results/{study}/basis/{model}/{curvature}/basis.safetensors",
        receipt="results/{study}/basis/{model}/{curvature}/receipt.json",
    log:
        "results/{study}/logs/basis/{model}/{curvature}.log",
    resources:
        **needs("basis", gpu=True),
    params:
        **identify("basis", ""),
    shell:
        "python -m attribution.steps.basis"
        " --out results/{wildcards.study}/basis/{wildcards.model}/{wildcards.curvature}"
        " --factors {input.factors}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Corrected eigenvalues in that basis, summed over a part of the examples.
rule eigenvalues:
    input:
        model=files("results/{study}/models/{cohort}/models.safetensors"),
        data="results/{study}/data/images/train.safetensors",
        basis="results/{study}/basis/{model}/{curvature}/basis.safetensors",
    output:
        eigenvalues="results/{study}/eigenvalues/{model}/{curvature}/{part}/eigenvalues.safetensors",
        receipt="results/{study}/eigenvalues/{model}/{curvature}/{part}/receipt.json",
    log:
        "results/{study}/logs/eigenvalues/{model}/{curvature}/{part}.log",
    resources:
        **needs("eigenvalues", gpu=True),
    params:
        **identify("eigenvalues", "seed denoiser diffusion curvature.batch curvature.bias curvature.kinds.{curvature}"),
    shell:
        "python -m attribution.steps.eigenvalues"
        " --out results/{wildcards.study}/eigenvalues/{wildcards.model}/{wildcards.curvature}/{wildcards.part}"
        " --model {input.model}"
        " --data {input.data}"
        " --basis {input.basis}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Gradients in that basis: a damping sweep then costs a product each.
rule rotate:
    input:
        gradients="results/{study}/gradients/{model}/{set}/{quantity}/{part}/gradients.safetensors",
        basis="results/{study}/basis/{model}/{curvature}/basis.safetensors",
    output:
        gradients="results/{study}/rotated/{model}/{curvature}/{set}/{quantity}/{part}/gradients.safetensors",
        receipt="results/{study}/rotated/{model}/{curvature}/{set}/{quantity}/{part}/receipt.json",
    log:
        "results/{study}/logs/rotate/{model}/{curvature}/{set}/{quantity}/{part}.log",
    resources:
        **needs("rotate", gpu=True),
    params:
        **identify("rotate", "gradients.bits"),
    shell:
        "python -m attribution.steps.rotate"
        " --out results/{wildcards.study}/rotated/{wildcards.model}/{wildcards.curvature}/{wildcards.set}/{wildcards.quantity}/{wildcards.part}"
        " --gradients {input.gradients}"
        " --basis {input.basis}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
