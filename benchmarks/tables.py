"""The tables of all operations as one Markdown page with a picture, from the CSV files alone."""

from __future__ import annotations

import csv
from pathlib import Path

from reporting import FOLDER

OURS, DENSE = "lowdim", "dense GEMM"
CLOCKS = {"0": "GPU", "1": "CPU"}
Row = dict[str, str]


def read_results(path: Path) -> tuple[dict[str, str], list[Row]]:
    """Return the circumstances and the rows of a results file."""
    lines = path.read_text().splitlines()
    notes = [line[2:].split(": ", 1) for line in lines if line.startswith("# ")]
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return dict(notes), rows


def write_overview(folder: Path = FOLDER) -> None:
    """Write kernels.md and kernels.svg from the results files that the harness wrote."""
    from pictures import draw

    found = {path.stem: read_results(path) for path in sorted(folder.glob("*.csv"))}
    found = {name: (n, rows) for name, (n, rows) in found.items() if "times_slower" in rows[0]}
    found = {name: (n, rows) for name, (n, rows) in found.items() if "passes" in rows[0]}
    parts = [
        "# Kernels against what one would pick instead",
        "A cell of a peer is how many times slower than ours it is (median over rounds of the "
        "ratio), its milliseconds and its peak memory in MiB; **bold** where it is faster than "
        "ours, struck out where its error is beyond what is allowed. `CPU` is one thread's CPU "
        "time, `wall` all threads' time on the clock, `GPU` the clock once it has finished. The "
        "floor is flops and bytes over what the "
        "machine was measured to do; ours reaches that share of it. A bar is held against the "
        "fastest of its peers. A method with settings runs at the quickest that is close enough.",
        "![times slower than ours](kernels.svg)",
    ]
    for name, (notes, rows) in found.items():
        parts.append(f"## {name}\n\n{_table(rows)}")
        parts += _where_dense_is_fastest(rows)
        parts.append("\n".join(f"* {key}: {value}" for key, value in notes.items()))
    (folder / "kernels.md").write_text("\n\n".join(parts) + "\n")
    draw({name: rows for name, (_, rows) in found.items()}, folder / "kernels.svg")


def cases_of(rows: list[Row]) -> dict[tuple[str, str, str], dict[str, Row]]:
    """Return the rows by (shape, passes, threads), then by run."""
    cases: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        key = (row["shape"], row["passes"], row["threads"])
        cases.setdefault(key, {})[row["run"]] = row
    return cases


def _table(rows: list[Row]) -> str:
    peers = [run for run in dict.fromkeys(row["run"] for row in rows) if run != OURS]
    header = ["shape", "pass", "time", "floor ms", f"{OURS} ms (range)", "MiB", "of floor", "bar"]
    lines = [header + peers, ["---"] * (len(header) + len(peers))]
    for (shape, passes, threads), runs in cases_of(rows).items():
        ours = runs[OURS]
        share = float(ours["floor_ms"]) / float(ours["ms"])
        spread = f"{_short(ours['least'])} to {_short(ours['most'])}{_setting(ours)}"
        line = [
            shape, passes, CLOCKS.get(threads, f"wall, {threads}"), ours["floor_ms"],
            f"{_short(ours['ms'])} ({spread})",
            _short(ours["peak_mib"]), f"{100 * share:.0f} %", _bars(runs),
        ]  # fmt: skip
        lines.append(line + [_cell(runs.get(peer)) for peer in peers])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _where_dense_is_fastest(rows: list[Row]) -> list[str]:
    """Return the sentence that names the cases of which a plain dense product takes least."""
    found = []
    for (shape, passes, threads), runs in cases_of(rows).items():
        others = [float(row["times_slower"]) for run, row in runs.items() if run != DENSE]
        if DENSE in runs and float(runs[DENSE]["times_slower"]) < min(others):
            found.append(f"{shape}, {passes}" + ("" if threads == "1" else " on all threads"))
    if not found:
        return []
    return [f"A plain dense product is simply fastest at {'; '.join(found)}."]


def _setting(row: Row) -> str:
    return f"; {row['setting']}" if row.get("setting") else ""


def _bars(runs: dict[str, Row]) -> str:
    held = [row for row in runs.values() if row["bar"]]
    said = [
        f"{row['bar']}x: {row['times_slower']}x {'met' if row['met'] == 'True' else '**missed**'}"
        for row in held
    ]
    return "; ".join(said)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    ratio = f"{row['times_slower']}x"
    if float(row["times_slower"]) < 1:
        ratio = f"**{ratio}**"
    said = f"{ratio} ({_short(row['ms'])}, {_short(row['peak_mib'])}{_setting(row)})"
    return said if row["within"] == "True" else f"~~{said}~~"


def _short(number: str) -> str:
    return f"{float(number):.3g}"
