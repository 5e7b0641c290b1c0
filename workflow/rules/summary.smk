# What a study ends in: its reported numbers, tables and figures.


# Every reported number with its interval, its metric file and that file's receipt.
rule numbers:
    input:
        lds=methods("results/{study}/lds/{method}/lds.json"),
        arrays=methods("results/{study}/lds/{method}/lds.safetensors"),
        ceiling="results/{study}/ceiling/all/ceiling.json",
        removal="results/{study}/removal/all/removal.json",
        overestimate="results/{study}/overestimate/all/overestimate.json",
        prevalence="results/{study}/prevalence/all/prevalence.json",
        prefilter=of_prefilter("results/{study}/prefilter/all/prefilter.json"),
        counterfactual=of_section("results/{study}/counterfactual/all/counterfactual.json", "counterfactual"),
        overlap=of_section("results/{study}/overlap/all/overlap.json", "counterfactual"),
        ablation=ablation("results/{study}/ablation/all/ablation.json", "main"),
        contributors=of_section("results/{study}/contributors/all/contributors.json", "contributors"),
    output:
        numbers="results/{study}/summary/numbers/numbers.json",
        derived="results/{study}/summary/numbers/derived.json",
        receipt="results/{study}/summary/numbers/receipt.json",
    log:
        "results/{study}/logs/numbers.log",
    resources:
        **needs("numbers", 1000, 10),
    params:
        **identify("numbers", "methods evaluation.coverage evaluation.compare"),
    shell:
        "python -m attribution.steps.numbers"
        " --out results/{wildcards.study}/summary/numbers"
        " --lds {input.lds}"
        " --arrays {input.arrays}"
        " --ceiling {input.ceiling}"
        " --removal {input.removal}"
        " --overestimate {input.overestimate}"
        " --prevalence {input.prevalence}"
        " --prefilter {input.prefilter}"
        " --counterfactual {input.counterfactual}"
        " --overlap {input.overlap}"
        " --ablation {input.ablation}"
        " --contributors {input.contributors}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The tables of results, from the reported numbers, the papers' claims and the benchmarks.
rule tables:
    input:
        numbers="results/{study}/summary/numbers/numbers.json",
        claims="config/claims.yaml",
        peers="results/published/benchmarks/peers.csv",
    output:
        lds_csv="results/{study}/summary/tables/lds.csv",
        lds=in_tables("results/{study}/summary/tables/lds.md", caption="../report/lds_table.rst"),
        methods=in_tables("results/{study}/summary/tables/methods.md", caption="../report/lds_table.rst"),
        targets_csv="results/{study}/summary/tables/targets.csv",
        targets=in_tables("results/{study}/summary/tables/targets.md", caption="../report/targets_table.rst"),
        mucs_csv="results/{study}/summary/tables/mucs.csv",
        mucs=in_tables("results/{study}/summary/tables/mucs.md", caption="../report/mucs_table.rst"),
        claims_csv="results/{study}/summary/tables/claims.csv",
        claims=in_tables("results/{study}/summary/tables/claims.md", caption="../report/claims_table.rst"),
        peers=in_tables("results/{study}/summary/tables/peers.md", caption="../report/peers_table.rst"),
        receipt="results/{study}/summary/tables/receipt.json",
    log:
        "results/{study}/logs/tables.log",
    resources:
        **needs("tables", 1000, 10),
    params:
        **identify("tables", "", labels=labels),
    shell:
        "python -m attribution.steps.tables"
        " --out results/{wildcards.study}/summary/tables"
        " --numbers {input.numbers}"
        " --claims {input.claims}"
        " --peers {input.peers}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"


