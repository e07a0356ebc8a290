"""The command `lowdim`: stages of a study, the whole run, and what was found on this machine."""

from __future__ import annotations

import os
import sys

DEBUG = "--debug"


def main() -> None:
    """Run the command line; a mistake of the user's is one line and exit code 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    debug = len(arguments) < len(sys.argv) - 1 or bool(os.environ.get("LOWDIM_DEBUG"))
    try:
        from lowdim.cli.app import app

        app(arguments, prog_name="lowdim")
    except (SystemExit, KeyboardInterrupt) as end:
        if not _of_interrupt(end):
            raise
        _complain("stopped; what is finished is kept, and the same command goes on from there")
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        from lowdim.config.errors import UserError

        if isinstance(error, UserError | ValueError):
            _complain(str(error))
            sys.exit(2)
        _complain(f"{type(error).__name__}: {error} (add {DEBUG} for where it happened)")
        sys.exit(1)


def _of_interrupt(end: BaseException | None) -> bool:
    """Whether Ctrl-C lies behind an end; typer makes an exit of it."""
    while end is not None and not isinstance(end, KeyboardInterrupt):
        end = end.__context__
    return end is not None


def _complain(text: str) -> None:
    print(f"lowdim: {' '.join(text.split())}", file=sys.stderr, flush=True)
