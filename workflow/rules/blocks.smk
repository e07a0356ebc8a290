rule tune:
    output:
        trials=RESULTS + "/{study}/{block}/trials.csv",
        tuned=RESULTS + "/{study}/{block}/tuned.json",
    log:
        RESULTS + "/{study}/{block}/logs/tune.log",
    threads: JOBS.run.threads
    params:
        decided=lambda w: JOBS.decided("tune", w.study, w.block),
    shell:
        "lowdim tune {wildcards.study} --block {wildcards.block} {OPTIONS} --set threads={threads}"
        " --trials {output.trials:q} --tuned {output.tuned:q} --log {log:q}"


rule train:
    input:
        tuned=lambda w: JOBS.tuned(w.study, w.block),
    output:
        runs=RESULTS + "/{study}/{block}/runs.csv",
        curves=RESULTS + "/{study}/{block}/curves.parquet",
    log:
        RESULTS + "/{study}/{block}/logs/train.log",
    threads: JOBS.run.threads
    params:
        decided=lambda w: JOBS.decided("train", w.study, w.block),
    shell:
        "lowdim train {wildcards.study} --block {wildcards.block} {OPTIONS} --set threads={threads}"
        " --runs {output.runs:q} --curves {output.curves:q} --log {log:q}"
