"""What a record of a program holds, in the order in which the library reads it."""

from enum import IntEnum

OPERANDS = ("a", "b", "c")
# where an operand is: an entry of the call's addresses, and bytes added to it
PLACE = ("base", "offset", "per_replica", "per_group")
FIELDS = (
    "operation",
    *(f"{operand}_{part}" for operand in OPERANDS for part in PLACE),
    *("a_row", "a_column", "a_step", "b_row", "b_step", "c_row", "c_step"),
    *("rows", "columns", "depth", "add", "count", "together"),
)
# before the records: how many replicas, records once a replica, records a group, whole groups,
# and records of the last group, which has fewer rows
HEADER = ("replicas", "first", "body", "whole", "tail")


class Kind(IntEnum):
    """What the library does for a record."""

    MULTIPLY = 0
    TRANSPOSE = 1
    PACK = 2
    ZERO = 3
