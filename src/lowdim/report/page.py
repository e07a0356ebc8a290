"""The page as HTML, from a template and a style sheet shipped with the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lowdim.config import RunConfig
from lowdim.report.numbers import is_number, number, p_value
from lowdim.report.sections import Section

_NUMBER_AND_PERCENT = re.compile(r"(\d) %")


def render(sections: Sequence[Section], run: RunConfig) -> str:
    """Return the whole page."""
    loader = PackageLoader("lowdim.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(number=number, p_value=p_value)
    environment.tests.update(finite=is_number)
    style = loader.get_source(environment, "report.css")[0]
    page = environment.get_template("report.html.j2").render(
        sections=sections, run=run, style=Markup(style), version=version("lowdim")
    )
    return _NUMBER_AND_PERCENT.sub("\\1\u00a0%", page)
