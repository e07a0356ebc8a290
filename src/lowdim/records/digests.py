"""Digests of what decides a result: configuration and code, comments and layout left out."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

_TRAINING = (
    "lowdim.layers",
    "lowdim.optim",
    "lowdim.data",
    "lowdim.probes",
    "lowdim.models",
    "lowdim.engine",
    "lowdim.studies.execute",
    "lowdim.studies.programs",
    "lowdim.studies.readings",
    "lowdim.studies.settling",
    "lowdim.studies.tasks",
    "lowdim_kernels",
)
_DRAWING = ("lowdim.drawing", "lowdim.records")
_SUFFIXES = {".py", ".cu", ".cuh", ".j2", ".css"}
DECIDES = {
    "replica": _TRAINING,
    "tune": (*_TRAINING, "lowdim.tune"),
    "train": (*_TRAINING, "lowdim.train"),
    "analyse": ("lowdim.analyse", "lowdim.records"),
    "figures": ("lowdim.figures", "lowdim.studies", *_DRAWING),
    "report": ("lowdim.report", *_DRAWING),
}


@cache
def code_digest(stage: str) -> str:
    """Return twelve hex digits that change when code on which a stage's result rests changes.

    Python is compared by its syntax tree without docstrings, so comments, layout and words may
    change freely; CUDA sources and templates are compared by text. The module that draws a study
    decides its figures and no replica.
    """
    digest = hashlib.sha256()
    for package in DECIDES[stage]:
        for path in _sources(package):
            digest.update(f"{package}/{path.name}".encode())
            digest.update(_essence(path, path.stat().st_mtime_ns))
    return digest.hexdigest()[:12]


def content_key(content: Any) -> str:
    """Return sixteen hex digits of a JSON-like value, equal for equal content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sources(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return [origin]
    files = (p for p in origin.parent.rglob("*") if p.suffix in _SUFFIXES)
    return sorted(p for p in files if "__pycache__" not in p.parts)


@cache
def _essence(path: Path, changed_ns: int) -> bytes:
    """Return what counts of a file as it is since then; stages share most of their files."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree).encode()


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
