"""What a build would do, how long it would take, and how much disk: a dry run, which writes nothing.

Conventions
    Songs are compared by path and size, and those that seem new with those that seem gone by checksum, too: a moved song is the same song.
    Of files whose size has changed the sound is compared, so that other tags are not taken for other songs: no song is decoded but for
    this, and of those only the lossless ones.
    Songs that are not in the table yet are as long as their headers say.
    Times are audio over the rates of earlier runs on this machine (``stemwright.datagen.run.rates``). Where a model has not run here, it
    separates ``TEST_S`` of a test signal; stages that have not run here are reported as unknown, never guessed.
    Sizes are frames x channels x 3 bytes x the FLAC compression ratio of the files that the corpus has; where it has none, ``FLAC_RATIO``.
    Pairs are counted as configured, for songs that are long enough: what else drawing may reject is not known before.
    Their signals are counted as their recipes state.
    Planning and checking are not counted: they take little beside the others.
    Refused is what the list, the names, the headers and an earlier run say will be refused; decoding and drawing may refuse more.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemwright.datagen.pairs.plan import SHORTER
from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.run import rates
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.cataloguing import found_songs, limited
from stemwright.datagen.run.stages.kept_stems import STEMS
from stemwright.datagen.run.stages.separating import finished_keys, tasks_of
from stemwright.datagen.run.stages.separating_parts import PartSeparation, drums_of, part_tasks
from stemwright.datagen.run.stages.separation_work import Separation
from stemwright.datagen.run.stages.separator_order import SeparationOrder, separator_of
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import TOO_LONG, Candidate, candidate_sound, num_bytes, songs_root
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import AudioFile, Refused, Stem, Track
from stemwright.manifests.sound import identity
from stemwright.manifests.sound.decoding import probe
from stemwright.manifests.sound.formats import check_length
from stemwright.manifests.wording import below

FLAC_RATIO = 0.6  # of 24-bit PCM: the stems of the excerpt that `demo` takes have 0.55, its pairs 0.57
BYTES_PER_SAMPLE = 3
MODEL_RATE, CHANNELS = 44_100, 2  # of Demucs's networks
NUM_STEMS = 5  # of a multitrack, with the residual: most have Demucs's four
TEST_S = 12.0


@dataclass(frozen=True)
class SongChanges:
    """The songs of a build against those of the corpus; ``later`` are those that a limit leaves for later."""

    new: int
    changed: int
    kept: int
    removed: int
    later: int


@dataclass(frozen=True)
class Step:
    """What a stage would do: how many things, how much audio, how long it takes, and where its rate comes from. None: not known."""

    stage: str
    count: int
    unit: str
    audio_s: float
    rate: float | None
    source: str

    @property
    def time_s(self) -> float | None:
        """How long it would take."""
        return 0.0 if not self.count or not self.audio_s else None if self.rate is None else self.audio_s / self.rate


@dataclass(frozen=True)
class Space:
    """What would be written to a folder, and how much of that its disk has room for."""

    folder: Path
    num_bytes: int
    free_bytes: int
    disk: int


@dataclass(frozen=True)
class Forecast:
    """What a build would do."""

    songs: SongChanges
    refused: tuple[tuple[str, str], ...]  # (path, reason), sorted
    usable: int  # songs that are not refused
    steps: tuple[Step, ...]
    deleted_files: int
    deleted_bytes: int
    spaces: tuple[Space, ...]
    candidates: tuple[Candidate, ...] = ()  # the songs as they were found
    notes: tuple[str, ...] = ()  # about how they were found

    @property
    def time_s(self) -> float | None:
        """How long all would take; None if a step is not known."""
        times = [step.time_s for step in self.steps]
        return None if None in times else sum(time_s for time_s in times if time_s)

    @property
    def lacking_bytes(self) -> int:
        """How much room is missing on the disk that lacks most; 0 if all have enough."""
        needed: dict[int, int] = {}
        for space in self.spaces:
            needed[space.disk] = needed.get(space.disk, 0) + space.num_bytes
        return max(0, *(needed[space.disk] - space.free_bytes for space in self.spaces))


@dataclass(frozen=True)
class _Songs:
    """Songs that are to be read, with their lengths, the tracks that are as they were, and those of them whose files have other tags."""

    changes: SongChanges
    fresh: tuple[tuple[Candidate, float], ...]
    kept: tuple[Track, ...]
    retagged: tuple[Track, ...]
    refused: Mapping[str, str]  # path -> reason
    found: tuple[tuple[Candidate, ...], tuple[str, ...]]  # the songs as they were found, and notes on how


def forecast(
    corpus: Corpus, config: Config, *, jobs: int = 1, limit: int | None = None, test: Callable[[Any], float] | None = None
) -> Forecast:
    """What a build with a configuration would do. ``test`` measures a separator whose rate is not known, in audio seconds a second.

    Raises ModelError if songs are to be separated, and the weights are not on this machine: nothing is fetched.
    """
    songs = _compared(corpus, config, limit)
    to_separate, own, separator = _to_separate(corpus, config, songs)
    audio_s = sum(length_s for _, length_s in to_separate)
    rate, source = _rate(rates.of_separation(separator)) if separator is not None else (None, "")
    if separator is not None and rate is None and to_separate and test is not None:
        rate, source = test(separator), f"measured now on {TEST_S:.0f} s of a test signal"
    renewed = {name for name, _ in (*to_separate, *own)}
    apart, further = _to_take_apart(corpus, config, songs, renewed)
    estimated = [(name, length_s) for name, length_s in _all(songs) if name in renewed or not _has_estimates(corpus)]
    examples = _rows(corpus, "examples", Example)
    rendered, deleted = _to_render(corpus, config, songs, renewed, examples)
    to_read = [*(length_s for _, length_s in songs.fresh), *(track.audio.duration_s for track in songs.retagged)]
    steps = (
        Step("catalog", len(to_read), "song", sum(to_read), *_rate(rates.of_stage("catalog", jobs))),
        Step("separate", len(to_separate), "song", audio_s, rate, source),
        *([Step("drums", len(apart), "song", sum(apart), *_part_rate(further, test if apart else None))] if further is not None else []),
        Step("estimate", len(estimated), "song", sum(length_s for _, length_s in estimated), *_rate(rates.of_stage("estimate", jobs))),
        Step("render", rendered, "pair", rendered * config.pairs.duration_s, *_rate(rates.of_stage("render", jobs))),
    )
    stems_bytes = _stem_bytes(corpus, audio_s, separator) + _stem_bytes(corpus, sum(length_s for _, length_s in own), None)
    stems_bytes += _stem_bytes(corpus, sum(apart), further) if further is not None else 0
    pair_bytes = _pair_bytes(corpus, config, examples, NUM_STEMS - 1 if separator is None else len(separator.stem_names))
    spaces = (_space(corpus.folder / STEMS, stems_bytes), _space(corpus.dataset, round(rendered * pair_bytes)))
    refused = {**_too_short(songs, config.pairs.duration_s), **songs.refused}
    usable = len({path for path, _ in _lengths(songs)} - {*refused})
    gone_bytes = sum(file.num_bytes for file in deleted)
    return Forecast(songs.changes, tuple(sorted(refused.items())), usable, steps, len(deleted), gone_bytes, spaces, *songs.found)


def measured_rate(separator: Any, clock: Callable[[], float] = time.perf_counter) -> float:
    """How fast a separator is here, in seconds of audio a second, by its work on a test signal; the first run prepares it."""
    import numpy as np

    rng = np.random.default_rng(0)
    sound = rng.standard_normal((CHANNELS, round(TEST_S * MODEL_RATE))).astype(np.float32) * np.float32(0.1)
    separator.separate(sound[:, : MODEL_RATE // 2], MODEL_RATE)
    began = clock()
    separator.separate(sound, MODEL_RATE)
    return TEST_S / max(clock() - began, 1e-9)


def _rate(key: str) -> tuple[float | None, str]:
    rate = rates.known(key)
    return rate, "not measured on this machine yet" if rate is None else "measured in an earlier run"


def _compared(corpus: Corpus, config: Config, limit: int | None) -> _Songs:
    """The songs against the table of tracks."""
    every = found_songs(config)
    found, tracks = limited(corpus, every, limit), _rows(corpus, "tracks", Track)
    root, by_path = songs_root(Path(config.songs.folder)), {track.audio.path: track for track in tracks}
    refused = {row.subject: row.reason for row in corpus.rejected() if row.stage == "catalog"}
    paths = {song.path for song in found.candidates}
    gone = {(track.audio.num_bytes, track.audio.sha256): track for track in tracks if track.audio.path not in paths}
    sizes = {size for size, _ in gone}
    kept: list[Track] = []
    retagged: list[Track] = []
    fresh: list[Candidate] = []
    changed = 0
    for song in found.candidates:
        track = by_path.get(song.path)
        if track is not None and num_bytes(candidate_sound(root, song)) == track.audio.num_bytes:
            kept.append(track)
        elif track is None and song.mixture != "sum" and (key := _key_of_moved(root / song.path, sizes)) in gone:
            kept.append(gone.pop(key))
        elif track is not None and _sounds_as_before(root, song, track):
            retagged.append(track)
        elif track is not None or song.path not in refused:
            changed += track is not None
            fresh.append(song)
    later = len(every.candidates) - len(found.candidates)
    changes = SongChanges(len(fresh) - changed, changed + len(retagged), len(kept), len(gone), later)
    lasting: list[tuple[Candidate, float]] = []
    wrong = {path: reason for path, reason in refused.items() if path in paths and path not in {song.path for song in fresh}}
    wrong |= dict(found.refused)
    for song in fresh:
        try:
            lasting.append((song, _length_s(root, song, config.songs.longest_s)))
        except (Refused, OSError) as error:
            lasting.append((song, 0.0))
            wrong[song.path] = str(getattr(error, "strerror", None) or error)
    return _Songs(changes, tuple(lasting), (*kept, *retagged), tuple(retagged), wrong, (found.candidates, found.notes))


def _key_of_moved(path: Path, sizes: Collection[int]) -> tuple[int, str]:
    """Size and checksum of a file, if it has the size of one that is missing."""
    try:
        size = path.stat().st_size
        return (size, file_sha256(path)) if size in sizes else (size, "")
    except OSError:
        return 0, ""


def _sounds_as_before(root: Path, song: Candidate, track: Track) -> bool:
    """Whether a file whose size has changed has other tags only. Of multitracks it is not asked: their stems cost nothing."""
    if song.references or track.references:
        return False
    try:
        hasher = identity.IdentityHash(root / song.path, song.stream, probe(root / song.path, stream=song.stream))
        return hasher.delay_frames == track.delay_frames and identity.of_file(root / song.path, stream=song.stream) == track.sound
    except (Refused, OSError):
        return False


def _length_s(root: Path, song: Candidate, longest_s: float) -> float:
    """How long a song lasts by its header. Raises Refused for what cannot be read, or is too long, as cataloguing will."""
    info = probe(candidate_sound(root, song), stream=song.stream)
    check_length(info.num_frames, info.sample_rate, longest_s, TOO_LONG)
    return info.num_frames / info.sample_rate


def _lengths(songs: _Songs) -> list[tuple[str, float]]:
    """Every song with its length, under its path."""
    return [
        *((track.audio.path, track.audio.duration_s) for track in songs.kept),
        *((song.path, length_s) for song, length_s in songs.fresh),
    ]


def _too_short(songs: _Songs, excerpt_s: float) -> dict[str, str]:
    """The songs of which no pair can be drawn, with the reason."""
    return {
        path: f"{SHORTER} ({below(length_s, excerpt_s)} s of {excerpt_s:g} s)" for path, length_s in _lengths(songs) if length_s < excerpt_s
    }


def _rows(corpus: Corpus, name: str, record_type: type[Any]) -> list[Any]:
    return corpus.rows(name, record_type) if corpus.table(name).exists() else []


def _all(songs: _Songs) -> list[tuple[str, float]]:
    """Every song that is not refused with its length, under the id of its track, or its path where it has none yet."""
    fresh = [(song.path, length_s) for song, length_s in songs.fresh if song.path not in songs.refused]
    return [*((track.id, track.audio.duration_s) for track in songs.kept), *fresh]


def _to_separate(corpus: Corpus, config: Config, songs: _Songs) -> tuple[list[tuple[str, float]], list[tuple[str, float]], Any]:
    """The tracks that are separated, those with stems of their own, and the separator if it is needed."""
    way = config.separation.separator
    takes_own = way in ("auto", "reference")
    fresh = [(song, length_s) for song, length_s in songs.fresh if song.path not in songs.refused]
    own = [(song.path, length_s) for song, length_s in fresh if song.references and takes_own]
    mixtures = [] if way == "reference" else [(song.path, s) for song, s in fresh if not (song.references and takes_own)]
    kept = {track.id for track in songs.kept}
    needed = bool(mixtures) or any(not (track.references and takes_own) for track in songs.kept)
    separator = separator_of(config, offline=True)
    if kept:
        separation = Separation(corpus, separator, config)
        finished = finished_keys(corpus)
        for task in tasks_of(corpus, separator, config):
            if task.row_id in kept and task.id not in finished and separation.kept(task) is None:
                (mixtures if task.duration_s else own).append((task.row_id, task.duration_s or task.payload[0].audio.duration_s))
    return mixtures, own, separator if needed and way != "reference" else None


def _to_take_apart(corpus: Corpus, config: Config, songs: _Songs, renewed: Collection[str]) -> tuple[list[float], Any]:
    """The lengths of the drums that would be taken apart, as far as it is known which songs have a stem of them, and by what; None if none
    are.
    """
    order = SeparationOrder(config, offline=True).of_parts()
    if order is None:
        return [], None
    further = order.separator()
    lengths_s = [length_s for name, length_s in _all(songs) if name in renewed]
    if corpus.table("tracks").exists() and corpus.table("stems").exists():
        current = {track.id for track in songs.kept} - set(renewed)
        finished = set(table.column(corpus.table("parts"), "cache_key")) if corpus.table("parts").exists() else set()
        separation = PartSeparation(corpus, further, order.config)
        tasks = (task for task in part_tasks(corpus, further.identity, drums_of(corpus)) if task.row_id in current)
        lengths_s += [task.duration_s for task in tasks if task.id not in finished and separation.kept(task) is None]
    return lengths_s, further


def _part_rate(separator: Any, test: Callable[[Any], float] | None) -> tuple[float | None, str]:
    """The rate of a further separator; ``test`` measures one that is not known."""
    rate, source = _rate(rates.of_separation(separator))
    return (test(separator), f"measured now on {TEST_S:.0f} s of a test signal") if rate is None and test is not None else (rate, source)


def _has_estimates(corpus: Corpus) -> bool:
    return corpus.table("estimates").exists()


def _to_render(
    corpus: Corpus, config: Config, songs: _Songs, renewed: set[str], examples: Sequence[Example]
) -> tuple[int, list[AudioFile]]:
    """How many pairs are to be rendered, and the files of examples that would go."""
    per_track = sum(getattr(config.pairs, kind).per_track for kind in RECIPES)
    wanted = per_track * sum(length_s >= config.pairs.duration_s for _, length_s in _all(songs))
    track_of = {pair.id: pair.track_id for name in ("pairs", "redraws") for pair in _rows(corpus, name, Pair)}
    before = corpus.config if examples else config
    same = (before.pairs, before.seed, before.encoding, before.dataset.format) == (
        config.pairs,
        config.seed,
        config.encoding,
        config.dataset.format,
    )
    current = {track.id for track in songs.kept} - renewed
    stay = [example for example in examples if same and track_of.get(example.pair_id) in current]
    staying = {example.id for example in stay}
    gone = [file.audio for example in examples if example.id not in staying for file in example.signals]
    if examples and len(stay) == len(examples) and not songs.fresh and not table.journals(corpus.journal("examples")):
        return 0, gone  # all is as it was, whatever drawing refused
    return max(0, wanted - len(stay)), gone


def _stem_bytes(corpus: Corpus, audio_s: float, separator: Any) -> int:
    """The size of the stems of so much audio, and of their residual: as many as a separator gives, at its rate."""
    if not audio_s:
        return 0
    stems = [stem.audio for stem in _rows(corpus, "stems", Stem)]
    count = NUM_STEMS if separator is None else len(separator.stem_names) + 1
    rate = getattr(separator, "sample_rate", None) or MODEL_RATE
    return round(audio_s * rate * CHANNELS * BYTES_PER_SAMPLE * count * _ratio(stems))


def _ratio(files: Iterable[AudioFile]) -> float:
    """How many bytes FLAC took of those of the same sound as 24-bit PCM."""
    listed = list(files)
    raw = sum(file.num_frames * file.num_channels * BYTES_PER_SAMPLE for file in listed)
    return sum(file.num_bytes for file in listed) / raw if raw else FLAC_RATIO


def _pair_bytes(corpus: Corpus, config: Config, examples: Sequence[Example], num_stems: int) -> float:
    """The size of one pair of the dataset: as those are that the corpus has, else by how many signals the recipes give it."""
    if examples and corpus.config.encoding == config.encoding and corpus.config.pairs == config.pairs:
        return sum(file.audio.num_bytes for example in examples for file in example.signals) / len(examples)
    sections = [getattr(config.pairs, kind) for kind in RECIPES]
    signals = sum(section.per_track * section.num_signals(num_stems) for section in sections)
    signals /= max(1, sum(section.per_track for section in sections))
    sample = 4.0 if config.encoding == "wav32f" else BYTES_PER_SAMPLE * FLAC_RATIO
    return signals * config.pairs.num_frames * CHANNELS * sample


def _space(folder: Path, num_bytes: int) -> Space:
    """The room on the disk that a folder is on, or will be: links are followed, and what is not there yet is where its parent is."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return Space(folder, num_bytes, shutil.disk_usage(place).free, place.stat().st_dev)
