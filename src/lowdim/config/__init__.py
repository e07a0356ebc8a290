"""Configuration: YAML files read into models that refuse what they do not know."""

from lowdim.config.errors import UserError
from lowdim.config.load import load_run, load_study, study_names
from lowdim.config.run import RunConfig
from lowdim.config.schema import json_schemas
from lowdim.config.study import ArmConfig, Contrast, Hypothesis, Study

__all__ = [
    "ArmConfig",
    "Contrast",
    "Hypothesis",
    "RunConfig",
    "Study",
    "UserError",
    "json_schemas",
    "load_run",
    "load_study",
    "study_names",
]
