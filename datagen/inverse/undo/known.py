"""What is known of the effects of a recording, from files: a chain in JSON, the row of a dataset's file, a gain curve, a dry reference.

Conventions
    JSON is a list of effects with their settings, first to last, ``[{"effect": "compressor", "settings": {"ratio": 4.0}}]``; or an object
    with that list as ``chain``; or a console, as ``stemwright fit --save`` writes or ``--json`` prints it, of which the mixture gets the
    chain of the bus and each stem its own. ``sha256`` beside the list names the file that the settings are of: another one is refused.
    A gain curve is a numpy file or a sound file of [T], [1, T] or [C, T]: what the effect multiplied each sample by.
    The row of a dataset's file is found by the file's SHA-256. The dry side is the target's own chain: what both sides share stays. Of a
    limited mix it is the gain curve of its pair.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.effects import EFFECTS, resolve_chain
from stemwright.datagen.inverse.undo.requests import Array, Knowledge
from stemwright.manifests.dataset_rows import WrittenPair, WrittenSignal
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.pair_records import Example, SignalFile
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load, load_song
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.usage import UsageError

LOWEST_GAIN = 1e-6  # of a gain curve: smaller ones leave nothing to restore
ROW = "stem, effect, setting and value"  # of a console that was printed
MIXTURE = ""  # the name under which the chain of the mixture itself is kept


class KnownSettings:
    """The chains of a settings file by the name of the stem, "" for the mixture; or the rows of a dataset."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dataset = _dataset_in(path)
        self.sha256: str | None = None
        self.chains: dict[str, tuple[Any, ...]] = {}
        self.notes: tuple[str, ...] = ()
        if self.dataset is None:
            self._read()

    def of(self, song: Path, stem: str = MIXTURE) -> Knowledge:
        """What is known of a recording, or of one of its stems. Raises Refused where the settings are of another recording."""
        if self.dataset is not None:
            return recorded(song, self.dataset)
        if self.sha256 and not stem and file_sha256(song) != self.sha256:
            raise Refused(f"the settings in {self.path} are of another recording (its SHA-256 begins with {self.sha256[:12]})")
        return Knowledge(chain=self.chains.get(stem, ()), is_settled=True)

    def unused(self, names: Collection[str]) -> tuple[str, ...]:
        """Notes on a chain of the mixture that stems leave as it is. Raises UsageError for chains of none of these stems."""
        chains = {name: ", ".join(use["effect"] for use in chain) for name, chain in self.chains.items() if chain}
        others = sorted(name for name in chains if name and name not in names)
        if MIXTURE in names:
            return ()
        if others:
            raise UsageError(f"--settings {self.path}: expected stems of {', '.join(sorted(names))}; got {', '.join(others)}")
        if MIXTURE not in chains:
            return ()
        if len(chains) == 1:
            raise UsageError(f"--settings {self.path} has a chain of the mixture ({chains[MIXTURE]}) and none of stems: leave out --stems")
        return (f"{chains[MIXTURE]} of the mixture bus is left in: stems are undone below it",)

    def _read(self) -> None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8-sig"))  # Windows' editors begin with a byte order mark
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"--settings {self.path} cannot be read as JSON: {error}") from error
        if isinstance(found, Mapping):
            self.sha256 = found.get("sha256")
        if not isinstance(self.sha256, str | None):
            raise UsageError(f"--settings {self.path}: expected sha256 as text, got {self.sha256!r}")
        try:
            chains = _chains(found, self.path)
            self.notes = _not_undone(found, self.path)
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f'--settings {self.path}: expected "console" as stemwright fit --json prints it: rows of {ROW}') from error
        for name, chain in chains.items():
            if not isinstance(chain, list):
                raise UsageError(f"--settings {self.path}: expected a list of effects for {name or 'the bus'}, got {chain!r}")
            try:
                resolve_chain(chain)
            except ValueError as error:
                raise UsageError(f"--settings {self.path}: {error}") from error
        self.chains = {name: tuple(chain) for name, chain in chains.items()}
        if not any(self.chains.values()):
            raise UsageError(f"--settings {self.path}: expected effects to undo; it names none")


def _dataset_in(path: Path) -> Path | None:
    """The dataset that a path names: itself, or the one of a corpus; None where it is a file."""
    if path.is_file():
        return None
    for folder in (path / "dataset", path):
        if (folder / "examples.parquet").exists():
            return folder
    raise UsageError(f"--settings {path}: expected a JSON file, a corpus or its dataset; there is none")


def _chains(found: Any, path: Path) -> dict[str, Sequence[Any]]:
    """The chains in a JSON value, by the name of the stem."""
    if isinstance(found, list):
        return {MIXTURE: found}
    if isinstance(found, Mapping) and isinstance(found.get("chain"), list):
        return {MIXTURE: found["chain"]}
    if isinstance(found, Mapping) and isinstance(found.get("stems"), Mapping):
        return {MIXTURE: found.get("bus", []), **found["stems"]}
    if isinstance(found, Mapping) and isinstance(found.get("console"), list):
        return _console(found["console"])
    raise UsageError(
        f'--settings {path}: expected a list of effects such as [{{"effect": "compressor", "settings": {{"ratio": 4.0}}}}], an object with '
        "such a list as chain, or what stemwright fit --json prints"
    )


def _not_undone(found: Any, path: Path) -> tuple[str, ...]:
    """What a console has beside the chains that can be inverted: a room that stems are sent to, which is added to the mixture."""
    if not isinstance(found, Mapping):
        return ()
    printed = found["console"] if isinstance(found.get("console"), list) else []
    fed = [row["stem"] for row in printed if row["effect"] == "send"] or [*(found.get("send") or {}).get("gains_db", {})]
    if not fed and not found.get("send"):
        return ()
    return (f"the shared room of {path.name} ({', '.join(fed)}) is not undone: a reverberation that stems share stays in the recording",)


