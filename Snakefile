# What `make run` runs; `snakemake --cores all` does the same. Rules are the same for every study.
from snakemake.utils import min_version, validate

from lowdim.cli.options import config_file

min_version("9.5")


configfile: config_file()


validate(config, "workflow/schemas/config.schema.json", set_default=False)


include: "workflow/rules/common.smk"
include: "workflow/rules/blocks.smk"
include: "workflow/rules/studies.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        JOBS.everything(),
