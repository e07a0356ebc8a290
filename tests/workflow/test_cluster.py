"""The workflow can be handed to a Slurm cluster."""

from importlib.util import find_spec

import pytest


@pytest.mark.skipif(
    find_spec("snakemake_executor_plugin_slurm") is None, reason="extra `slurm` is not installed"
)
def test_the_slurm_profile_plans_every_stage(project):
    assert project.outdated("--profile", "profiles/slurm") == {
        "tune", "train", "analyse", "figures", "report",
    }  # fmt: skip
