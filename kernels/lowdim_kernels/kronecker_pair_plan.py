"""How many samples of a Kronecker product with two small factors a block of the GPU holds."""

from functools import lru_cache

THREADS = 256
# A pair's samples are taken in groups that fill the threads, while shared memory stays below this.
GROUP_BYTES = 48 * 1024
MOST_IN_GROUP = 16
LARGEST_IN_PAIR = 128


@lru_cache(maxsize=256)
def pair_plan(
    outer: tuple[int, int],
    inner: tuple[int, int],
    samples: int,
    limit: int,
    unit: int,
    gap: int,
    size: int,
    gradients: bool,
) -> tuple[dict[str, int], int] | None:
    """Return constants and shared bytes of a pair; what a group is depends on one replica alone."""
    (o1, o2), (i1, i2) = outer, inner
    if max(*outer, *inner) > LARGEST_IN_PAIR:
        return None

    def space(rows: int, columns: int) -> int:
        return -(-rows // unit) * unit * (-(-columns // unit) * unit + gap)

    if gradients:
        fixed = space(o1, i1) + space(o2, i2)
        sides = [(i1, i2), (i2, i1), (o1, o2), (o2, o1), (i1, o2), (o2, i1), (i2, o1)]
    else:
        fixed = space(i1, o1) + space(i2, o2)
        sides = [(i1, i2), (i2, o1)]
    sample = sum(space(*side) for side in sides)
    group = 1
    while (
        group < MOST_IN_GROUP
        and 2 * group * o1 * i2 <= 16 * THREADS
        and 128 * group <= samples
        and (fixed + 2 * group * sample) * size <= GROUP_BYTES
    ):
        group *= 2
    numbers = fixed + group * sample
    if gradients:
        workers = THREADS // 32 if unit == 16 else THREADS
        numbers = max(
            numbers, sum(shares(o, i, unit, workers) * o * i for o, i in zip(outer, inner))
        )
    if numbers * size > limit:
        return None
    constants = {"O1": o1, "O2": o2, "I1": i1, "I2": i2, "GROUP": group}
    return constants, numbers * size


def shares(rows: int, columns: int, unit: int, workers: int) -> int:
    """Return how many workers add up one tile of a gradient."""
    down, across = (16, 8) if unit == 16 else (4, 4)
    return max(1, workers // (-(-rows // down) * -(-columns // across)))