def _console(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    """The chains of a console that was printed as rows of stem, effect, setting and value."""
    chains: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        chains.setdefault(row["stem"] or MIXTURE, {}).setdefault(row["effect"], {})[row["setting"]] = row["value"]
    return {
        stem: [{"effect": effect, "settings": settings} for effect, settings in chain.items() if effect in EFFECTS]
        for stem, chain in chains.items()
    }


def recorded(song: Path, dataset: Path) -> Knowledge:
    """What the rows of a dataset say of one of its input files. Raises Refused for a file that is in none of its rows."""
    sha256, is_target = file_sha256(song), False
    for example in TableRows(dataset / "examples.parquet", Example):
        for file in example.signals:
            if file.audio.sha256 != sha256:
                continue
            is_target = file.role != "input"
            if not is_target:
                pair = next(row for row in TableRows(dataset / "pairs.parquet", WrittenPair) if row.id == example.pair_id)
                return _known(pair, example, file, dataset)
    if is_target:
        raise Refused(f"it is a target of {dataset}, not an input: the effects that the pair removes are not in it")
    raise Refused(f"it is no input file of {dataset}: none of its rows has its SHA-256")


def _known(pair: WrittenPair, example: Example, file: SignalFile, dataset: Path) -> Knowledge:
    """The gain curve that is a target of an input; or its chain, and that of the target made of the same source."""
    wet = next(signal for signal in pair.inputs if signal.name == file.name)
    for target in pair.targets:
        if target.view == "gain" and target.branches == wet.branches:
            return Knowledge(gain=_gain_of(dataset, example, target.name), source="gain curve")
    for target in pair.targets:
        if len(wet.branches) == len(target.branches) == 1 and _source(wet) == _source(target) and not (wet.sends or target.sends):
            written = next(each for each in example.signals if each.role == "target" and each.name == target.name)
            return Knowledge(chain=_chain(wet, file), remaining=_chain(target, written), source="row")
    raise Refused(
        f"the pair {pair.id} ({pair.kind}) has no target of the same source alone: there is no dry side of this file to go back to"
    )


def _gain_of(dataset: Path, example: Example, name: str) -> Array:
    """The gain of each sample that an example has as a target, [1 or C, T]. Raises Refused where its file is not there."""
    file = next(each for each in example.signals if each.role == "target" and each.name == name)
    path = located(dataset, file.audio)
    try:
        return load(path, stream=file.audio.stream)[0]
    except (OSError, Refused) as reason:
        raise Refused(f"the gain curve of its row, {path}, cannot be read: {reason}") from reason


def _source(signal: WrittenSignal) -> tuple[Any, ...]:
    branch = signal.branches[0]
    return branch.source_id, branch.offset_frames, branch.channels


def _chain(signal: WrittenSignal, file: SignalFile) -> tuple[Any, ...]:
    """The effects of a signal of one branch, each ``loudness`` as the gain that it had: a number, in dB."""
    gains = iter(file.levelled_db)
    uses = (*signal.branches[0].chain, *signal.bus)
    return tuple(next(gains, 0.0) if "normalising" in EFFECTS[use.effect].TRAITS else use for use in uses)


def _read(what: str, path: Path) -> tuple[Array, int]:
    """A sound file beside the recording. Raises Refused with what it was to be."""
    try:
        return load_song(path)
    except Refused as reason:
        raise Refused(f"the {what} {path}: {reason}") from reason


def gain_curve(path: Path, audio: Array, sample_rate: int) -> Array:
    """The gain of each sample of a recording [C, T], from a numpy or a sound file. Raises Refused where it is of another length or sign."""
    gain: Array
    if path.suffix.lower() == ".npy":
        try:
            stored = np.load(path, allow_pickle=False)
            if np.iscomplexobj(stored):
                raise UsageError(f"--gain-curve {path}: expected real gains, got {stored.dtype}")
            gain = np.asarray(stored, np.float64)
        except (OSError, ValueError) as error:
            raise UsageError(f"--gain-curve {path} cannot be read: {error}") from error
    else:
        gain, rate = _read("gain curve", path)
        if rate != sample_rate:
            raise Refused(f"the gain curve has {rate} Hz, the recording {sample_rate}; a gain is of one sample, it cannot be resampled")
    gain = np.atleast_2d(gain.squeeze())
    if gain.shape[0] > audio.shape[0] and gain.shape[1] <= audio.shape[0]:
        gain = gain.T
    if gain.ndim != 2 or gain.shape[1] != audio.shape[1] or gain.shape[0] not in (1, audio.shape[0]):
        raise Refused(f"the gain curve is {list(gain.shape)}, the recording {list(audio.shape)}: expected one gain for each sample")
    if not np.isfinite(gain).all() or float(gain.min()) < LOWEST_GAIN:
        raise Refused(f"the gain curve has values below {LOWEST_GAIN:g} or no numbers; what was multiplied by them cannot be restored")
    return gain


def dry_reference(path: Path, audio: Array, sample_rate: int) -> Array:
    """The dry reference of a recording [C, T], at its rate and with its channels; it may be longer or shorter."""
    dry, rate = _read("dry reference", path)
    dry = resample(dry, rate, sample_rate)
    if dry.shape[0] == 1 and audio.shape[0] > 1:
        dry = np.repeat(dry, audio.shape[0], axis=0)
    if dry.shape[0] != audio.shape[0]:
        raise Refused(f"the dry reference has {dry.shape[0]} channels, the recording {audio.shape[0]}")
    return dry
