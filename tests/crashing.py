"""Deaths of the whole program at chosen moments: just before its k-th change of the file system, or after so many seconds.

    python tests/crashing.py FOLDER --points N --kills M [--only CASE] [--seed S]

prints one JSON object. Each death is followed by the same command again, which has to end with the bytes of a run that nothing disturbed,
beside the outside files as they were, and with nothing else in the folders.

Conventions
    Commands run as a person gives them, in forks of one process that has everything loaded; a death is SIGKILL.
    A change is: opening a file for writing, a rename, an exchange of two names, a link, a removal, making or removing a folder, cutting a
    file, and a sync. A point stands "just before the k-th".
    Every second point is a power cut: whatever was not synced since it was written is then empty or holds NULs, whatever its name.
    Every fifth death is followed by a second one on the way back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile
from conftest import make_song

RATE = 8_000
COMMON = """
seed = 3
[pairs]
duration_s = 0.4
[pairs.mix]
per_track = 2
"""
REMOVAL = "[pairs.removal]\nper_track = 2\neffects = ['eq', 'clip']\n"
SHARDS = "[dataset]\nshard_examples = 2\n"
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}
UNTOUCHED = ("songs", "more songs", "outside")


def is_write(mode: object, flags: object) -> bool:
    """Whether a file is being opened to be changed."""
    return (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))) or (
        isinstance(mode, str) and any(letter in mode for letter in "wax+")
    )


@dataclass
class Death:
    """When a process is to die, and how: ``point`` counts changes from 1; with ``power_cut`` what was not synced is lost."""

    point: int = 0
    power_cut: bool = False
    after_s: float = 0.0
    root: str = ""
    count: int = 0
    dying: bool = False
    synced: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # (device, inode) -> (bytes, time) on the disk

    def install(self) -> None:
        """Watches this process from now on."""
        from stemwright.manifests.disk import durable

        swap = durable.swap
        for path in files_below(Path(self.root)):
            self._note(path.stat())

        def syncing(descriptor: int) -> None:
            self.change()
            self._note(os.fstat(descriptor))  # on the disk, from here on: the real one is not waited for

        def swapping(one: Path, other: Path) -> bool:
            self.change()
            return swap(one, other)

        os.fsync = syncing
        durable.swap = swapping
        sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if self.dying or not (event in CHANGES or (event == "open" and is_write(given[1], given[2]))):
            return
        named = [os.fsdecode(one) for one in given if isinstance(one, str | bytes | os.PathLike)]
        if any(one.startswith(self.root) or not one.startswith("/") for one in named):  # relative to a folder that is open, as in rmtree
            self.change()

    def _note(self, stat: os.stat_result) -> None:
        self.synced[stat.st_dev, stat.st_ino] = (stat.st_size, stat.st_mtime_ns)

    def change(self) -> None:
        """Called just before each change."""
        self.count += 1
        if self.count != self.point or self.dying:
            return
        self.dying = True
        if self.power_cut:
            for path in files_below(Path(self.root)):
                stat = path.stat()
                kept, at = self.synced.get((stat.st_dev, stat.st_ino), (0, 0))
                if (kept, at) != (stat.st_size, stat.st_mtime_ns):
                    os.truncate(path, min(kept, stat.st_size))
                    if self.point % 4:  # the length was on the disk, its data were not
                        os.truncate(path, stat.st_size)
        os.kill(os.getpid(), signal.SIGKILL)


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder that are no links, outside files left out."""
    for where, folders, names in os.walk(folder):
        if Path(where) == folder:
            folders[:] = [name for name in folders if name not in UNTOUCHED]
        yield from (Path(where, name) for name in names if not Path(where, name).is_symlink())


def run(arguments: list[str], death: Death) -> tuple[int, int, float]:
    """Runs a command in a fork: (exit status, negative for a signal; changes; seconds)."""
    read, write = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            code = _in_child(arguments, death, write)
        except BaseException:
            traceback.print_exc()
            code = 99
        os._exit(code)
    os.close(write)
    if death.after_s:
        time.sleep(death.after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read) as told:
        counted = told.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), int(counted or 0), time.monotonic() - began


