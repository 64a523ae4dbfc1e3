"""The log of a command: that of a corpus, and with ``--verbose`` the same on standard error.

    2026-01-31T09:12:44Z 4711 INFO    cli: stemwright build songs corpus --jobs 4
    2026-01-31T09:12:44Z 4711 INFO    cli: stemwright 0.2.0, Python 3.12.3, torch 2.8.0, ...
    2026-01-31T09:12:44Z 4711 INFO    cli: catalog begins
    2026-01-31T09:12:51Z 4711 WARNING datagen.run.corpus: catalog rejected songs/broken.mp3: not a readable sound file

Conventions
    The modules log to ``logging.getLogger(__name__)``, below ``stemwright``; handlers are set here only, and only while a verb runs, so
    that users of the library get its records wherever they send their own.
    ``CORPUS/stemwright.log`` is written by the process that holds the corpus's lock, so by one at a time. It is bounded: at
    ``MOST_BYTES`` it becomes ``stemwright.log.1``. It is no part of the corpus: nothing is read from it, and no id depends on it. What
    cannot be written to it (a full disk, no permission) is dropped, and the run continues.
    A record is one line; control characters in names are escaped, as on a terminal. A traceback follows in indented lines.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import typer

from stemwright.datagen.cli.stopping import Stopped
from stemwright.manifests.visible import visible

ROOT = "stemwright"
MOST_BYTES = 5_000_000
KEPT_FILES = 1  # full ones beside the one that is written to
ALREADY_SHOWN = {"already_shown": True}  # extra of a record that the terminal shows by itself
PACKAGES = ("torch", "demucs", "numpy", "scipy", "soundfile", "av", "soxr", "numba", "pyarrow", "pydantic", "openvino")  # named if there

_log = logging.getLogger("stemwright.cli")


class LineFormatter(logging.Formatter):
    """Records as lines that steer no terminal."""

    converter = staticmethod(time.gmtime)  # times in UTC: a corpus may be moved

    def __init__(self, *, dated: bool) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")
        self._dated = dated

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the indented lines of a traceback."""
        if self._dated:
            where = record.name.removeprefix(f"{ROOT}.")
            start = f"{self.formatTime(record, self.datefmt)} {record.process} {record.levelname:<7} {where}: "
        else:
            start = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        lines = [start + visible(record.getMessage())]
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else getattr(record, "trace", "")
        return "\n".join([*lines, *(f"    {visible(line)}" for line in trace.splitlines())])


class LogFile(RotatingFileHandler):
    """A bounded log that opens nothing but a regular file, and whose failures stop nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MOST_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="backslashreplace", delay=True)
        self.setFormatter(LineFormatter(dated=True))
        self.setLevel(logging.INFO)

    def _open(self) -> TextIO:  # type: ignore[override]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.baseFilename, flags, 0o666)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{self.baseFilename} is not a regular file")
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        """Nothing: a log that cannot be written is no reason to stop, or to fill a terminal."""

    def close(self) -> None:
        """Closes the file; what a full disk did not take is lost."""
        with suppress(OSError):
            super().close()


class NotShown(logging.Filter):
    """Lets through what the terminal does not show by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be shown."""
        return not getattr(record, "already_shown", False)


class ForUsers(logging.Handler):
    """Shows warnings that a user can do something about while the work goes on, as ``Terminal.warn`` does: above a bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line to ``sys.stderr``, looked up at each call: a progress bar replaces it while it is shown."""
        if getattr(record, "for_users", False):
            sys.stderr.write(f"stemwright: {visible(record.getMessage())}\n")


def to_file(path: Path) -> None:
    """From here to the end of the verb, what is logged is also appended to a file; first, what runs, and with which versions."""
    handler = LogFile(path)
    logging.getLogger(ROOT).addHandler(handler)
    for text in (f"stemwright {shlex.join(sys.argv[1:])}", versions()):
        _log.info(text, extra=ALREADY_SHOWN)


def versions() -> str:
    """The versions of this program and of what its results may depend on, and the system."""
    found = []
    for name in (ROOT, *PACKAGES):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join([found[0], f"Python {platform.python_version()}", *found[1:], platform.platform()]) if found else platform.platform()


@contextmanager
def logging_of(verb: str, *, verbose: bool) -> Iterator[None]:
    """While a verb runs: records to standard error if verbose, and to the files that ``to_file`` names; how the verb ended is the last."""
    root, began = logging.getLogger(ROOT), time.monotonic()
    before = root.level, root.propagate, list(root.handlers)
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False
    if verbose:
        root.addHandler(_to_terminal())
    else:
        root.addHandler(ForUsers())
    try:
        with _warnings():
            yield
    except typer.Exit as left:
        _end(f"{verb} ended with exit code {left.exit_code}", began)
        raise
    except (KeyboardInterrupt, Stopped):
        _end(f"{verb} was stopped", began)
        raise
    except Exception as error:
        _log.exception("%s failed: %s", verb, error, extra=ALREADY_SHOWN if not verbose else None)
        raise
    finally:
        for handler in [handler for handler in root.handlers if handler not in before[2]]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(before[0])
        root.propagate = before[1]


def _to_terminal() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(dated=False))
    handler.addFilter(NotShown())
    return handler


def _end(text: str, began: float) -> None:
    _log.info("%s after %.1f s", text, time.monotonic() - began, extra=ALREADY_SHOWN)


@contextmanager
def _warnings() -> Iterator[None]:
    """Logs Python's warnings besides showing them."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        _log.warning("%s: %s", category.__name__, message, extra=ALREADY_SHOWN)
        shown(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
