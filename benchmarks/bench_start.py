"""CPU time of the fused engine's start: compiling its library, loading it, a new structure.

    python benchmarks/bench_start.py [--rounds 7]

Every round is a fresh process. The library is compiled into an empty cache folder, then loaded
from it; then the programs of one network after another are made, each with sizes that no program
had before: its records, layout and bounds checks, training and evaluation together, as a replica
of a new structure needs them. Imports are timed apart. Writes results/engine_start.csv.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reporting import write_results

# seconds
AT_MOST = {"compiled": 1.0, "from the cache": 0.02}
AT_MOST_STRUCTURE = 1e-3
SIZES = range(41, 61)


def started(folder: Path) -> dict[str, float]:
    """Return CPU seconds of the imports and of loading the library, compiled or not."""
    began = time.process_time()
    import llvmlite.binding  # noqa: F401
    import numpy as np  # noqa: F401

    from lowdim_kernels.tape.library import load_library

    imported = time.process_time()
    load_library(folder=folder)
    return {"imports": imported - began, "seconds": time.process_time() - imported}


def structures() -> dict[str, float]:
    """Return the median CPU seconds of the programs of a new structure, by kind of layer."""
    import torch

    from lowdim.bench import CASES, Case
    from lowdim.engine import Program, Replica
    from lowdim.engine.seeds import built
    from lowdim.engine.tape_program import compiled

    torch.set_num_threads(1)
    found = {}
    for kind, case in CASES.items():
        times = []
        for hidden in SIZES:
            layers = tuple(
                (name, {k: v for k, v in options.items() if k != "factors"})
                for name, options in case.layers
            )
            sizes = (case.sizes[0], 2 * hidden, *case.sizes[2:])
            own = Case(sizes, layers, case.batch, case.rank)
            program = Program(own.build, own.rule, epochs=1, batch_size=own.batch)
            replica = Replica(0, {"learning_rate": 1e-3, "rank": float(own.rank or 0)})
            task, module = own.task(), built(own.build, 0)
            began = time.process_time()
            compiled(program, task, module, replica, torch.float32)
            times.append(time.process_time() - began)
        found[kind] = statistics.median(times[1:])
    return found


def row(case: str, values: list[float], at_most: float, **more: Any) -> dict[str, Any]:
    return {
        "case": case,
        "ms": round(1e3 * statistics.median(values), 2),
        "least": round(1e3 * min(values), 2),
        "most": round(1e3 * max(values), 2),
        "at_most_ms": 1e3 * at_most,
        **more,
    }


def in_a_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--start", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--structures", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.start or chosen.structures:
        print(json.dumps(started(Path(chosen.start)) if chosen.start else structures()))
        return
    starts: dict[str, list[dict[str, float]]] = {name: [] for name in AT_MOST}
    made = []
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for own in starts.values():
                own.append(in_a_process("--start", folder))
        made.append(in_a_process("--structures"))
    rows = []
    for name, own in starts.items():
        imports = round(1e3 * statistics.median(one["imports"] for one in own), 1)
        seconds = [one["seconds"] for one in own]
        rows.append(row(f"library {name}", seconds, AT_MOST[name], ms_of_imports=imports))
    for kind in made[0]:
        rows.append(row(f"structure {kind}", [one[kind] for one in made], AT_MOST_STRUCTURE))
    for one in rows:
        print(*one.values(), sep="\t")
    write_results("engine_start", rows)


if __name__ == "__main__":
    main()