def _in_child(arguments: list[str], death: Death, write: int) -> int:
    from stemwright.datagen.cli import app as cli

    quiet = os.open(f"{death.root}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.argv = ["stemwright", *arguments]
    death.install()
    try:
        cli.main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(write, str(death.count).encode())
    return code


@dataclass(frozen=True)
class Case:
    """A command, and the commands that make the folder that it begins with."""

    name: str
    before: tuple[list[str], ...]
    command: list[str]
    code: int = 0


def cases() -> list[Case]:
    """What is tried. Paths are relative to the folder that a case works in."""
    first = ["build", "songs", "corpus", "--config", "plain.toml"]
    mixes = ["build", "songs", "corpus", "--config", "mix.toml"]
    tables = ["export", "corpus", "recipes", "--no-audio"]
    edit = ["edit", "songs/A 0 - T 0/mixture.wav", "mute drums", "out.flac", "--stems", "songs/A 0 - T 0"]
    return [
        Case("build", (), first),
        Case("build with other seed", (first,), [*first, "--seed", "4"]),
        Case("build with more songs", (first,), ["build", "more songs", "corpus", "--config", "plain.toml"]),
        Case("build webdataset", (), [*first, "--format", "webdataset"]),
        Case("pack webdataset", (first,), ["render", "corpus", "--format", "webdataset"]),
        Case("pack huggingface", ([*first, "--format", "webdataset"],), ["render", "corpus", "--format", "huggingface"]),
        Case("build huggingface with other seed", ([*first, "--format", "huggingface"],), [*first, "--seed", "4"]),
        Case("unpack", ([*first, "--format", "huggingface"],), ["render", "corpus", "--format", "folder"]),
        Case("build musdb", (mixes,), ["render", "corpus", "--format", "musdb"]),
        Case("export", (first, ["export", "corpus", "out"]), ["export", "corpus", "out"]),
        Case("export tables as zip", (first,), ["export", "corpus", "out.zip", "--no-audio"]),
        Case("rebuild", (first, tables), ["rebuild", "recipes", "songs", "rebuilt"]),
        Case("report", (first, ["report", "corpus", "--players", "0"]), ["report", "corpus", "--players", "1"]),
        Case("edit", (edit,), [*edit[:2], "mute bass", *edit[3:]]),
    ]


def prepare(folder: Path) -> None:
    """The songs, the configurations, and files of the user that must stay as they are."""
    for number in range(3):
        for name, audio in make_song(number, 1.0, sample_rate=RATE).items():
            for songs in ("songs", "more songs")[number // 2 :]:
                path = folder / songs / f"A {number} - T {number}" / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, audio.T, RATE, subtype="PCM_24")
    (folder / "plain.toml").write_text(COMMON + REMOVAL + SHARDS)
    (folder / "mix.toml").write_text(COMMON + "target = 'sum'\n" + "[pairs.removal]\nper_track = 0\n" + SHARDS)
    (folder / "outside").mkdir()
    (folder / "outside" / "letter.txt").write_text("dear")
    (folder / ".film.part").write_text("half a download of somebody's")


def contents(folder: Path) -> dict[str, str]:
    """What is in a folder, links and empty folders too: path -> checksum."""
    found = {}
    for where, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(where, name)
            if name in (".lock", "stemwright.log"):
                continue
            if path.is_symlink():
                what = f"link to {path.readlink()}"
            elif path.is_dir():
                what = "folder"
            else:
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(folder).as_posix()] = what
    return found


