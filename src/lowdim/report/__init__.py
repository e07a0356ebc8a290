"""One page on all studies, complete in itself: it works offline and on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lowdim.config import RunConfig, Study
from lowdim.records import provenance as made_by
from lowdim.records import write_result

__all__ = ["write_report"]


def write_report(run: RunConfig, studies: Sequence[Study], path: Path) -> None:
    """Write the page on what the result files of the studies say.

    A study without results stays on the page with the reason. The same files give the same bytes.
    """
    from lowdim.report.page import render
    from lowdim.report.sections import section

    sections = [section(study, run, Path(path)) for study in studies]
    page = render(sections, run).encode()
    write_result(Path(path), page, made_by("report", run))
