"""JSON schemas of the configuration, generated from the models that read it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from lowdim.config.run import RunConfig
from lowdim.config.study import Study, StudyFile


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each kind of file by the name of the file that holds it."""
    models: dict[str, type[BaseModel]] = {
        "config": RunConfig,
        "study_file": StudyFile,
        "study": Study,
    }
    return {
        f"{name}.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(),
        }
        for name, model in models.items()
    }
