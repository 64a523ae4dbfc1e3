"""A sample of pairs to listen to: drawn, cut, turned down together where needed, encoded for browsers, with their waveforms and settings.

Conventions
    All signals of a pair are encoded alike and have one length, so they can be switched at the same sample.
    A page carries at most ``SECONDS`` of each signal and ``MAX_SIGNALS`` signals of a pair, as MP3: every browser plays it (Vorbis and Opus
    are newer in Safari), and it has a tenth of the size of FLAC. The MP3 is for listening only; the data set is unchanged.
    One gain for all signals of a pair keeps their peaks, and that of their sum, below full scale.
    The audio is read from the data set, out of its shards too; what is missing there is rendered again from its row.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.datagen.pairs.render import Sources, render
from stemwright.datagen.pairs.rights import sources_of
from stemwright.datagen.report.chain_text import BUS, SEND, format_value, uses, written
from stemwright.datagen.report.charts import fixed, number, waveform
from stemwright.datagen.report.rows import Rows, ordered, signals
from stemwright.manifests.dataset_rows import SourceRows
from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.id_numbers import Ids, plain
from stemwright.manifests.joined_rows import ById
from stemwright.manifests.pair_columns import Numbers
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Refused
from stemwright.manifests.shards import Places, in_dataset
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.writing import encode_mp3
from stemwright.manifests.wording import duration
from stemwright.separation.loudness.meter import integrated_loudness

SECONDS = 5.0
MAX_SIGNALS = 9  # a drum pair has eight inputs and a target
CEILING_DBFS = -1.0  # MP3 overshoots a little
DATASET = "dataset"
COLUMNS = 400  # of a waveform
Chosen = tuple[Pair, Example]


@dataclass
class PlayedSignal:
    """One signal of a player: a name, a role, its outline and, unless it is a gain curve, its audio."""

    name: str
    role: str
    path: Markup
    facts: str = ""
    mp3: str = ""
    sums: list[int] = field(default_factory=list)  # numbers of the signals that this one is the sum of
    match_gain: float = 1.0


@dataclass
class Player:
    """All that the page needs to play one pair and to say what it is."""

    pair: Pair
    title: str
    where: str
    signals: list[PlayedSignal] = field(default_factory=list)
    curves: list[PlayedSignal] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_seconds: float = 0.0
    matched: bool = False

    def for_script(self) -> dict[str, Any]:
        """What the script needs: length and sources of the signals."""
        sounds = [{"mp3": each.mp3, "sums": each.sums, "match": round(each.match_gain, 5)} for each in self.signals]
        return {"seconds": round(self.num_seconds, 6), "signals": sounds}


def choose(rows: Rows, count: int, seed: int) -> list[Chosen]:
    """Draws rendered pairs: the kinds in turn, and of each kind first one of every track."""
    if not count:
        return []
    rng = np.random.default_rng(seed)
    by_kind = _rendered_of_kinds(rows)
    ids, tracks = rows.pairs.ids(), rows.pairs.ids("track_id")
    kinds = sorted(by_kind, key=lambda kind: (kind != "removal", kind))
    queues = [_tracks_in_turn(by_kind[kind][np.argsort(ids[by_kind[kind]], kind="stable")], tracks, rng)[:count].tolist() for kind in kinds]
    chosen: list[list[int]] = [[] for _ in queues]
    while sum(map(len, chosen)) < count and any(queues):
        for taken, queue in zip(chosen, queues, strict=True):
            if queue and sum(map(len, chosen)) < count:
                taken.append(queue.pop(0))
    pairs = rows.pairs.few([number for taken in chosen for number in taken])
    return list(zip(pairs, _examples_of(rows, pairs), strict=True))


def _rendered_of_kinds(rows: Rows) -> dict[str, Numbers]:
    """The numbers of the rendered pairs of each kind."""
    found, start = defaultdict[str, list[Numbers]](list), 0
    for batch in rows.pairs.columns("kind"):
        kinds, rendered = batch.column("kind").dictionary_encode(), rows.rendered[start : start + batch.num_rows]
        numbers = plain(kinds.indices)
        for code in np.unique(numbers[rendered]).tolist():
            found[kinds.dictionary[code].as_py()].append(start + np.flatnonzero(rendered & (numbers == code)))
        start += batch.num_rows
    return {kind: np.concatenate(numbers) for kind, numbers in found.items()}


def _examples_of(rows: Rows, pairs: Sequence[Pair]) -> list[Example]:
    of_pair = ById(rows.examples, "pair_id", mapped=False)
    return [of_pair[pair.id] for pair in pairs]


def _tracks_in_turn(found: Numbers, tracks: Ids, rng: np.random.Generator) -> Numbers:
    """In random order, but the n-th pair of a track after the first n - 1 of all tracks; ``tracks`` are those of all pairs."""
    order = found[rng.permutation(len(found))]
    by_track = np.argsort(tracks[order], kind="stable")
    _, starts, counts = np.unique(tracks[order][by_track], return_index=True, return_counts=True)
    turn = np.empty(len(order), np.int64)
    turn[by_track] = np.arange(len(order)) - np.repeat(starts, counts)
    return order[np.argsort(turn, kind="stable")]


def players(rows: Rows, count: int, seed: int, on_progress: OnProgress | None = None) -> list[Player]:
    """The players of a sample of pairs. A pair whose audio cannot be read is there with the reason in its notes."""
    chosen, made = choose(rows, count, seed), list[Player]()
    if not chosen:
        return made
    places = Places(rows.folder / DATASET)
    for done, (pair, example) in enumerate(chosen):
        if on_progress:
            on_progress(done, len(chosen), f"{pair.kind} {pair.id}")
        made.append(_player(rows, places, pair, example))
    return made


def _player(rows: Rows, places: Places, pair: Pair, example: Example) -> Player:
    track = rows.track.get(pair.track_id)
    title = track.title if track else pair.track_id
    by = f" by {track.artist}" if track and track.artist else ""
    start_s = pair.start_frame / pair.sample_rate
    player = Player(pair, f"{title}{by}", f"from {int(start_s // 60)}:{start_s % 60:04.1f}, {duration(pair.num_frames / pair.sample_rate)}")
    player.settings = _settings(rows, written_pair(pair, example.gain_db, SourceRows()))  # on the scale of what is heard
    try:
        audio = _audio(rows, places, pair, example)
    except (Refused, OSError, ValueError) as reason:
        player.notes.append(f"It cannot be played: {reason}")
        return player
    player.num_seconds = next(iter(audio.values())).shape[1] / pair.sample_rate
    if player.num_seconds < pair.num_frames / pair.sample_rate:
        player.notes.append(f"The first {player.num_seconds:g} s are on this page.")
    _fill(player, pair, example, audio)
    return player


def _audio(rows: Rows, places: Places, pair: Pair, example: Example) -> dict[str, Audio]:
    """The first seconds of every signal, as the data set has them."""
    wanted = min(pair.num_frames, round(SECONDS * pair.sample_rate))
    try:
        return {file.name: places.find(in_dataset(file.audio.path)).load(0, wanted)[0] for file in example.signals}
    except (Refused, OSError):
        stems = {source: rows.stem[source].audio for source in sources_of(pair) if source in rows.stem}
        gain = np.float32(db_to_gain(example.gain_db))
        curves = {signal.name for _, signal in signals(pair) if signal.view == "gain"}
        made = render(pair, Sources(rows.folder, stems))
        return {name: audio[:, :wanted] * (np.float32(1) if name in curves else gain) for name, audio in made.items()}


def _fill(player: Player, pair: Pair, example: Example, audio: dict[str, Audio]) -> None:
    """Adds the signals, the sum of the inputs where there are several, and what is drawn but not heard."""
    sounding = _on_page(player, [(role, signal.name) for role, signal in signals(pair) if signal.view != "gain" and signal.name in audio])
    if sum(role == "input" for role, _ in sounding) > 1:  # the sum of the inputs and the target are compared: one below the other
        sounding.sort(key=lambda each: each[0] == "input")
    parts = [(role, name, audio[name]) for role, name in sounding]
    inputs = [index for index, (role, _) in enumerate(sounding) if role == "input"]
    total: Audio | None = None
    if len(inputs) > 1:
        total = np.sum([_stereo(parts[index][2]) for index in inputs], axis=0, dtype=np.float32)
    every = ([total] if total is not None else []) + [part for _, _, part in parts]
    peak = max((float(np.abs(each).max(initial=0.0)) for each in every), default=0.0)
    gain = min(1.0, db_to_gain(CEILING_DBFS) / peak) if peak else 1.0
    if gain < 1.0:
        player.notes.append(f"Turned down by {number(-gain_to_db(gain), 2)} dB on this page, all signals equally.")
    lufs = {file.name: file.loudness_lufs for file in example.signals}
    if total is not None:
        loudness = integrated_loudness(total, pair.sample_rate)
        phrase = _lufs(loudness if math.isfinite(loudness) else None)
        player.signals.append(PlayedSignal("all inputs", "sum", _outline(total, peak), phrase, "", [index + 1 for index in inputs]))
    for role, name, part in parts:
        mp3 = base64.b64encode(encode_mp3(part * np.float32(gain), pair.sample_rate)).decode()
        player.signals.append(PlayedSignal(name, role, _outline(part, peak), _lufs(lufs.get(name)), mp3))
    _match(player, every, pair.sample_rate)
    player.curves = [_curve(role, signal.name, audio[signal.name]) for role, signal in signals(pair) if signal.view == "gain"]


def _on_page(player: Player, sounding: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most MAX_SIGNALS of a pair's signals: the first inputs and the first targets, with a note that says so."""
    if len(sounding) <= MAX_SIGNALS:
        return sounding
    player.notes.append(f"{MAX_SIGNALS} of its {len(sounding)} signals are on this page.")
    targets = [each for each in sounding if each[0] == "target"][: MAX_SIGNALS // 2]
    return [each for each in sounding if each[0] == "input"][: MAX_SIGNALS - len(targets)] + targets


def _stereo(audio: Audio) -> Audio:
    return np.repeat(audio, 2, axis=0) if audio.shape[0] == 1 else audio[:2]


def _lufs(loudness: float | None) -> str:
    return "no loudness" if loudness is None else f"{fixed(loudness)} LUFS"


def _match(player: Player, every: Sequence[Audio], sample_rate: int) -> None:
    """For each signal the gain, at most 1, that makes all as loud as the softest: what is louder only seems better."""
    measured = [integrated_loudness(audio, sample_rate) for audio in every]
    # A stem against a mix is no comparison; two versions of one thing are.
    several = any(each.role == "sum" for each in player.signals)
    compared = [
        index
        for index, loudness in enumerate(measured)
        if math.isfinite(loudness) and not (several and player.signals[index].role == "input")
    ]
    if len(compared) < 2:
        return
    lowest = min(measured[index] for index in compared)
    for index in compared:
        player.signals[index].match_gain = db_to_gain(lowest - measured[index])
    player.matched = max(measured[index] for index in compared) - lowest > 0.1


def _outline(audio: Audio, peak: float) -> Markup:
    """Lowest and highest sample over both channels in each of ``COLUMNS`` columns, relative to the peak of the pair."""
    edges = np.linspace(0, audio.shape[1], COLUMNS + 1).astype(int)[:-1]
    scale = peak or 1.0
    lows = np.minimum.reduceat(audio.min(axis=0), edges) / scale
    highs = np.maximum.reduceat(audio.max(axis=0), edges) / scale
    return waveform(lows.tolist(), highs.tolist())


def _curve(role: str, name: str, gain: Audio) -> PlayedSignal:
    """A gain curve as a line: the lowest gain of each column, from 0 dB at the top to its deepest reduction at the bottom."""
    edges = np.linspace(0, gain.shape[1], COLUMNS + 1).astype(int)[:-1]
    lowest = np.minimum.reduceat(np.maximum(gain.min(axis=0), 1e-6), edges)
    reduction_db = np.minimum(20.0 * np.log10(lowest), 0.0)
    depth = max(1.0, -float(reduction_db.min()))
    points = " ".join(f"{x},{round(2 - 58 * float(value) / depth)}" for x, value in enumerate(reduction_db))
    return PlayedSignal(name, role, Markup(f"M{points}"), f"at most {fixed(-float(reduction_db.min()))} dB")


def _settings(rows: Rows, pair: Pair) -> list[dict[str, Any]]:
    """The effects of a pair in the order of their chains: side, what they are applied to, name, settings with units. Before them the stems
    that are on one side only, which is how something is muted or taken out.
    """
    found: list[dict[str, Any]] = []
    sides = [{branch.source_id for signal in group for branch in signal.branches} for group in (pair.inputs, pair.targets)]
    for role, sources in (("removed", sides[0] - sides[1]), ("added", sides[1] - sides[0])):
        names = ordered({rows.stem[source].name for source in sources if source in rows.stem})
        if names and all(sides):
            found.append({"role": role, "on": "", "effect": ", ".join(names), "settings": []})
    for use in uses(pair):
        stem = rows.stem.get(use.source)
        track = rows.track.get(stem.track_id) if stem else None
        on = stem.name if stem else _bus_name(use.source)
        if stem and track and stem.track_id != pair.track_id:
            on += f" of {track.title}"
        found.append({"role": use.role, "on": on, "effect": use.effect, "settings": written(use.effect, use.settings)})
    return [*found, *_send_gains(rows, pair)]


def _bus_name(source: str) -> str:
    """What an effect is applied to that is on no stem."""
    return f"the send {source.removeprefix(SEND)}" if source.startswith(SEND) else "the sum" if source == BUS else "the mixture"


def _send_gains(rows: Rows, pair: Pair) -> list[dict[str, Any]]:
    """The gains with which stems feed sends, side by side as effects are."""
    found: list[dict[str, Any]] = []
    for role, group in (("removed", pair.inputs), ("added", pair.targets)):
        for signal in group:
            for send in signal.sends:
                fed = [(branch.source_id, gain_db) for branch, gain_db in zip(signal.branches, send.gains_db, strict=True)]
                names = [(rows.stem[source].name if source in rows.stem else source, gain_db) for source, gain_db in fed]
                gains = [(name, format_value(gain_db, "dB")) for name, gain_db in names if gain_db is not None]
                found.append({"role": role, "on": f"the send {send.name}", "effect": "gains", "settings": gains})
    return found
