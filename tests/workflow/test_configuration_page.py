"""The configuration's page explains what there is to configure."""

import re
from pathlib import Path

import pytest

from lowdim.config import json_schemas

ROOT = Path(__file__).resolve().parents[2]


def keys(schema: dict) -> set[str]:
    models = [schema, *schema.get("$defs", {}).values()]
    return {key for model in models for key in model.get("properties", {})}


def choices(schema: dict) -> set[str]:
    """Return the names by which data, models, layers, optimisers and probes are chosen."""
    models = schema.get("$defs", {}).values()
    tags = (
        model.get("properties", {}).get(tag, {}) for model in models for tag in ("name", "kind")
    )
    return {tag["const"] for tag in tags if "const" in tag}


@pytest.mark.parametrize("name", sorted(json_schemas()))
def test_every_key_and_choice_of_the_schemas_is_explained(name):
    schema = json_schemas()[name]
    page = (ROOT / "config" / "README.md").read_text()
    explained = {
        word for span in re.findall(r"`([^`]+)`", page) for word in re.findall(r"\w+", span)
    }
    assert keys(schema) | choices(schema) <= explained
