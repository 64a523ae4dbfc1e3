"""Rows of tracks that need no audio, for tests of what only reads rows."""

from __future__ import annotations

from manifests.records import AudioFile, Estimate, ReferenceStem, Stem, Track, content_id, seal, track_id

NAMES = ("drums", "bass", "other", "vocals", "residual")


def audio_file(name: str, *, duration_s: float = 20.0, sample_rate: int = 44_100) -> AudioFile:
    return AudioFile(
        path=f"{name}.flac", sample_rate=sample_rate, num_channels=2, num_frames=int(duration_s * sample_rate), sha256=content_id(name) * 4
    )


def track(number: int = 0, *, split: str = "train", duration_s: float = 20.0, references: tuple[ReferenceStem, ...] = ()) -> Track:
    audio = audio_file(f"song{number}", duration_s=duration_s)
    return Track(
        id=track_id(audio, references),
        task_id=content_id(number),
        audio=audio,
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
            task_id=content_id(row.id),
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
        task_id=content_id(stem.id),
        stem_id=stem.id,
        track_id=stem.track_id,
        name=stem.name,
        loudness_lufs=loudness_lufs,
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
