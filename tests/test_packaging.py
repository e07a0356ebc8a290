"""What is shipped: one version, the same dependencies everywhere, a library that stands alone."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import lowdim

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

# Where conda's name differs from the registry's, and what conda does not have.
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "snakemake": "snakemake-minimal",
    "build": "python-build",
}
NOT_IN_CONDA = {"mnist1d"}

SOURCE_TREE = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the git repository")


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert lowdim.__version__ == PROJECT["version"] == citation["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_conda_gets_the_dependencies_that_pip_gets():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    wanted = [f"python{PROJECT['requires-python']}", "pip"]
    from_pip = ["--editable ."]
    for line in [*PROJECT["dependencies"], *EXTRAS["studies"], *EXTRAS["dev"]]:
        requirement = Requirement(line)
        name, bounds = requirement.name, line.removeprefix(requirement.name)
        if name in NOT_IN_CONDA:
            from_pip.append(line)
        else:
            wanted.append(CONDA_NAMES.get(name, name) + bounds)
    assert sorted(conda) == sorted(wanted)
    assert sorted(pip["pip"]) == sorted(from_pip)


def test_constraints_lie_within_the_dependencies():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    base = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    pinned = [Requirement(line) for line in base if Requirement(line).name.lower() in pins]
    assert len(pinned) > 20
    outside = [str(r) for r in pinned if not r.specifier.contains(pins[r.name.lower()])]
    assert outside == []


def tracked() -> list[Path]:
    """Return the text files that git tracks and this file's patterns may not occur in."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    paths = [ROOT / name for name in names if name]
    binary = {".png", ".npz", ".parquet"}
    return [p for p in paths if p.is_file() and p.suffix not in binary and p != Path(__file__)]


@SOURCE_TREE
@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of one machine", r"(^|[^A-Za-z0-9_.])/(work|root|home/\w+|Users/\w+)/"),
        (
            "where packages are fetched",
            r"--(extra-)?index-url|--find-links|--trusted-host|@ https?:",
        ),
    ],
)
def test_no_tracked_file_names(what, pattern):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == [], f"{what} is named"


@SOURCE_TREE
def test_no_tracked_file_is_large():
    assert [str(path) for path in tracked() if path.stat().st_size > 512 * 1024] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from this source tree without any download."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_both_packages_with_their_types_and_sources(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"lowdim/py.typed", "lowdim_kernels/py.typed"} <= names
    for package in (ROOT / "src" / "lowdim", ROOT / "kernels" / "lowdim_kernels"):
        sources = [p for p in package.rglob("*") if p.suffix in {".py", ".cu", ".cuh", ".j2"}]
        missing = {str(p.relative_to(package.parent)) for p in sources} - names
        assert missing == set()
    assert not [name for name in names if name.startswith(("tests/", "workflow/", "config/"))]


# Only the base dependencies and what they need can be imported; the rest is as if not installed.
ALONE = """
import sys
from importlib.machinery import PathFinder
wheel, site, allowed, known = {wheel!r}, {site!r}, {allowed!r}, {known!r}

class Installed:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        absent = top in known and top not in allowed
        return None if absent else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
sys.path[:0] = [wheel, site]

import torch
from torch import nn
import lowdim_kernels
from lowdim.layers import KroneckerLinear, LowRankDiagLinear, LowRankLinear, MaskedLinear

assert lowdim_kernels.__file__.startswith(wheel), lowdim_kernels.__file__
torch.manual_seed(0)
x = torch.randn(64, 12)
y = x @ torch.randn(12, 6)
for layer in (
    KroneckerLinear(12, 12), LowRankLinear(12, 12, rank=2), LowRankDiagLinear(12, 12, rank=1),
    MaskedLinear(12, 12, density=0.5),
):
    network = nn.Sequential(layer, nn.ReLU(), nn.Linear(12, 6))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(network(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], (type(layer).__name__, losses[0], losses[-1])
import lowdim.optim
print("trained alone")
"""


def closure(names: list[str]) -> set[str]:
    """Return the distributions that some need, themselves included, in normal spelling."""
    found: set[str] = set()
    todo = [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        name = normal(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            todo += [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_layers_train_where_only_the_base_dependencies_are(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    base = closure(PROJECT["dependencies"])
    modules = packages_distributions()
    allowed = {top for top, owners in modules.items() if base & set(map(normal, owners))}
    assert "pandas" in set(modules) - allowed
    program = ALONE.format(
        wheel=str(tmp_path),
        site=str(Path(yaml.__file__).parents[1]),
        allowed=allowed | {"lowdim", "lowdim_kernels"},
        known=set(modules),
    )
    # -S leaves the .pth files aside, by which the source tree would be found.
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert alone.stdout == "trained alone\n", alone.stderr


def test_importing_the_library_is_quick_and_brings_nothing_heavy():
    program = (
        "import sys, lowdim, lowdim_kernels; print(sorted({'torch', 'numba'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr
