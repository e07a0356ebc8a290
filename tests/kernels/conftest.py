"""Runs every test of a class that holds `cases` once for each of them."""

import pytest

FIXTURES = {"case": "cases", "edge": "edges"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, attribute in FIXTURES.items():
        cases = getattr(metafunc.cls, attribute, None)
        if fixture in metafunc.fixturenames and cases is not None:
            metafunc.parametrize(fixture, cases, ids=lambda case: case.name)