# The figures, PNG and SVG.
rule figures:
    input:
        lds=methods("results/{study}/lds/{method}/lds.json"),
        arrays=methods("results/{study}/lds/{method}/lds.safetensors"),
        scores=methods("results/{study}/scores/full/{method}/scores.safetensors"),
        ceiling="results/{study}/ceiling/all/ceiling.json",
        removal="results/{study}/removal/all/removal.json",
        prevalence="results/{study}/prevalence/all/prevalence.json",
        changes="results/{study}/overestimate/all/overestimate.safetensors",
        draws=of_section("results/{study}/draws/lds/lds.json", "draws_sweep"),
        queries="results/{study}/queries/all/queries.safetensors",
        train="results/{study}/data/images/train.safetensors",
        autoencoder=of_latents("results/{study}/data/images/autoencoder.safetensors"),
        outcomes="results/{study}/outcomes/crn/outcomes.safetensors",
    output:
        samples=in_figures("results/{study}/summary/figures/samples.png", caption="../report/samples.rst"),
        samples_svg="results/{study}/summary/figures/samples.svg",
        lds_by_method=in_figures(
            "results/{study}/summary/figures/lds_by_method.png", caption="../report/lds_by_method.rst"
        ),
        lds_by_method_svg="results/{study}/summary/figures/lds_by_method.svg",
        targets=in_figures("results/{study}/summary/figures/targets.png", caption="../report/targets.rst"),
        targets_svg="results/{study}/summary/figures/targets.svg",
        damping_sweep=in_figures(
            "results/{study}/summary/figures/damping_sweep.png", caption="../report/damping_sweep.rst"
        ),
        damping_sweep_svg="results/{study}/summary/figures/damping_sweep.svg",
        lds_by_draws=in_figures(
            "results/{study}/summary/figures/lds_by_draws.png", caption="../report/lds_by_draws.rst"
        ),
        lds_by_draws_svg="results/{study}/summary/figures/lds_by_draws.svg",
        top_influences=in_figures(
            "results/{study}/summary/figures/top_influences.png", caption="../report/top_influences.rst"
        ),
        top_influences_svg="results/{study}/summary/figures/top_influences.svg",
        predicted_vs_actual=in_figures(
            "results/{study}/summary/figures/predicted_vs_actual.png", caption="../report/predicted_vs_actual.rst"
        ),
        predicted_vs_actual_svg="results/{study}/summary/figures/predicted_vs_actual.svg",
        predicted_change=in_figures(
            "results/{study}/summary/figures/predicted_change.png", caption="../report/predicted_change.rst"
        ),
        predicted_change_svg="results/{study}/summary/figures/predicted_change.svg",
        prevalence=in_figures("results/{study}/summary/figures/prevalence.png", caption="../report/prevalence.rst"),
        prevalence_svg="results/{study}/summary/figures/prevalence.svg",
        retrain_without_top=in_figures(
            "results/{study}/summary/figures/retrain_without_top.png", caption="../report/retrain_without_top.rst"
        ),
        retrain_without_top_svg="results/{study}/summary/figures/retrain_without_top.svg",
        seed_control=in_figures(
            "results/{study}/summary/figures/seed_control.png", caption="../report/seed_control.rst"
        ),
        seed_control_svg="results/{study}/summary/figures/seed_control.svg",
        receipt="results/{study}/summary/figures/receipt.json",
    log:
        "results/{study}/logs/figures.log",
    resources:
        **needs("figures", 2000, 10),
    params:
        **identify("figures", "methods gradients.draws", labels=labels),
    shell:
        "python -m attribution.steps.figures"
        " --out results/{wildcards.study}/summary/figures"
        " --lds {input.lds}"
        " --arrays {input.arrays}"
        " --scores {input.scores}"
        " --ceiling {input.ceiling}"
        " --removal {input.removal}"
        " --prevalence {input.prevalence}"
        " --changes {input.changes}"
        " --draws {input.draws}"
        " --queries {input.queries}"
        " --train {input.train}"
        " --autoencoder {input.autoencoder}"
        " --outcomes {input.outcomes}"
        " --spec {params.spec:q} --code {params.code} --lock {params.lock} > {log} 2>&1"
