"""The only place that writes or reads result files: atomically, with checksum and provenance."""

from lowdim.records.digests import DECIDES, code_digest, content_key
from lowdim.records.files import (
    checksum,
    damaged_files,
    read_json,
    read_table,
    remove,
    remove_damaged,
    sidecar,
    write_bytes,
    write_json,
    write_result,
    write_table,
)
from lowdim.records.layout import BlockPaths, StudyPaths, blocks, study_paths
from lowdim.records.provenance import provenance
from lowdim.records.store import ReplicaRecord, ReplicaStore

__all__ = [
    "DECIDES",
    "BlockPaths",
    "ReplicaRecord",
    "ReplicaStore",
    "StudyPaths",
    "blocks",
    "checksum",
    "code_digest",
    "content_key",
    "damaged_files",
    "provenance",
    "read_json",
    "read_table",
    "remove",
    "remove_damaged",
    "sidecar",
    "study_paths",
    "write_bytes",
    "write_json",
    "write_result",
    "write_table",
]
