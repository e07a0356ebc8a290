"""Runs every test of a class that holds `cases` once for each of them, or for each backend."""

import pytest

FIXTURES = {"case": "cases", "edge": "edges", "backend": "backends"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, attribute in FIXTURES.items():
        cases = getattr(metafunc.cls, attribute, None)
        if fixture in metafunc.fixturenames and cases is not None:
            metafunc.parametrize(fixture, cases, ids=lambda c: getattr(c, "name", c))
