# scores[q, n] of every method: larger = removing n hurts q more.


# Methods that compare images, and the random control.
rule score_similarity:
    input:
        queries="results/{study}/queries/all/queries.safetensors",
        train="results/{study}/data/images/train.safetensors",
    output:
        scores="results/{study}/scores/{method}/scores.safetensors",
        receipt="results/{study}/scores/{method}/receipt.json",
    log:
        "results/{study}/logs/score_similarity/{method}.log",
    benchmark:
        "results/{study}/logs/score_similarity/{method}.tsv"
    wildcard_constraints:
        method="random|pixel_cosine|pixel_l2",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        spec=spec("seed"),
        code=identity.code("score_similarity"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.score_similarity"
        " --out results/{wildcards.study}/scores/{wildcards.method}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Methods that need the inner products of gradients.
rule score_gradients:
    input:
        gram=of_choice("results/{study}/gram/{quantity}/gram.safetensors", "feature"),
    output:
        scores="results/{study}/scores/{method}/scores.safetensors",
        receipt="results/{study}/scores/{method}/receipt.json",
    log:
        "results/{study}/logs/score_gradients/{method}.log",
    benchmark:
        "results/{study}/logs/score_gradients/{method}.tsv"
    wildcard_constraints:
        method="gradient_dot|gradient_cosine|d?trak(_[a-z0-9]+)*|relative_if|renormalised_if",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        spec=spec("methods.{method}"),
        code=identity.code("score_gradients"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.score_gradients"
        " --out results/{wildcards.study}/scores/{wildcards.method}"
        " --gram {input.gram}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Methods that precondition gradients by curvature.
rule score_influence:
    input:
        queries=of_choice("results/{study}/rotated/queries_{quantity}/gradients.safetensors", "measurement"),
        train="results/{study}/rotated/train_loss/gradients.safetensors",
        basis="results/{study}/curvature/full/basis.safetensors",
        eigenvalues="results/{study}/curvature/full/eigenvalues.safetensors",
    output:
        scores="results/{study}/scores/{method}/scores.safetensors",
        receipt="results/{study}/scores/{method}/receipt.json",
    log:
        "results/{study}/logs/score_influence/{method}.log",
    benchmark:
        "results/{study}/logs/score_influence/{method}.tsv"
    wildcard_constraints:
        method="e?kfac(_[a-z0-9]+)*",
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec("methods.{method}"),
        code=identity.code("score_influence"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.score_influence"
        " --out results/{wildcards.study}/scores/{wildcards.method}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --basis {input.basis}"
        " --eigenvalues {input.eigenvalues}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Methods whose curvature needs no eigenbasis: its diagonal, or the GGN of sampled rows.
rule score_curvature:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries=of_choice("results/{study}/gradients/queries_{quantity}/gradients.safetensors", "measurement"),
        train="results/{study}/gradients/train_loss/gradients.safetensors",
    output:
        scores="results/{study}/scores/{method}/scores.safetensors",
        receipt="results/{study}/scores/{method}/receipt.json",
    log:
        "results/{study}/logs/score_curvature/{method}.log",
    benchmark:
        "results/{study}/logs/score_curvature/{method}.tsv"
    wildcard_constraints:
        method="diagonal|exact_ggn",
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec("seed denoiser diffusion curvature.fisher curvature.batch curvature.bias methods.{method}"),
        code=identity.code("score_curvature"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.score_curvature"
        " --out results/{wildcards.study}/scores/{wildcards.method}"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"


# Gradient dot, TRAK and EK-FAC from few draws.
rule sweep_draws:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        basis="results/{study}/curvature/full/basis.safetensors",
        eigenvalues="results/{study}/curvature/full/eigenvalues.safetensors",
    output:
        scores="results/{study}/draws/scores/scores.safetensors",
        receipt="results/{study}/draws/scores/receipt.json",
    log:
        "results/{study}/logs/sweep_draws.log",
    benchmark:
        "results/{study}/logs/sweep_draws.tsv"
    threads: 1
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    params:
        spec=spec(
            "seed denoiser diffusion gradients.batch curvature.bias draws_sweep methods.trak.damping methods.ekfac.damping"
        ),
        code=identity.code("sweep_draws"),
        lock=LOCK,
    shell:
        "python -m attribution.steps.sweep_draws"
        " --out results/{wildcards.study}/draws/scores"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --basis {input.basis}"
        " --eigenvalues {input.eigenvalues}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock}"
        " > {log} 2>&1"
