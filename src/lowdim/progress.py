"""How far a stage is: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

_LINE_EVERY_S = 10.0


class Progress(Protocol):
    """What a stage tells while it works; `epochs` are those of all replicas added up."""

    def start(self, replicas: int, epochs: int, label: str) -> None: ...
    def advance(self, epochs: int) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class SilentProgress:
    """Says nothing."""

    def start(self, replicas: int, epochs: int, label: str) -> None:
        pass

    def advance(self, epochs: int) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class LineProgress:
    """Writes a line at the start, at most every ten seconds, and at the end."""

    def __init__(
        self, write: Callable[[str], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._label = ""

    def start(self, replicas: int, epochs: int, label: str) -> None:
        self.close()
        self._label, self._replicas, self._epochs, self._done = label, replicas, epochs, 0
        self._began = self._said = self._clock()
        self._write(f"{label}: {_count(replicas, 'replica')}, {_count(epochs, 'epoch')} in all")

    def advance(self, epochs: int) -> None:
        self._done += epochs
        now = self._clock()
        if now - self._said >= _LINE_EVERY_S and 0 < self._done < self._epochs:
            self._said = now
            left_s = (now - self._began) * (self._epochs - self._done) / self._done
            share = self._done / self._epochs
            self._write(f"{self._label}: {share:.0%} done, {duration(left_s)} left")

    def message(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        if self._label:
            took = duration(self._clock() - self._began)
            short = (
                f"{self._done} of {self._epochs} epochs" if self._done < self._epochs else "done"
            )
            self._write(f"{self._label}: {short} in {took}")
        self._label = ""


class BarProgress:
    """Draws a bar with replicas, epochs and the time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream)
        self._bar: Any = None

    def start(self, replicas: int, epochs: int, label: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.close()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}/{task.fields[replicas]} replicas"),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} epochs"),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._task = self._bar.add_task(label, total=epochs, replicas=replicas, done=0)
        self._replicas, self._epochs = replicas, epochs
        self._bar.start()

    def advance(self, epochs: int) -> None:
        done = _whole(self._bar.tasks[0].completed + epochs, self._epochs, self._replicas)
        self._bar.update(self._task, advance=epochs, done=done)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


class SeveralProgress:
    """Tells several listeners the same."""

    def __init__(self, *listeners: Progress) -> None:
        self._listeners = listeners

    def start(self, replicas: int, epochs: int, label: str) -> None:
        for listener in self._listeners:
            listener.start(replicas, epochs, label)

    def advance(self, epochs: int) -> None:
        for listener in self._listeners:
            listener.advance(epochs)

    def message(self, text: str) -> None:
        for listener in self._listeners:
            listener.message(text)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


def progress_on(stream: TextIO | None = None, log: Path | None = None) -> Progress:
    """Return a bar where the stream is a terminal, else lines; and lines in a log if one is named.

    The stream is standard error unless given.
    """
    stream = sys.stderr if stream is None else stream
    shown: Progress = BarProgress(stream) if stream.isatty() else LineProgress(_writer(stream))
    return shown if log is None else SeveralProgress(shown, LineProgress(_appender(log)))


def duration(seconds: float) -> str:
    """Return a time as a person says it: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _writer(stream: TextIO) -> Callable[[str], None]:
    def write(text: str) -> None:
        print(text, file=stream, flush=True)

    return write


def _appender(path: Path) -> Callable[[str], None]:
    def write(text: str) -> None:
        # what cannot be logged, on a full disk say, is no reason to stop
        with suppress(OSError), path.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    return write


def _whole(done: float, epochs: int, replicas: int) -> int:
    """Return how many replicas the epochs done would fill."""
    return int(replicas * done / epochs) if epochs else replicas


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
