"""Which register tile a product takes: the one that a small model of the core finds cheapest."""

from __future__ import annotations

from functools import lru_cache

# cycles, fitted on an AVX-512 core (benchmarks/tape.md): two multiply-adds a cycle, none faster
# than their latency allows, a share of a cycle for every load, and what a tile's ends take
MULTIPLY_ADDS = 2.0
LATENCY = 4.0
LOAD = 0.11
TILE = 20.0
STORE = 1.0
# sums over the lanes of up to four vectors
LANE_SUM = 9.0


def balanced(count: int, most: int) -> int:
    """Return the block size that cuts `count` into equal blocks of at most `most`."""
    return -(-count // -(-count // most))


@lru_cache(maxsize=4096)
def gemm_tile(
    gemm_rows: tuple[int, ...], rows: int, vectors: int, inner: int, *, ragged: bool
) -> tuple[int, int]:
    """Return rows and vectors of the cheapest tile for a product of this size.

    ragged: the columns are no whole vectors, so a second panel must overlap the first.
    """
    widest = min(len(gemm_rows), vectors - 1 if ragged and vectors > 1 else vectors)
    best, least = (1, 1), float("inf")
    for width in range(1, widest + 1):
        for height in {balanced(rows, gemm_rows[width - 1]), min(rows, gemm_rows[width - 1])}:
            cycles = product_cycles(rows, vectors, inner, height, width)
            if cycles < least:
                best, least = (height, width), cycles
    return best


def product_cycles(rows: int, vectors: int, inner: int, height: int, width: int) -> float:
    """Return the predicted cycles of a product cut into tiles of height rows by width vectors."""
    return sum(
        high * wide * tile_cycles(tile_rows, tile_vectors, inner)
        for tile_rows, high in _blocks(rows, height)
        for tile_vectors, wide in _blocks(vectors, width)
    )


def dot_cycles(rows: int, columns: int, inner: int, height: int, width: int) -> float:
    """Return the predicted cycles of a dot over `inner` vectors, cut likewise."""
    return sum(
        high * wide * (tile_cycles(tile_rows, tile_columns, inner) + LANE_SUM * tile_rows)
        for tile_rows, high in _blocks(rows, height)
        for tile_columns, wide in _blocks(columns, width)
    )


def tile_cycles(rows: int, vectors: int, inner: int) -> float:
    """Return the predicted cycles of one tile."""
    sums = rows * vectors
    each = max(sums / MULTIPLY_ADDS, LATENCY) + LOAD * (rows + vectors)
    return inner * each + TILE + STORE * sums


def _blocks(count: int, size: int) -> list[tuple[int, int]]:
    """Return (size of a block, number of such blocks)."""
    whole, rest = divmod(count, size)
    return [(size, whole)] * bool(whole) + [(rest, 1)] * bool(rest)
