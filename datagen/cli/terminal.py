"""The output of the command line: tables and lines on standard output, progress on standard error, or one JSON object.

The only place of the library that writes to a terminal; the verbs decide what.

Conventions
    Whatever is shown is text, never markup: file names, tags and reasons are shown as they are, by ``visible``. Tables are made so
    here, whatever they were made of, so that no verb can forget it.
    Progress goes to standard error, also with ``--json``: a bar at a terminal, plain lines elsewhere (``datagen/cli/progress.py``).
"""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self

import typer

from stemwright.datagen.cli import preemption
from stemwright.datagen.cli.logs import ALREADY_SHOWN
from stemwright.datagen.cli.progress import Lines, Pace
from stemwright.datagen.cli.verbs import NORMAL, QUIET, verbosity
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.visible import visible
from stemwright.manifests.wording import duration

if TYPE_CHECKING:
    from rich.table import Table

_log = logging.getLogger("stemwright.cli")


class Terminal:
    """Prints summaries and tables for a person, or collects them for ``--json``."""

    def __init__(self, as_json: bool, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks is no reason to stop
                stream.reconfigure(errors="backslashreplace")
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=False)
        self.err = Console(stderr=True, highlight=False)
        self.collected: dict[str, Any] = {}
        self._clock = clock
        self.verbosity = verbosity.get()

    def show(self, key: str, table: Table, plain: Any) -> None:
        """A table for a person, or its plain values under a key."""
        if self.as_json:
            self.collected[key] = plain
        else:
            from stemwright.datagen.cli.cells import as_text

            table = as_text(table)
            title, table.title = table.title, None  # a table breaks its title at its own width, which may be that of two words
            if title is not None:
                self.out.print(title)
            self.out.print(table)

    def say(self, text: str, *, wrap: bool = False) -> None:
        """A line for a person; nothing with ``--json`` or ``--quiet``. ``wrap`` breaks a long sentence at the terminal's width, between
        words; a path must stay whole, so that it can be copied.
        """
        _log.info("%s", visible(text), extra=ALREADY_SHOWN)
        if not self.as_json and self.verbosity > QUIET:
            self.out.print(visible(text), markup=False, emoji=False, soft_wrap=not wrap)

    def warn(self, text: str) -> None:
        """A line on standard error, above the bar if one is shown."""
        _log.warning("%s", visible(text), extra=ALREADY_SHOWN)
        self.err.print(visible(f"stemwright: {text}"), markup=False, emoji=False, soft_wrap=True)

    def finish(self, exit_code: int) -> None:
        """Prints what was collected, and leaves with the exit code."""
        if self.as_json:
            sys.stdout.write(as_json_text(self.collected) + "\n")
        raise typer.Exit(exit_code)

    @contextmanager
    def progress(self, stage: str) -> Iterator[OnProgress]:
        """Progress on standard error, what is done, of how much: a bar with the time that is left, or where there is no terminal, lines."""
        _log.info("%s begins", stage)
        began, last = self._clock(), (0, 0)
        with _Interrupts() as interrupts, self._shown(stage) as update:

            def report(done: float, total: int, subject: str, audio: AudioDone | None = None, /) -> None:
                nonlocal last
                interrupts.check()
                preemption.check()
                if (now := (int(done), total)) != last:
                    _log.debug("%s: %d of %d %s", stage, *now, visible(subject))
                last = now
                update(done, total, subject, audio)

            yield report
            interrupts.check()
            preemption.check()
        _log.info("%s took %.1f s", stage, self._clock() - began)

    def _shown(self, stage: str) -> AbstractContextManager[OnProgress]:
        """How progress is shown: with --verbose the log has a line for every step."""
        if self.verbosity != NORMAL:
            return nullcontext(lambda *_: None)
        return self._bar(stage) if self.err.is_terminal else self._lines(stage)

    @contextmanager
    def _bar(self, stage: str) -> Iterator[OnProgress]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[subject]}", style="dim", markup=False),
        )
        pace = Pace(self._clock)
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(stage, total=None, count="", left="", subject="")

            def update(done: float, total: int, subject: str, audio: AudioDone | None = None, /) -> None:
                pace.update(done, total, subject, audio)
                left = "" if pace.left_s is None else f"{duration(pace.left_s)} left"
                bar.update(task, completed=pace.share, total=1.0 if total else None, count=pace.count, left=left, subject=visible(subject))

            yield update

    @contextmanager
    def _lines(self, stage: str) -> Iterator[OnProgress]:
        lines = Lines(stage, self._line, self._clock)
        lines.begin()
        yield lines.update
        lines.end()

    def _line(self, text: str) -> None:
        self.err.print(text, markup=False, emoji=False, soft_wrap=True)


STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def handle_termination() -> None:
    """Lets a termination (of a batch system, a container, a closed terminal) stop the program as Ctrl-C does: files whole, a sentence."""
    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:  # and not ignored, as by nohup
            signal.signal(number, signal.default_int_handler)


def was_stopped(left: SystemExit) -> bool:
    """Whether the program exits because of Ctrl-C or a termination that has not been reported yet."""
    return left.code == 130 and isinstance(getattr(left.__context__, "__cause__", None), KeyboardInterrupt)  # as typer raises it


class _Interrupts:
    """Remembers a Ctrl-C until it is handled: libraries with a bare ``except`` at their import swallow it otherwise."""

    def __init__(self) -> None:
        self._heard = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) is signal.default_int_handler:  # and not ignored, as by a job in the background
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _on_signal(self, *_: object) -> None:
        self._heard = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was one."""
        if self._heard:
            raise KeyboardInterrupt


def as_json_text(value: Any) -> str:
    """Plain values as a JSON text that a terminal may be given: exact, with what would steer a terminal in JSON's own escapes."""
    text = json.dumps(finite(value), indent=2, ensure_ascii=not is_unicode(sys.stdout), allow_nan=False)
    return "\n".join(visible(line, escape=_json_escape, longest=None) for line in text.split("\n"))


def json_requested() -> bool:
    """Whether the command line contains --json: known even if it cannot be parsed."""
    return "--json" in sys.argv[1:]


def is_unicode(stream: Any) -> bool:
    """Whether a stream can be given any character."""
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def finite(value: Any) -> Any:
    """Plain values as JSON can hold them: infinity is the text "inf" or "-inf", as in the rows, and what is no number is null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
