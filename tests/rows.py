"""Rows of tracks that need no audio, for tests of what only reads rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from stemwright.datagen.pairs.plan import RecipeRows
from stemwright.manifests.records import (
    AudioFile,
    EffectUse,
    Estimate,
    Normalisation,
    Record,
    ReferenceStem,
    Stem,
    Track,
    TrackEstimate,
    content_id,
    seal,
    track_id,
)


def arrow_values(record_type: type[Record], records: Iterable[Record]) -> list[dict[str, Any]]:
    """Rows as Arrow takes them, with the columns that JSON leaves out where they are empty."""
    values: Any = TypeAdapter(tuple[record_type, ...]).dump_python(tuple(records), context="arrow")  # type: ignore[valid-type]
    for signal in (signal for row in values for side in ("inputs", "targets") for signal in row.get(side, ())):
        for send in signal.setdefault("sends", ()):
            send.setdefault("feed", None)
            send.setdefault("returns", None)
    for row in values if record_type is Track else ():
        row.setdefault("year", None)
        row.setdefault("genre", None)
    return list(values)


NAMES = ("drums", "bass", "other", "vocals", "residual")


def audio_file(name: str, *, duration_s: float = 20.0, sample_rate: int = 44_100) -> AudioFile:
    return AudioFile(
        path=f"{name}.flac",
        sample_rate=sample_rate,
        num_channels=2,
        num_frames=int(duration_s * sample_rate),
        num_bytes=1_000,
        sha256=content_id(name) * 4,
    )


def track(number: int = 0, *, split: str = "train", duration_s: float = 20.0, references: tuple[ReferenceStem, ...] = ()) -> Track:
    audio = audio_file(f"song{number}", duration_s=duration_s)
    return Track(
        id=track_id(audio.sha256, references),
        cache_key=content_id(number),
        audio=audio,
        sound=audio.sha256,
        title=f"Song {number}",
        artist=f"Artist {number}",
        source="folder",
        split=split,
        peak_dbfs=-1.0,
        references=references,
    )


def stems_of(row: Track, *, names: tuple[str, ...] = NAMES, sample_rate: int = 44_100, gain_db: float = 0.0) -> list[Stem]:
    duration_s = row.audio.num_frames / row.audio.sample_rate
    return [
        seal(
            Stem,
            cache_key=content_id(row.id),
            track_id=row.id,
            name=name,
            audio=audio_file(f"stems/{row.id}/{name}", duration_s=duration_s, sample_rate=sample_rate),
            origin="tiny@demucs",
            gain_db=gain_db,
            closure_db=-20.0,
        )
        for name in names
    ]


def estimate_of(stem: Stem, *, loudness_lufs: float | None = -25.0, active: tuple[bool, ...] | None = None) -> Estimate:
    seconds = stem.audio.num_frames // stem.audio.sample_rate
    return seal(
        Estimate,
        cache_key=content_id(stem.id),
        stem_id=stem.id,
        track_id=stem.track_id,
        name=stem.name,
        loudness_lufs=loudness_lufs,
        peak_dbfs=None if loudness_lufs is None else loudness_lufs + 15.0,
        level_lu=None if loudness_lufs is None else loudness_lufs + 15.0,
        level_low_lu=None,
        level_high_lu=None,
        pan=0.0,
        width=0.1,
        active=(True,) * seconds if active is None else active,
    )


def corpus_rows(count: int = 3, **options: float) -> tuple[list[Track], list[Stem], list[Estimate]]:
    tracks = [track(number, **options) for number in range(count)]
    stems = [stem for row in tracks for stem in stems_of(row)]
    return tracks, stems, [estimate_of(stem) for stem in stems]


def tempo_of(row: Track, *, tempo_bpm: float | None = 120.0, key: str | None = "C major", first_s: float = 0.25) -> TrackEstimate:
    duration_s = row.audio.num_frames / row.audio.sample_rate
    count = 0 if tempo_bpm is None else int((duration_s - first_s) * tempo_bpm / 60.0)
    return seal(
        TrackEstimate,
        cache_key=content_id([row.id, "tempo"]),
        track_id=row.id,
        tempo_bpm=tempo_bpm,
        beats_s=tuple(round(first_s + beat * 60.0 / (tempo_bpm or 1.0), 4) for beat in range(count)),
        key=key,
        key_confidence=0.0 if key is None else 0.2,
    )


def normalisation_of(stem: Stem, *, gain_db: float = -3.0) -> Normalisation:
    return seal(
        Normalisation,
        cache_key=content_id([stem.id, "normalisation"]),
        stem_id=stem.id,
        track_id=stem.track_id,
        name=stem.name,
        profile=content_id("profile"),
        chain=(EffectUse(effect="fader", settings={"gain_db": gain_db}),),
    )


def knowledge_of(tracks: list[Track], stems: list[Stem]) -> RecipeRows:
    """What recipes may need besides stems and estimates: tempos from 100 to 125 per minute, keys a semitone apart."""
    keys = ("C major", "C# major", "A# minor", "D major")
    tempos = [tempo_of(row, tempo_bpm=100.0 + 5.0 * (number % 6), key=keys[number % 4]) for number, row in enumerate(tracks)]
    return RecipeRows(tuple(normalisation_of(stem) for stem in stems if stem.name != "residual"), tuple(tempos))
