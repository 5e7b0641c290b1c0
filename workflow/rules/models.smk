# Data, subsets, trained denoisers, queries, and what each model measures on each query.


# Draw the training set and the held-out pool from the dataset that dvc.lock names.
rule dataset:
    output:
        train="results/{study}/data/images/train.safetensors",
        heldout="results/{study}/data/images/heldout.safetensors",
        receipt="results/{study}/data/images/receipt.json",
    log:
        "results/{study}/logs/dataset.log",
    wildcard_constraints:
        study=of_source("dataset"),
    resources:
        **needs("dataset", 1000, 10),
    params:
        **identify("dataset", "seed data.dataset data.train", dvc_md5=dataset_md5),
    shell:
        "python -m attribution.steps.dataset"
        " --out results/{wildcards.study}/data/images"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The same from a plain folder or archive of images; a file that is changed, added or removed there runs it again.
rule image_folder:
    output:
        train="results/{study}/data/images/train.safetensors",
        heldout="results/{study}/data/images/heldout.safetensors",
        receipt="results/{study}/data/images/receipt.json",
    log:
        "results/{study}/logs/image_folder.log",
    wildcard_constraints:
        study=of_source("folder"),
    resources:
        **needs("image_folder"),
    params:
        **identify(
            "image_folder",
            "seed data.folder data.train data.mode? data.size?",
            images_sha256=images_sha256,
        ),
    shell:
        "python -m attribution.steps.image_folder"
        " --out results/{wildcards.study}/data/images"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The same for studies of latents: images are encoded once, by the autoencoder that dvc.lock names.
rule latents:
    output:
        train="results/{study}/data/images/train.safetensors",
        heldout="results/{study}/data/images/heldout.safetensors",
        autoencoder="results/{study}/data/images/autoencoder.safetensors",
        receipt="results/{study}/data/images/receipt.json",
    log:
        "results/{study}/logs/latents.log",
    wildcard_constraints:
        study=of_source("autoencoder"),
    resources:
        **needs("latents", gpu=True),
    params:
        **identify(
            "latents",
            "seed data.dataset data.train data.autoencoder",
            dvc_md5=dataset_md5,
            autoencoder_md5=autoencoder_md5,
        ),
    shell:
        "python -m attribution.steps.latents"
        " --out results/{wildcards.study}/data/images"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Draw the subsets of one cohort, each from its own stream.
rule design:
    output:
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
        receipt="results/{study}/design/{cohort}/receipt.json",
    log:
        "results/{study}/logs/design/{cohort}.log",
    wildcard_constraints:
        cohort=paths.DESIGNED,
    resources:
        **needs("design", 1000, 10),
    params:
        **identify("design", "seed data.train design.fraction"),
    shell:
        "python -m attribution.steps.design"
        " --out results/{wildcards.study}/design/{wildcards.cohort}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Train a cohort of denoisers in one batched computation.
rule train:
    input:
        data=of_images,
        subsets="results/{study}/design/{cohort}/subsets.safetensors",
    output:
        models="results/{study}/models/{cohort}/models.safetensors",
        curve="results/{study}/models/{cohort}/log.jsonl",
        receipt="results/{study}/models/{cohort}/receipt.json",
    log:
        "results/{study}/logs/train/{cohort}.log",
    wildcard_constraints:
        cohort=paths.TRAINED,
    resources:
        **needs("train", gpu=True),
    params:
        **identify("train", "seed denoiser diffusion training"),
    shell:
        "python -m attribution.steps.train"
        " --out results/{wildcards.study}/models/{wildcards.cohort}"
        " --data {input.data}"
        " --subsets {input.subsets}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Sample from the full model, and pick held-out and training examples.
rule queries:
    input:
        model="results/{study}/models/full/models.safetensors",
        train="results/{study}/data/images/train.safetensors",
        heldout="results/{study}/data/images/heldout.safetensors",
    output:
        queries="results/{study}/queries/all/queries.safetensors",
        trajectories="results/{study}/queries/all/trajectories.safetensors",
        receipt="results/{study}/queries/all/receipt.json",
    log:
        "results/{study}/logs/queries.log",
    resources:
        **needs("queries", gpu=True),
    params:
        **identify("queries", "seed denoiser diffusion sampling queries"),
    shell:
        "python -m attribution.steps.queries"
        " --out results/{wildcards.study}/queries/all"
        " --model {input.model}"
        " --train {input.train}"
        " --heldout {input.heldout}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# Measure every model of a cohort on every query, with the same keyed noise.
rule measure:
    input:
        models="results/{study}/models/{cohort}/models.safetensors",
        queries="results/{study}/queries/all/queries.safetensors",
        trajectories=of_measured,
    output:
        losses="results/{study}/losses/{cohort}/losses.safetensors",
        receipt="results/{study}/losses/{cohort}/receipt.json",
    log:
        "results/{study}/logs/measure/{cohort}.log",
    resources:
        **needs("measure", gpu=True),
    params:
        **identify("measure", "seed denoiser diffusion measurement", levels=levels),
    shell:
        "python -m attribution.steps.measure"
        " --out results/{wildcards.study}/losses/{wildcards.cohort}"
        " --models {input.models}"
        " --queries {input.queries}"
        " --trajectories {input.trajectories}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
