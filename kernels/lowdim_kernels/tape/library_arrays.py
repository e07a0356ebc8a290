"""Names of the arrays that a run is given, in the order in which the library expects them."""

from __future__ import annotations

# addresses, and the bytes of a row of the schedule
CONTEXT = (
    *("samples", "targets", "order", "schedule", "outputs"),
    "schedule_row",
)
# one row of these a step
OUTPUTS = ("loss", "gradient_square", "gradient_product", "correct")
# the library's only visible function
ENTRY = "run_tape"
