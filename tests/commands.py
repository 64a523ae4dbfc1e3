"""The command line for tests: in this process, which has torch loaded, or in one of its own.

Conventions
    Both run what the installed program runs, exit codes and the sentence of an error included, and say what was written where.
    A process of its own costs seconds; it is for what is about processes: signals, kills, threads, what an import loads.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from unittest import mock

PROGRAM = "from stemwright.datagen.cli.app import main; main()"
COMMAND = [sys.executable, "-c", PROGRAM]

KILLED = f"""
import logging, os, sys
when, number = sys.argv.pop(1), int(sys.argv.pop(1))
class Kill(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith(when):
            os.kill(os.getpid(), number)
logging.getLogger("stemwright").addHandler(Kill())
{PROGRAM}
"""

Done = subprocess.CompletedProcess


def stemwright(*arguments: object, check: bool = True) -> Done:
    """A verb in this process: its exit code and what it wrote."""
    from stemwright.datagen.cli.app import main
    from stemwright.datagen.cli.terminal import STOPPING

    words = [str(argument) for argument in arguments]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors) for errors in ("strict", "backslashreplace"))
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    code: object = 0
    try:
        with (
            Path(os.devnull).open() as nothing,
            mock.patch.multiple(sys, argv=["stemwright", *words], stdin=nothing),
            mock.patch.dict(os.environ, COLUMNS="200", MPLBACKEND="Agg"),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
    except SystemExit as left:
        code = left.code or 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return _checked(Done(words, code, *(_text(stream) for stream in (out, err))), check)


def own_process(*arguments: object, check: bool = True) -> Done:
    """The same in a process of its own, without the tests' limit of threads: how many there are must not show in the bytes."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")} | {"COLUMNS": "200"}
    return _checked(subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=environment), check)


def killed_at(when: str, *arguments: object) -> int:
    """The exit status of a verb whose process is killed when it logs a line that begins like this."""
    words = [sys.executable, "-c", KILLED, when, str(int(signal.SIGKILL)), *map(str, arguments)]
    return subprocess.run(words, stdout=subprocess.DEVNULL).returncode  # no pipe: the processes it leaves would keep it open for minutes


def signalled_at(when: str, number: int, *arguments: object) -> Done:
    """A verb whose process gets a signal when it logs a line that begins like this."""
    words = [sys.executable, "-c", KILLED, when, str(int(number)), *map(str, arguments)]
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    )


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.buffer.seek(0)
    return stream.buffer.read().decode()


def _checked(done: Done, check: bool) -> Done:
    if check:
        assert done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
