"""``separate --gpus``: one share for each GPU of this machine, in a process that sees that GPU alone; one display; then the merge.

Conventions
    The processes run the same command with ``--share`` in place of ``--gpus``. How far they are is read from their leases, as ``status``
    does it. They end with this process: a termination or Ctrl-C is passed on to them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stemwright.datagen.cli import preemption
from stemwright.datagen.cli.stopping import KEPT, Stopped
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted

VARIABLE = "CUDA_VISIBLE_DEVICES"
POLL_S = 0.5
ENDED_WELL = (0, 3)  # 3: done, but something was rejected


def list_gpus() -> list[str]:
    """The GPUs that this process may use and PyTorch sees, as ``CUDA_VISIBLE_DEVICES`` names them; empty if there is none."""
    import torch

    count, visible = torch.cuda.device_count(), os.environ.get(VARIABLE)  # a PyTorch without CUDA counts none, whatever the variable says
    if visible is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in visible.split(",") if name.strip()][:count]


def chosen(text: str, **others: str | None) -> tuple[str, ...]:
    """The GPUs that ``--gpus`` names. Raises UsageError if this machine does not have them, and if ``others``, options that say where the
    work is done, too, are given.
    """
    if given := [name for name, value in others.items() if value is not None]:
        raise UsageError(f"expected --gpus or --{given[0]}, not both: --gpus starts one share for each GPU of this machine")
    there = list_gpus()
    if not there:
        import torch

        built = f"PyTorch {torch.__version__}" + ("" if torch.version.cuda else ", which is built without CUDA")
        raise UsageError(f"--gpus: no GPU was found on this machine by {built}; leave it out to separate on the processor")
    asked = there if text.strip() == "all" else [name.strip() for name in text.split(",")]
    if not all(name in there for name in asked) or len(set(asked)) < len(asked):
        raise UsageError(f"--gpus: expected all, or some of {','.join(there)}, each once; got {text!r}")
    return tuple(asked)


@dataclass
class _Child:
    """A share in a process of its own, what it said, and how far it was when last seen."""

    gpu: str
    share: str
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]
    progress: tuple[float, int, float, float] = (0.0, 0, 0.0, 0.0)  # done, of, and the same in seconds of audio
    begun: bool = False  # whether it has said of how much

    def last_line(self) -> str:
        """The last line of what it wrote to standard error."""
        self.err.seek(0)
        lines = self.err.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("stemwright: ") if lines else "it said nothing"

    def counts(self) -> dict[str, int]:
        """How much it did, skipped and rejected, as it said in JSON."""
        self.out.seek(0)
        with suppress(ValueError, KeyError, IndexError):
            (stage,) = json.loads(self.out.read())["stages"]
            return {name: int(stage[name]) for name in ("done", "skipped", "rejected")}
        return {}


def separate_on(terminal: Terminal, corpus: Path, gpus: Sequence[str]) -> None:
    """Runs the shares and waits for all. Raises RuntimeError if one of them fails; what is finished is kept."""
    with ExitStack() as stack:
        children: list[_Child] = []
        stack.callback(_end, children)
        try:
            for number, gpu in enumerate(gpus):
                out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                share = f"{number}/{len(gpus)}"
                process = subprocess.Popen(
                    [sys.executable, "-m", "stemwright", *words(sys.argv[1:]), "--share", share, "--json"],
                    env={**os.environ, VARIABLE: gpu},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                )
                children.append(_Child(gpu, share, process, out, err))
            with terminal.progress("separate") as report:
                _wait(corpus, children, report)
        except KeyboardInterrupt:
            _end(children)
            if preemption.preempted():
                terminal.warn(f"separate was preempted, and ends; {KEPT.partition('; ')[2]}")
                terminal.collected["preempted"] = True
                terminal.finish(0)
            raise Stopped(KEPT) from None
        _say(terminal, children)


def words(arguments: Sequence[str]) -> list[str]:
    """The words of this command without ``--gpus`` and what concerns the output."""
    left, kept = iter(arguments), []
    for word in left:
        if word == "--gpus":
            next(left, None)
        elif not word.startswith("--gpus=") and word not in ("--json", "-v", "--verbose", "-q", "--quiet"):
            kept.append(word)
    return kept


def _wait(corpus: Path, children: Sequence[_Child], report: OnProgress) -> None:
    """Reports how far all are, until they have ended. How much there is to do is known once each share has begun."""
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.shares import LEASES
    from stemwright.manifests.disk import lease

    songs = counted(len(Corpus(corpus).ids("tracks")), "song")
    starting = f"starting {counted(len(children), 'share')} of {songs}"
    while running := [child for child in children if child.process.poll() is None]:
        subject = ""
        for child in running:
            holder = lease.read(corpus / LEASES / child.share.replace("/", "of"))
            work: dict[str, Any] = dict(holder.work) if holder is not None and holder.process == child.process.pid else {}
            if work.get("total") is not None:
                child.begun = True
                child.progress = (work["done"], work["total"], work.get("done_s") or 0.0, work.get("total_s") or 0.0)
                subject = str(work["subject"])
        if all(child.begun for child in running):
            _report(children, subject, report)
        else:
            report(0, 0, starting)
        time.sleep(POLL_S)
    for child in children:
        if child.process.returncode in ENDED_WELL:
            child.progress = (child.progress[1], child.progress[1], child.progress[3], child.progress[3])
    _report(children, "", report)


def _report(children: Sequence[_Child], subject: str, report: OnProgress) -> None:
    done, total, done_s, total_s = (sum(child.progress[place] for child in children) for place in range(4))
    report(done, int(total), subject, AudioDone(done_s, total_s) if total_s else None)


def _say(terminal: Terminal, children: Sequence[_Child]) -> None:
    """A line for each GPU. Raises RuntimeError naming those that failed."""
    failed = []
    for child in children:
        code, counts = child.process.returncode, child.counts()
        facts = ", ".join(f"{count} {name}" for name, count in counts.items())
        if code in ENDED_WELL:
            terminal.say(f"  GPU {child.gpu}, share {child.share}: {facts}")
        else:
            failed.append(f"share {child.share} on GPU {child.gpu} ended with exit code {code}: {child.last_line()}")
    terminal.collected["gpus"] = [{"gpu": child.gpu, "share": child.share, **child.counts()} for child in children]
    if failed:
        raise RuntimeError(f"{'; '.join(failed)}. {KEPT.partition('; ')[2].capitalize()}")


def _end(children: Sequence[_Child]) -> None:
    """Ends the processes that still run, and waits for them: each drops its track and releases its lease."""
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    for child in children:
        child.process.wait()
