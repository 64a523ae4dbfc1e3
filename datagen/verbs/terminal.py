"""What a person at a terminal sees: tables and lines on standard output, progress on standard error, or one JSON object.

The only place of the library that writes to a terminal; the verbs in ``datagen/cli.py`` decide what. (The plan had both in one
file; apart, each holds one idea.)
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import typer


class Terminal:
    """Prints summaries and tables for a person, or collects them for ``--json``."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=False)
        self.err = Console(stderr=True, highlight=False)
        self.collected: dict[str, Any] = {}

    def show(self, key: str, table: Any, plain: Any) -> None:
        """A table for a person, or its plain values under a key."""
        if self.as_json:
            self.collected[key] = plain
        else:
            self.out.print(table)

    def say(self, text: str) -> None:
        """A line for a person; nothing with ``--json``."""
        if not self.as_json:
            self.out.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line on standard error, above the bar if one is shown."""
        self.err.print(f"stemwright: {text}", markup=False, soft_wrap=True)

    def finish(self, exit_code: int) -> None:
        """Prints what was collected, and leaves with the exit code."""
        if self.as_json:
            sys.stdout.write(json.dumps(finite(self.collected), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        raise typer.Exit(exit_code)

    @contextmanager
    def progress(self, stage: str) -> Iterator[Callable[[int, int, str], None]]:
        """A bar on standard error: what is done, of how much, how long still."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[subject]}", markup=True),
        )
        with (
            _Interrupts() as interrupts,
            Progress(*columns, console=self.err, disable=self.as_json or not self.err.is_terminal, transient=True) as bar,
        ):
            task = bar.add_task(stage, total=None, subject="")

            def report(done: int, total: int, subject: str) -> None:
                interrupts.check()
                bar.update(task, completed=done, total=total, subject=subject.replace("[", r"\["))

            yield report
            interrupts.check()


class _Interrupts:
    """Remembers a Ctrl-C until somebody acts on it: libraries with a bare ``except`` at their import swallow it otherwise."""

    def __init__(self) -> None:
        self._heard = False
        self._before: Any = None

    def __enter__(self) -> Self:
        heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored, as by a job in the background
        if heeded and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, *_: object) -> None:
        self._heard = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was one."""
        if self._heard:
            raise KeyboardInterrupt


def finite(value: Any) -> Any:
    """Plain values as JSON can hold them: infinity is the text "inf" or "-inf", as in the rows, and what is no number is null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
