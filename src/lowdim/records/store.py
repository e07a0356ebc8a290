"""Finished replicas, kept by the content that decides them, so that nothing is trained twice."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lowdim.records.files import write_bytes

_log = logging.getLogger(__name__)
_MAGIC = b"lowdim-replicas-1\n"


@dataclass
class ReplicaRecord:
    """What is kept of one finished replica.

    `values` are scalars (metrics, hyperparameters, engine, seconds); `curves` maps
    (split, metric) to an array (points,) or (points, indices), `times` the same pair to the
    (points, 2) epochs and steps at which it was read.
    """

    key: str
    values: dict[str, Any]
    curves: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    times: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)


class ReplicaStore:
    """A folder of shards, each the replicas that one engine call finished.

    A shard is written whole under a name made of its keys and carries a checksum: a reader sees
    all of it or nothing, two writers of one shard write the same, and a damaged shard is dropped
    with a warning and trained again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._records: dict[str, ReplicaRecord] = {}
        for path in sorted(self.folder.glob("*.shard")):
            for record in self._load(path):
                self._records[record.key] = record

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> ReplicaRecord:
        return self._records[key]

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return those of the keys that are not kept yet, in order."""
        return [key for key in keys if key not in self._records]

    def add(self, records: Iterable[ReplicaRecord]) -> None:
        """Keep finished replicas, on disk before this returns."""
        records = list(records)
        if not records:
            return
        payload = _pack(records)
        name = hashlib.sha256("".join(sorted(r.key for r in records)).encode()).hexdigest()[:20]
        mark = hashlib.sha256(payload).digest()
        write_bytes(self.folder / f"{name}.shard", _MAGIC + mark + payload)
        self._records.update((record.key, record) for record in records)

    def _load(self, path: Path) -> list[ReplicaRecord]:
        raw = path.read_bytes()
        mark, payload = raw[len(_MAGIC) : len(_MAGIC) + 32], raw[len(_MAGIC) + 32 :]
        if raw[: len(_MAGIC)] != _MAGIC or hashlib.sha256(payload).digest() != mark:
            _log.warning("%s is damaged; its replicas are trained again", path)
            path.unlink(missing_ok=True)
            return []
        return _unpack(payload)


def _pack(records: list[ReplicaRecord]) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    heads = []
    for number, record in enumerate(records):
        names = []
        for place, (pair, values) in enumerate(record.curves.items()):
            names.append(list(pair))
            arrays[f"{number}.{place}.v"] = np.asarray(values)
            arrays[f"{number}.{place}.t"] = np.asarray(record.times[pair])
        heads.append({"key": record.key, "values": record.values, "curves": names})
    arrays["heads"] = np.frombuffer(json.dumps(heads).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _unpack(payload: bytes) -> list[ReplicaRecord]:
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        records = []
        for number, head in enumerate(json.loads(arrays["heads"].tobytes())):
            record = ReplicaRecord(head["key"], head["values"])
            for place, name in enumerate(head["curves"]):
                pair = (name[0], name[1])
                record.curves[pair] = arrays[f"{number}.{place}.v"]
                record.times[pair] = arrays[f"{number}.{place}.t"]
            records.append(record)
    return records