class Campaign:
    """Deaths over all cases, in one place on the disk: the rows of a corpus name the folder of its songs."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.place = folder, folder / "work"
        self.rng = random.Random(seed)
        self.faults: list[str] = []
        self.points = self.kills = self.seconds = 0
        self.spread: dict[str, int] = {}

    def run(self, command: list[str], **death: Any) -> tuple[int, int, float]:
        """Runs a command where the case is."""
        here = Path.cwd()
        os.chdir(self.place)
        try:
            return run(command, Death(root=str(self.place), **death))
        finally:
            os.chdir(here)

    def ready(self, case: Case) -> None:
        """Makes what a case begins with and the result of an undisturbed run, and counts that run's changes."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        prepare(self.place)
        for command in case.before:
            code, *_ = self.run(command)
            if code != 0:
                raise RuntimeError(f"{case.name}: {command} ended with {code}\n{Path(f'{self.place}.log').read_text()[-3000:]}")
        start = self.folder / "start"
        shutil.rmtree(start, ignore_errors=True)
        shutil.copytree(self.place, start, symlinks=True)
        code, self.changes, self.lasts_s = self.run(case.command)
        if code != case.code:
            raise RuntimeError(f"{case.name}: ended with {code}\n{Path(f'{self.place}.log').read_text()[-3000:]}")
        self.expected = contents(self.place)

    def begin(self) -> None:
        """Puts the beginning of the case back."""
        shutil.rmtree(self.place)
        shutil.copytree(self.folder / "start", self.place, symlinks=True)

    def die(self, case: Case, **death: Any) -> None:
        """One death, perhaps a second one, and the way back."""
        self.begin()
        self.run(case.command, **death)
        if self.rng.random() < 0.2:
            self.run(case.command, point=self.rng.randint(1, max(1, self.changes)), power_cut=bool(death.get("power_cut")))
        code, *_ = self.run(case.command)
        found = contents(self.place)
        if code != case.code:
            self.faults.append(f"{case.name} {death}: then ended with {code}: {Path(f'{self.place}.log').read_text()[-400:]}")
        different = sorted(name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name))
        if different:
            self.faults.append(f"{case.name} {death}: {', '.join(self._said(name, found) for name in different[:6])}")

    def _said(self, name: str, found: dict[str, str]) -> str:
        return f"{name} {'missing' if name not in found else 'left' if name not in self.expected else 'differs'}"

    def all(self, points: int, kills: int, only: str | None, on_case: Callable[[str], object]) -> None:
        """Spreads points and kills over the cases by how much they change and how long they last."""
        chosen = [case for case in cases() if only is None or any(part in case.name for part in only.split("|"))]
        for number, case in enumerate(chosen):
            self.ready(case)
            share = points // len(chosen) + (number < points % len(chosen))
            every = sorted({max(1, round((step + 0.5) * self.changes / share)) for step in range(share)} if share else ())
            for point in every:
                self.die(case, point=point, power_cut=bool(self.points % 2))
                self.points += 1
            for _ in range(kills // len(chosen) + (number < kills % len(chosen))):
                self.die(case, after_s=self.rng.uniform(0.02, max(0.05, self.lasts_s)))
                self.kills += 1
            self.spread[f"{case.name} ({self.changes} changes, {self.lasts_s:.1f} s)"] = len(every)
            on_case(case.name)


def main() -> None:
    """Runs a campaign and prints its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=14)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    campaign, began = Campaign(options.folder.resolve(), options.seed), time.monotonic()
    warm = Case("warm", (), ["build", "songs", "corpus", "--config", "plain.toml"])
    shutil.rmtree(campaign.place, ignore_errors=True)
    campaign.place.mkdir(parents=True)
    prepare(campaign.place)
    here = Path.cwd()
    os.chdir(campaign.place)
    load_everything(warm.command)
    os.chdir(here)
    campaign.all(options.points, options.kills, options.only, lambda name: sys.stderr.write(f"{name}\n"))
    found = {"points": campaign.points, "kills": campaign.kills, "seconds": round(time.monotonic() - began, 1)}
    sys.stdout.write(json.dumps({**found, "faults": campaign.faults, "cases": campaign.spread}, indent=1) + "\n")


def load_everything(command: list[str]) -> None:
    """Runs a command in this process, so that its forks find all modules loaded and all kernels compiled."""
    import contextlib
    import io

    import torch

    from stemwright.datagen.cli import app as cli

    torch.set_num_threads(1)
    argv, sys.argv = sys.argv, ["stemwright", *command]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.main()
    sys.argv = argv


if __name__ == "__main__":
    main()
