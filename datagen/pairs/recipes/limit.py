"""``limit``: limited mix -> mix, with the gain curve between them. The pair that de-limiting networks train on.

    mix       the stems, summed, times one gain            target ``mix``       (view ``unlimited``)
    gain      what the limiter did to every sample         target ``gain``      (view ``gain``, [1, T], stored as float)
    limited   mix x gain                                   input ``limited``

Conventions
    The bus of all three signals is the same: to the loudness drawn, through the limiter, to ``loudness_lufs``. The loudness is that of
    the excerpt, measured when it is rendered (planning knows no loudness of a sum of stems), so what goes into the limiter has the drawn
    loudness exactly. Over whole songs, as the reference has it, quiet passages would be limited less.
    Where the drive of a preset would leave the song's highest peak below the ceiling, so that nothing is limited anywhere, it is raised to
    the gain that lifts that peak DRIVEN_DB above it. An excerpt in which the limiter still does nothing is drawn again
    (``stemwright.datagen.pairs.audibility``). The mix has every gain of the bus but the limiter's, so both sides have one level, and
    limited / gain is the mix again. A song that was limited when it was released is limited twice: take multitracks, or recordings that
    were mastered gently.

References
    Jeon and Lee 2022, musdb-XL: loudness into the limiter N(-8.6, 1.17) LUFS ("XL") or N(-10.9, 1.19) LUFS ("L"), threshold 0 dB, release
    30 to 200 ms, -14 LUFS after it. The release is drawn here on the limiter's own, logarithmic scale.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from stemwright.datagen.effects.settings import draw_values
from stemwright.datagen.pairs.recipes.base import MOST_PER_TRACK, Draft, RecipeConfig, TrackMaterial, min_change_field, with_preset
from stemwright.datagen.pairs.section import since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse

PRESETS: dict[str, dict[str, Any]] = {"XL": {"drive_lufs": (-8.6, 1.17)}, "L": {"drive_lufs": (-10.9, 1.19)}}
DRIVEN_DB = 1.0
QUIETEST_LUFS, LOUDEST_LUFS = -70.0, 0.0  # what the effect ``loudness`` takes: four deviations and more from any published mean

Release = Annotated[float, Field(ge=1.0, le=5000.0)]  # what the effect ``limiter`` takes


class Config(RecipeConfig):
    """The section ``[pairs.limit]``: a limited mix, the mix before the limiter, and the gain between them."""

    per_track: int = Field(
        0,
        ge=0,
        le=MOST_PER_TRACK,
        description="number of pairs of this kind planned for each track; 0: none",
        json_schema_extra=since("0.1", unit="pairs a track"),
    )
    preset: Literal["XL", "L"] = Field(
        "XL",
        description="published loudness distribution (musdb-XL) that fills in the keys that are not given: XL is the louder "
        "one, L the quieter",
        json_schema_extra=since("0.1"),
    )
    mixture: Literal["released", "sum"] = Field(
        "released",
        description="mix that is limited; released: the sum of all stems and the residual; sum: without the residual",
        json_schema_extra=since("0.1"),
    )
    drive_lufs: tuple[
        Annotated[float, Field(ge=QUIETEST_LUFS, le=LOUDEST_LUFS)],
        Annotated[float, Field(ge=0.0, le=70.0)],
    ] = Field(
        (-8.6, 1.17),
        description="mean and standard deviation of the normal distribution that the loudness at the limiter's input is drawn from",
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    ceiling_db: float = Field(
        0.0,
        ge=-48.0,
        le=0.0,
        description="threshold of the limiter: no sample at its output exceeds it",
        json_schema_extra=since("0.1", unit="dBFS"),
    )
    release_ms: tuple[Release, Release] = Field(
        (30.0, 200.0),
        description="range [low, high] that the release time is drawn from, uniformly on a logarithmic scale",
        json_schema_extra=since("0.1", unit="ms"),
    )
    lookahead_ms: float = Field(
        1.5,
        ge=0.0,
        le=20.0,
        description="look-ahead of the limiter: how long before a peak the gain starts to fall",
        json_schema_extra=since("0.1", unit="ms"),
    )
    loudness_lufs: float = Field(
        -14.0,
        ge=-70.0,
        le=0.0,
        description="integrated loudness that the limited mix is scaled to",
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    min_change_db: float = min_change_field(-50.0)  # the published data has mixes of which a few peaks are limited

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        return with_preset(values, PRESETS)

    @model_validator(mode="after")
    def _is_a_range(self) -> Config:
        low, high = self.release_ms
        if low > high:
            raise ValueError(f"release_ms: expected [low, high] with low <= high; got {[low, high]}")
        return self

    def num_signals(self, num_stems: int) -> int:
        """The limited mix, the mix, and the gain between them."""
        del num_stems
        return 3


def draft(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one limited mix, in an excerpt where a stem drawn at random sounds."""
    names = [name for name in material.named if name in material.sounding] or list(material.named)[:1]
    start_frame = material.excerpt(names[int(rng.random() * len(names))], rng)
    drive = config.drive_lufs[0] + config.drive_lufs[1] * float(rng.standard_normal())
    if config.drive_lufs == PRESETS[config.preset]["drive_lufs"]:
        drive = max(drive, _least_drive(material, config))
    drive = min(max(drive, QUIETEST_LUFS), LOUDEST_LUFS)
    bus = (_loudness(round(drive, 3)), _limiter(config, rng), _loudness(config.loudness_lufs))
    stems = material.stems if config.mixture == "released" else tuple(material.named.values())
    branches = tuple(Branch(source_id=stem.id) for stem in stems)
    return Draft(
        start_frame,
        inputs=(Signal(name="limited", branches=branches, bus=bus),),
        targets=(
            Signal(name="mix", branches=branches, bus=bus, view="unlimited"),
            Signal(name="gain", branches=branches, bus=bus, view="gain"),
        ),
        min_change_db=config.min_change_db,
    )


def _least_drive(material: TrackMaterial, config: Config) -> float:
    """The loudness at which the song's highest peak is DRIVEN_DB above the ceiling; -inf where its loudness is not known."""
    known = [each for each in material.estimates.values() if each.loudness_lufs is not None and each.level_lu is not None]
    if not known:
        return -math.inf
    mixture_lufs = float(np.median([cast("float", each.loudness_lufs) - cast("float", each.level_lu) for each in known]))
    return config.ceiling_db + DRIVEN_DB - (material.track.peak_dbfs - mixture_lufs)


def _limiter(config: Config, rng: np.random.Generator) -> EffectUse:
    from stemwright.datagen.effects import EFFECTS

    settings = {"ceiling_db": config.ceiling_db, "release_ms": config.release_ms, "lookahead_ms": config.lookahead_ms, "linked": True}
    return EffectUse(effect="limiter", settings=draw_values(EFFECTS["limiter"].Settings, rng, settings), role="removed")


def _loudness(target_lufs: float) -> EffectUse:
    return EffectUse(effect="loudness", settings={"target_db": target_lufs, "measure": "lufs"})
