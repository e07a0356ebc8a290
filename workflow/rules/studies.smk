localrules:
    analyse,
    figures,
    report,


rule analyse:
    input:
        runs=lambda w: JOBS.of_blocks(w.study, "runs"),
    output:
        summary=report(
            RESULTS + "/{study}/summary.csv",
            caption="../report/summary.rst",
            category="{study}",
        ),
        verdicts=RESULTS + "/{study}/verdicts.json",
    params:
        decided=lambda w: JOBS.decided("analyse", w.study),
    shell:
        'lowdim analyse {wildcards.study} {OPTIONS} --runs "{input.runs:q}"'
        " --summary {output.summary:q} --verdicts {output.verdicts:q}"


rule figures:
    input:
        runs=lambda w: JOBS.of_blocks(w.study, "runs"),
        trials=lambda w: JOBS.of_blocks(w.study, "trials"),
        curves=lambda w: JOBS.of_blocks(w.study, "curves"),
        summary=rules.analyse.output.summary,
        verdicts=rules.analyse.output.verdicts,
    output:
        report(
            directory(RESULTS + "/{study}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="{study}",
        ),
    params:
        decided=lambda w: JOBS.decided("figures", w.study),
    shell:
        'lowdim figures {wildcards.study} {OPTIONS} --runs "{input.runs:q}"'
        ' --trials "{input.trials:q}" --curves "{input.curves:q}"'
        " --summary {input.summary:q} --verdicts {input.verdicts:q} --folder {output:q}"


rule report:
    input:
        [
            (
                JOBS.paths(study).summary,
                JOBS.paths(study).verdicts,
                JOBS.paths(study).figures,
            )
            for study in JOBS.studies
        ],
    output:
        RESULTS + "/report.html",
    params:
        decided=JOBS.decided("report"),
    shell:
        "lowdim report {PAGE_OPTIONS} --output {output:q}"
