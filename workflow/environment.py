"""Set .venv up when it is missing or stale, and not otherwise; the standard library is enough.

Stale means that the dependencies in pyproject.toml, constraints.txt, or the minor version of
Python differ from those that .venv was made with.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOG = VENV / "setup.log"
EXTRAS = ("studies", "dev", "slurm")
_BIG_MIB = 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", action="append", default=[], help="one more extra to install")
    extras = parser.parse_args().extra
    if is_current(extras):
        return 0
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current(extras):
            return 0
        try:
            set_up(extras)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"setup: failed: {error}", file=sys.stderr)
            print(_end_of_log(), end="", file=sys.stderr)
            print(f"setup: the whole log is {LOG.relative_to(ROOT)}; then run make again, or "
                  "`make clean-venv` and make to start afresh", file=sys.stderr)  # fmt: skip
            return 1
    return 0


def key(extras: list[str]) -> str:
    """Return a digest of what decides the environment's content."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [project["build-system"], project["project"], sys.version_info[:2], EXTRAS, extras]
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode())
    digest.update((ROOT / "constraints.txt").read_bytes())
    return digest.hexdigest()


def stamp(extras: list[str]) -> Path:
    """Return the file that holds the key of the environment as it was last set up."""
    return VENV / "-".join(["stamp", *extras])


def is_current(extras: list[str]) -> bool:
    """Whether .venv holds what is wanted and was made by this Python."""
    try:
        return stamp(extras).read_text() == key(extras) and PYTHON.exists()
    except OSError:
        return False


def set_up(extras: list[str]) -> None:
    """Make .venv if need be, and install the packages, PyTorch first.

    CuPy has one package for each major version of CUDA, and which fits is known only once
    PyTorch is there.
    """
    start = time.monotonic()
    if PYTHON.exists():
        say("pyproject.toml, constraints.txt or Python changed; bringing .venv up to date")
    else:
        say(".venv is missing; making it, once (minutes, and 6 GB with CUDA; needs the network)")
    if _version_of(PYTHON) != sys.version_info[:2]:
        say(f"creating .venv with Python {sys.version.split()[0]}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    LOG.write_text("")
    pip("torch", "numpy", "numba")
    wanted = [*EXTRAS, *extras, *cuda_extra()]
    pip("--editable", f".[{','.join(wanted)}]")
    stamp(extras).write_text(key(extras))
    say(f"done in {time.monotonic() - start:.0f} s")


def pip(*arguments: str) -> None:
    """Install packages under the constraints; say only what takes long."""
    say(f"installing {' '.join(a for a in arguments if not a.startswith('--'))}")
    command = [PYTHON, "-m", "pip", "install", "--progress-bar=off", "--disable-pip-version-check",
               "--constraint", "constraints.txt", *arguments]  # fmt: skip
    environment = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PYTHONUNBUFFERED": "1"}
    with LOG.open("a") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if found := re.search(r"Downloading (\S+) \(([\d.]+) (MB|GB)\)", line):
                name, size, unit = found.groups()
                if float(size) * (1 if unit == "MB" else 1000) >= _BIG_MIB:
                    say(f"  downloading {Path(name).name.split('-')[0]}, {size} {unit}")
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, "pip install")


def cuda_extra() -> list[str]:
    """Return the extra with the CuPy that fits the installed PyTorch, if PyTorch has CUDA."""
    ask = [PYTHON, "-c", "import torch; print(torch.version.cuda or '')"]
    cuda = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    extra = f"cuda{cuda.split('.')[0]}" if cuda else ""
    return [extra] if extra in {"cuda12", "cuda13"} and sys.platform == "linux" else []


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def _version_of(python: Path) -> tuple[int, ...] | None:
    """Return the minor version of an interpreter, or None if it does not run."""
    ask = [python, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(map(int, answer.split()))


def _end_of_log(lines: int = 8) -> str:
    """Return the last lines of the log that are not pip's remarks on where it looked."""
    if not LOG.exists():
        return ""
    kept = [line for line in LOG.read_text().splitlines() if "is ignored" not in line]
    return "".join(f"    {line}\n" for line in kept[-lines:])


if __name__ == "__main__":
    sys.exit(main())
