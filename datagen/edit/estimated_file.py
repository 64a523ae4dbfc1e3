"""Blind estimates of the effects of one recording, stem by stem, against the profile of a corpus.

Conventions
    Of each stem every effect that has an estimate gets a row: an answer, or the reason why there is none. ``typical`` is what songs of the
    profile get as they are, each left out (``stemwright.datagen.inverse.blind.left_out``): a value within it says little.
    Sound is compared up to half its sample rate: one that ends below what the songs of the profile reach is refused, and one of a rate
    above ``HIGHEST_RATE`` is resampled, since the profile's songs are rarely recorded so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.edit.edited_file import stems_in, with_stems
from stemwright.manifests.records import RESIDUAL, Refused, Stem
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.answers import Blind
    from stemwright.datagen.inverse.blind.left_out import TypicalRange
    from stemwright.datagen.inverse.blind.profile import Profile, StemProfile

HIGHEST_RATE, USUAL_RATE = 48_000, 44_100
MEASURES = {"room": "reverberation time (s)"}  # of effects without trials on the songs of a profile
FILLED = 0.8  # share of the songs of a profile that reach a frequency


@dataclass(frozen=True)
class EffectAnswer:
    """What is estimated of one effect of one stem, and what songs of the profile get as they are."""

    stem: str
    effect: str
    answer: Blind
    typical: TypicalRange | None
    songs: int
    measure: str = ""  # what is estimated, with its unit, also where there is no answer

    @property
    def label(self) -> str:
        """The effect and what is estimated of it, with its unit, as far as that is known."""
        known = self.answer.quantity
        measure = f"{known.name} ({known.unit})" if known else self.measure
        return f"{self.effect}: {measure}" if measure else self.effect

    def plain(self) -> dict[str, Any]:
        """The row as plain values for JSON and CSV."""
        known: dict[str, Any] = dict.fromkeys(("quantity", "value", "low", "high", "unit"))
        known |= {**self.answer.plain(), "derived": list(self.answer.derived)}
        typical = dict(zip(("typical_low", "typical", "typical_high"), self.typical or (None,) * 3, strict=True))
        settings = None if self.answer.settings is None else self.answer.settings.plain()
        return {
            "stem": self.stem,
            "effect": self.effect,
            **{name: known[name] for name in ("quantity", "value", "low", "high", "unit", "confidence")},
            **{name: None if value is None else round(value, 4) for name, value in typical.items()},
            "profile_songs": self.songs,
            "settings": settings,
            "derived": known["derived"],
            "reason": self.answer.reason,
        }


@dataclass(frozen=True)
class EstimatedFile:
    """The estimates of one recording."""

    song: Path
    profile: str
    rows: tuple[EffectAnswer, ...]
    notes: tuple[str, ...] = ()

    @property
    def stems(self) -> list[str]:
        """The names of the stems, in order."""
        return list(dict.fromkeys(row.stem for row in self.rows))

    @property
    def effects(self) -> list[str]:
        """The effects, in order."""
        return list(dict.fromkeys(row.effect for row in self.rows))

    def plain(self) -> dict[str, Any]:
        """All of it as plain values for JSON."""
        rows = [row.plain() for row in self.rows]
        return {"song": str(self.song), "profile": self.profile, "estimates": rows, "notes": list(self.notes)}


def check_profile_songs(profile: Profile, path: Path) -> None:
    """Raises UsageError for a profile in which no stem has enough songs for any estimate."""
    from stemwright.datagen.inverse.blind.profile import FEWEST_SONGS

    most = max((profile[name].songs for name in profile), default=0)
    if most < FEWEST_SONGS:
        raise UsageError(
            f"the profile of {path} has {most} songs; at least {FEWEST_SONGS} are needed, better dozens. Add songs to its corpus and run: "
            "stemwright build SONGS CORPUS"
        )


def unlike_origins(path: Path, origin: str) -> str | None:
    """Why stems of an origin are unlike those of the profile at a path; None where they are alike, or its corpus is not known."""
    from stemwright.manifests.table_rows import TableRows

    stems = (path if path.is_dir() else path.parent) / "stems.parquet"
    if not stems.exists():
        return None
    found = sorted(set(TableRows(stems, Stem).column("origin").to_pylist()))
    if origin in found:
        return None
    return (
        f"the profile is of stems of the origin {', '.join(found)}, and those of this recording are of {origin}: what a separation does to "
        "stems looks like effects. Compare with a corpus that was separated by the same model"
    )


def estimate_file(
    song: Path,
    profile: Profile,
    *,
    stems: Path | None = None,
    separator: Any = None,
    on_share: Callable[[float], None] | None = None,
) -> EstimatedFile:
    """Estimates the effects of every stem of a recording: its own stems in a folder, or separated ones.

    Raises Refused where it cannot be read, or ends below the highest frequencies of the profile.
    """
    _, sample_rate, parts, notes = with_stems(song, stems_in(stems, song), separator, on_share)
    named = {name: audio for name, audio in parts.items() if name != RESIDUAL}
    if sample_rate > HIGHEST_RATE:
        named = {name: resample(audio, sample_rate, USUAL_RATE) for name, audio in named.items()}
        sample_rate = USUAL_RATE
    for name in named:
        _check_rate(song, sample_rate, profile[name])
    rows = [row for name, audio in named.items() for row in estimate_stem(audio, sample_rate, name, profile)]
    return EstimatedFile(song, profile.id, tuple(rows), tuple(notes))


def estimate_stem(stem: Audio, sample_rate: int, name: str, profile: Profile) -> list[EffectAnswer]:
    """The estimates of every effect of one stem [C, T]."""
    from stemwright.datagen.inverse.blind.left_out import left_out
    from stemwright.datagen.inverse.blind.stem_estimates import estimate_effects

    own = profile[name]
    found = estimate_effects(np.ascontiguousarray(stem), sample_rate, name, profile)
    trials = {effect: left_out(effect, own) for effect in found}
    rows = []
    for effect, answer in found.items():
        known = trials[effect]
        typical, measure = (known.typical, f"{known.quantity} ({known.unit})") if known else (None, MEASURES.get(effect, ""))
        rows.append(EffectAnswer(name, effect, answer, typical, own.songs, measure))
    return rows


def _check_rate(song: Path, sample_rate: int, profile: StemProfile) -> None:
    """Raises Refused for a recording that cannot hold the highest frequencies of the songs it is compared with."""
    from stemwright.datagen.inverse.blind.features import SPECTRUM_HZ

    if not profile.songs:
        return
    reached = np.isfinite(profile.values("spectrum_db")).mean(0) >= FILLED
    highest = max((hz for hz, there in zip(SPECTRUM_HZ, reached, strict=True) if there), default=0.0)
    if highest > sample_rate / 2:
        raise Refused(
            f"{song} has {sample_rate} Hz, nothing above {sample_rate / 2000:g} kHz, and stems {profile.name!r} of the profile reach "
            f"{highest / 1000:.1f} kHz: they cannot be compared. Give a recording of at least {2 * highest:.0f} Hz, or a profile of such "
            "songs"
        )
