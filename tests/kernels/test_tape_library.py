"""The library is compiled once, cached safely, and gives right results with every set of tiles."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels.tape_networks import NETWORKS, random_start
from kernels.tolerances import RELATIVE
from lowdim_kernels.tape import library, library_cache
from lowdim_kernels.tape.library_target import Target, choose_target, host_target
from lowdim_kernels.tape.schedules import adam_schedule

START = """
import sys
from pathlib import Path
from lowdim_kernels.tape.library import load_library
found = load_library(folder=Path(sys.argv[1]))
print(found.from_cache, "torch" in sys.modules, "numba" in sys.modules)
"""


@pytest.fixture(scope="module")
def payload() -> bytes:
    return library.compile_object(host_target("float32"))


def loaded(folder: Path) -> library.Library:
    """Load as a fresh process would."""
    library._LOADED.clear()
    return library.load_library(folder=folder)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, payload: bytes) -> list[Target]:
    """Count compilations, and make them quick."""
    done: list[Target] = []

    def compile_object(target: Target) -> bytes:
        done.append(target)
        return payload

    monkeypatch.setattr(library, "compile_object", compile_object)
    monkeypatch.setattr(library, "_LOADED", {})
    return done


def test_the_second_start_compiles_nothing(tmp_path: Path, compilations: list) -> None:
    assert not loaded(tmp_path).from_cache
    assert loaded(tmp_path).from_cache
    assert len(compilations) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "short"])
def test_a_damaged_entry_is_rebuilt_and_said(
    tmp_path: Path, compilations: list, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    loaded(tmp_path)
    entry = next(tmp_path.iterdir())
    whole = entry.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    contents = {"truncated": whole[:-7], "flipped": flipped, "empty": b"", "short": whole[:20]}
    entry.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING):
        assert not loaded(tmp_path).from_cache
    assert len(caplog.records) == 1
    assert "damaged" in caplog.text
    assert entry.read_bytes() == whole
    assert loaded(tmp_path).from_cache


def test_a_cache_that_cannot_be_written_means_memory_and_one_line(
    tmp_path: Path, compilations: list, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert not loaded(blocked).from_cache
    assert len(caplog.records) == 1
    assert library_cache.CACHE_VARIABLE in caplog.text
    assert blocked.read_text() == "no folder"


def test_processes_that_start_together_leave_one_whole_entry(tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [start.communicate(timeout=120)[0].split() for start in starts]
    assert all(start.returncode == 0 for start in starts)
    assert [words[1:] for words in outputs] == [["False", "False"]] * 2
    assert [path.suffix for path in tmp_path.iterdir()] == [".bin"]
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert third.stdout.split()[0] == "True"


def test_the_key_follows_tiles_cpu_and_element() -> None:
    target = host_target("float32")
    changes = [
        {"cpu": "other"},
        {"features": target.features + ",+other"},
        {"gemm_rows": (1,)},
        {"element": "float64"},
    ]
    keys = {library_cache.cache_key(Target(**(vars(target) | change))) for change in changes}
    keys.add(library_cache.cache_key(target))
    assert len(keys) == len(changes) + 1


def test_the_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(library_cache.CACHE_VARIABLE, str(tmp_path))
    assert library_cache.cache_folder() == tmp_path / "tape"
    monkeypatch.delenv(library_cache.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert library_cache.cache_folder().is_relative_to(tmp_path)


# targets

AVX2 = "+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma"
PLAIN = "+sse2"
is_x86 = host_target().is_x86


def x86_target(element: str, cpu: str, features: str) -> Target:
    return choose_target(element, triple=host_target().triple, cpu=cpu, features=features)


@pytest.mark.skipif(not is_x86, reason="runs x86 code")
@pytest.mark.parametrize("element", ["float32", "float64"])
@pytest.mark.parametrize(("cpu", "features"), [("haswell", AVX2), ("x86-64", PLAIN)])
def test_smaller_tiles_train_as_the_host_s_do(
    tmp_path_factory: pytest.TempPathFactory, element: str, cpu: str, features: str
) -> None:
    if cpu == "haswell" and not host_target().has("avx2"):
        pytest.skip("this CPU has no AVX2")
    target = x86_target(element, cpu, features)
    folder = tmp_path_factory.mktemp("tiles")
    forced = library.load_library_for(target, folder=folder)
    for name in ("dense", "kronecker", "low_rank_diagonal", "masked"):
        results = []
        for tiles, code in ((host_target(element), None), (target, forced)):
            program = NETWORKS[name].program(30, dtype=element, target=tiles)
            states, _ = random_start(NETWORKS[name], program)
            rng = np.random.default_rng(3)
            program.run(
                states[0],
                workspace=program.workspace(),
                schedule=adam_schedule(np.full(4, 1e-2), loss_scale=1 / 30, dtype=element),
                order=rng.integers(0, 60, (4, 30)),
                samples=program.padded_samples(rng.standard_normal((60, 40))),
                targets=rng.integers(0, 10, 60),
                library=code,
            )
            views = [program.parameter_view(states[0], key) for key in program.parameters]
            results.append(np.concatenate([view.ravel() for view in views]))
        host, small = results
        tolerance = 50 * {str(key)[6:]: value for key, value in RELATIVE.items()}[element]
        assert np.linalg.norm(host - small) < tolerance * np.linalg.norm(host), name


def test_avx2_tiles_fit_sixteen_registers_and_others_thirty_two() -> None:
    small, wide = x86_target("float32", "haswell", AVX2), host_target("float32")
    for target, registers in ((small, 16), (wide, 32 if wide.has("avx512vl") else 16)):
        for vectors, rows in enumerate(target.gemm_rows, start=1):
            assert rows * vectors + vectors + 1 <= registers
        assert target.dot_rows * target.dot_columns + target.dot_rows + 1 <= registers


@pytest.mark.parametrize("element", ["float32", "float64"])
def test_an_object_for_arm_is_emitted(element: str) -> None:
    target = choose_target(
        element, triple="aarch64-unknown-linux-gnu", cpu="neoverse-n1", features="+neon"
    )
    assert target.lanes == 4
    code = library.compile_object(target)
    assert code[:4] == b"\x7fELF"
    machine_aarch64 = 183
    assert int.from_bytes(code[18:20], "little") == machine_aarch64


def test_an_unknown_element_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="float16"):
        host_target("float16")
