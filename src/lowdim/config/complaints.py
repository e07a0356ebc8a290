"""What is wrong with a configuration, said in one line: key, what was allowed, what came."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError


def complaint(model: type[BaseModel], error: ValidationError, prefix: tuple = ()) -> str:
    """Return the foremost complaint about a value of `model`, its path after `prefix`.

    A misspelt key is unknown and the right one missing; the unknown one is named.
    """
    first, *rest = sorted(
        error.errors(include_url=False),
        key=lambda found: found["type"] != "extra_forbidden",
    )
    keys, allowed = _walk(model.model_json_schema(), first["loc"])
    key = ".".join(str(part) for part in (*prefix, *keys))
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(keys[-1]), allowed, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        said = f"unknown key {key!r}{guess} (allowed: {', '.join(sorted(allowed))})"
    elif first["type"] == "missing":
        said = f"{key} is missing"
    else:
        message = first["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
        said = f"{key}: {message[0].lower()}{message[1:]}{shown}" if key else message
    return said + (f" (and {len(rest)} more)" if rest else "")


def _walk(schema: dict[str, Any], location: tuple) -> tuple[list[int | str], list[str]]:
    """Return a path as the file spells it, and the keys that are allowed beside its end.

    pydantic puts the tag of a union into a path; the file has no such key.
    """
    definitions = schema.get("$defs", {})
    node, keys, allowed = schema, [], []
    for part in location:
        node = _followed(node, definitions)
        tags = node.get("discriminator", {}).get("mapping", {})
        if part in tags:
            node = {"$ref": tags[part]}
            continue
        keys.append(part)
        allowed = list(node.get("properties", {}))
        node = _below(node, part)
    return keys, allowed


def _followed(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference, or the one alternative that is no null, stands for."""
    while True:
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in node:
            options = [option for option in node["anyOf"] if option.get("type") != "null"]
            if len(options) != 1:
                return node
            node = options[0]
        else:
            return node


def _below(node: dict[str, Any], part: int | str) -> dict[str, Any]:
    if isinstance(part, int):
        below = node.get("items", {})
    else:
        below = node.get("properties", {}).get(part, node.get("additionalProperties", {}))
    return below if isinstance(below, dict) else {}
