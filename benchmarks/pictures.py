"""How many times slower than ours each peer is, drawn for every case on one thread."""

from __future__ import annotations

from pathlib import Path

OURS = "lowdim"


def draw(tables: dict[str, list[dict[str, str]]], path: Path) -> None:
    """Write the picture: a panel an operation, a line a case, a mark a peer."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from tables import cases_of

    panels = {
        name: {key: runs for key, runs in cases_of(rows).items() if key[2] == "1"}
        for name, rows in tables.items()
    }
    panels = {name: cases for name, cases in panels.items() if cases}
    if not panels:
        return
    heights = [1.4 + 0.32 * len(cases) for cases in panels.values()]
    with mpl.rc_context({"svg.hashsalt": "lowdim", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, sum(heights)), layout="constrained")
        axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
        for ax, (name, cases) in zip(axes, panels.items()):
            _panel(ax, name, cases)
        figure.savefig(path, metadata={"Date": None})


def _panel(ax, name, cases) -> None:
    labels = [f"{shape}, {passes}" for shape, passes, _ in cases]
    peers = dict.fromkeys(run for runs in cases.values() for run in runs if run != OURS)
    for number, peer in enumerate(peers):
        places = [
            (float(runs[peer]["times_slower"]), line)
            for line, runs in enumerate(cases.values())
            if peer in runs and runs[peer]["within"] == "True"
        ]
        if places:
            ax.plot(*zip(*places), "osD^vPX<>*"[number % 10], label=peer, alpha=0.8)
    for line, runs in enumerate(cases.values()):
        for bar in (float(row["bar"]) for row in runs.values() if row["bar"]):
            ax.plot([bar, bar], [line - 0.35, line + 0.35], color="black", lw=1.5)
    ax.axvline(1, color="grey", lw=0.8)
    ax.set(xscale="log", title=f"{name}: times slower than {OURS}, one thread (| bar)")
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
