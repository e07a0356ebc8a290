"""Transposes in blocks of as many rows and columns as a vector has lanes."""

from __future__ import annotations

from types import SimpleNamespace

from llvmlite import ir

from .library_control import index
from .library_emitter import Emitter


def transposed_block(e: Emitter, rows: list[ir.Value]) -> list[ir.Value]:
    """Return the transpose of lanes vectors, by pairwise exchanges."""
    lanes = e.lanes
    width = 1
    while width < lanes:
        exchanged = list(rows)
        for row in range(lanes):
            if row & width:
                continue
            low, high = rows[row], rows[row + width]
            exchanged[row] = e.shuffle(
                low, high, [k if not k & width else k - width + lanes for k in range(lanes)]
            )
            exchanged[row + width] = e.shuffle(
                low, high, [k + width if not k & width else k + lanes for k in range(lanes)]
            )
        rows = exchanged
        width *= 2
    return rows


def transpose(e: Emitter, f: SimpleNamespace, run: SimpleNamespace) -> None:
    """Emit out = source^T in blocks of lanes by lanes."""

    def row_block(i, _):
        def column_block(j, _):
            source = e.step_by(f.source, i, e.builder.mul(f.source_row, index(e.lanes)))
            source = e.step_by(source, j, e.vector_bytes)
            block = [e.load(e.step_by(source, index(k), f.source_row)) for k in range(e.lanes)]
            out = e.step_by(f.out, j, e.builder.mul(f.out_row, index(e.lanes)))
            out = e.step_by(out, i, e.vector_bytes)
            for k, value in enumerate(transposed_block(e, block)):
                e.store(value, e.step_by(out, index(k), f.out_row))

        e.loop(f.column_blocks, [], column_block)

    e.loop(f.row_blocks, [], row_block)
