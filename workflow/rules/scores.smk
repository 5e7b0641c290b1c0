# scores[q, n] of every method: larger = removing n hurts q more.


# Methods that compare images, and the random control.
rule score_similarity:
    input:
        queries="results/{study}/queries/all/queries.safetensors",
        train="results/{study}/data/images/train.safetensors",
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_similarity/{model}/{method}.log",
    wildcard_constraints:
        method=reading("images"),
    resources:
        **needs("score_similarity", 2000, 10),
    params:
        **identify("score_similarity", "seed methods.{method} -methods.{method}.damping"),
    shell:
        "python -m attribution.steps.score_similarity"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Methods that need the inner products of gradients.
rule score_gradients:
    input:
        gram=files("results/{study}/gram/{model}/{measurement}/{feature}/{projection}/gram.safetensors"),
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_gradients/{model}/{method}.log",
    wildcard_constraints:
        method=reading("gram"),
    resources:
        **needs("score_gradients", 2000, 10),
    params:
        **identify("score_gradients", "methods.{method} -methods.{method}.damping"),
    shell:
        "python -m attribution.steps.score_gradients"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --gram {input.gram}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Methods that precondition gradients by curvature, part by part of the training set.
rule score_influence:
    input:
        queries=files("results/{study}/rotated/{model}/{curvature}/queries/{measurement}/all/gradients.safetensors"),
        train=files("results/{study}/rotated/{model}/{curvature}/train/loss/{part}/gradients.safetensors"),
        basis=files("results/{study}/basis/{model}/{curvature}/basis.safetensors"),
        eigenvalues=files("results/{study}/eigenvalues/{model}/{curvature}/{part}/eigenvalues.safetensors"),
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_influence/{model}/{method}.log",
    wildcard_constraints:
        method=reading("eigenbasis"),
    resources:
        **needs("score_influence", gpu=True),
    params:
        **identify("score_influence", "methods.{method} -methods.{method}.damping"),
    shell:
        "python -m attribution.steps.score_influence"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --basis {input.basis}"
        " --eigenvalues {input.eigenvalues}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Methods whose curvature needs no eigenbasis: its diagonal, the GGN itself, the GGN of sampled rows.
rule score_curvature:
    input:
        model=files("results/{study}/models/{cohort}/models.safetensors"),
        data="results/{study}/data/images/train.safetensors",
        queries=files("results/{study}/gradients/{model}/queries/{measurement}/all/gradients.safetensors"),
        train=files("results/{study}/gradients/{model}/train/loss/{part}/gradients.safetensors"),
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_curvature/{model}/{method}.log",
    wildcard_constraints:
        method=reading("gradients"),
    resources:
        **needs("score_curvature", gpu=True),
    params:
        **identify(
            "score_curvature",
            "seed denoiser diffusion curvature.batch curvature.bias methods.{method} -methods.{method}.damping",
        ),
    shell:
        "python -m attribution.steps.score_curvature"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Methods that solve with the exact Gauss-Newton matrix, by an iteration over fresh rows of the training set.
rule score_solve:
    input:
        model=files("results/{study}/models/{cohort}/models.safetensors"),
        data="results/{study}/data/images/train.safetensors",
        queries=files("results/{study}/gradients/{model}/queries/{measurement}/all/gradients.safetensors"),
        train=files("results/{study}/gradients/{model}/train/loss/{part}/gradients.safetensors"),
        basis=of_preconditioner("results/{study}/basis/{model}/{curvature}/basis.safetensors"),
        eigenvalues=of_preconditioner("results/{study}/eigenvalues/{model}/{curvature}/{part}/eigenvalues.safetensors"),
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_solve/{model}/{method}.log",
    wildcard_constraints:
        method=reading("model"),
    resources:
        **needs("score_solve", gpu=True),
    params:
        **identify(
            "score_solve",
            "seed denoiser diffusion training.learning_rate training.weight_decay curvature.bias methods.{method} -methods.{method}.damping",
        ),
    shell:
        "python -m attribution.steps.score_solve"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --basis {input.basis}"
        " --eigenvalues {input.eigenvalues}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The mean over models of other seeds of a method's scores.
rule score_ensemble:
    input:
        scores=of_ensemble("results/{study}/scores/{model}/{method}/scores.safetensors"),
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_ensemble/{model}/{method}.log",
    wildcard_constraints:
        method=reading("seeds"),
    resources:
        **needs("score_ensemble", 2000, 10),
    params:
        **identify("score_ensemble", ""),
    shell:
        "python -m attribution.steps.score_ensemble"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --scores {input.scores}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Several methods together: the mean of their ranks, or a sum fitted to half of the retrained models.
rule score_combined:
    input:
        scores=of_members("results/{study}/scores/full/{method}/scores.safetensors"),
        queries="results/{study}/queries/all/queries.safetensors",
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
    output:
        scores="results/{study}/scores/{model}/{method}/scores.safetensors",
        receipt="results/{study}/scores/{model}/{method}/receipt.json",
    log:
        "results/{study}/logs/score_combined/{model}/{method}.log",
    wildcard_constraints:
        model="full",
        method=reading("methods"),
    resources:
        **needs("score_combined", 2000, 10),
    params:
        **identify("score_combined", "seed methods.{method} -methods.{method}.damping"),
    shell:
        "python -m attribution.steps.score_combined"
        " --out results/{wildcards.study}/scores/{wildcards.model}/{wildcards.method}"
        " --scores {input.scores}"
        " --queries {input.queries}"
        " --outcomes {input.outcomes}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Gradient dot, TRAK and EK-FAC from few draws.
rule sweep_draws:
    input:
        model="results/{study}/models/full/models.safetensors",
        data="results/{study}/data/images/train.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        basis=files("results/{study}/basis/full/{curvature}/basis.safetensors"),
        eigenvalues=files("results/{study}/eigenvalues/full/{curvature}/{part}/eigenvalues.safetensors"),
    output:
        scores="results/{study}/draws/scores/scores.safetensors",
        receipt="results/{study}/draws/scores/receipt.json",
    log:
        "results/{study}/logs/sweep_draws.log",
    resources:
        **needs("sweep_draws", gpu=True),
    params:
        **identify(
            "sweep_draws",
            "seed denoiser diffusion gradients.batch curvature.bias draws_sweep methods.trak.damping methods.ekfac.damping",
        ),
    shell:
        "python -m attribution.steps.sweep_draws"
        " --out results/{wildcards.study}/draws/scores"
        " --model {input.model}"
        " --data {input.data}"
        " --queries {input.queries}"
        " --basis {input.basis}"
        " --eigenvalues {input.eigenvalues}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
