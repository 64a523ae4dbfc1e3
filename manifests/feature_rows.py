"""The records of what is measured of the sound of stems, and of what is typical of it: the rows of a profile."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from stemwright.manifests.names import MOST_PARTS, Name
from stemwright.manifests.records import CacheKey, Db, EffectUse, Id, Record, content_id


class Features(Record):
    """What is measured of the sound of one stem (``stemwright.datagen.inverse.blind.features``); all but the loudness are independent of
    its level."""

    loudness_lufs: Db = Field(description="integrated loudness of the stem")
    range_lu: Db = Field(description="loudness range")
    crest_db: Db = Field(description="highest sample over the mean square where the stem sounds")
    onset_peak_db: Db | None = Field(
        description="mean of the onset peaks above their 75th percentile, the stem's peak at -10 dBFS; None: no onsets"
    )
    onset_deviation_db: Db | None = Field(description="standard deviation of those onset peaks; None: no onsets")
    spectrum_db: tuple[float | None, ...] = Field(
        description="mean power in sixths of an octave from 40 Hz, the stem at -30 LUFS; None: empty"
    )
    side_db: tuple[float | None, ...] = Field(description="side over mid energy per octave from 63 Hz; None: mono, or empty")
    similarity: tuple[float | None, ...] = Field(
        description="correlation of left and right per octave from 63 Hz, 1: equal; None: mono, or empty"
    )
    whole_side_db: Db | None = Field(description="side over mid energy of the whole; None: mono")
    decay_s: float | None = Field(description="time of a fall by 60 dB at the rate of the slower free decays; None: too few of them")
    dynamics: tuple[float, ...] = Field(
        description="quantities that a compressor changes, named by stemwright.datagen.inverse.blind.features.DYNAMICS"
    )


class Simulated(Record):
    """What an effect with known settings did to the dynamics of a stem: an example for estimating its settings blind."""

    use: EffectUse = Field(description="the effect and its settings")
    amount: Db = Field(description="what is to be estimated: the mean gain reduction of a compressor, in dB")
    dynamics: tuple[float, ...] = Field(description="of the stem with the effect")


class StemFeatures(Record):
    """Features of one stem; the rows of many songs are a profile, which says what is typical of stems of a name."""

    id: Id
    cache_key: CacheKey
    stem_id: Id = Field(description="the stem")
    track_id: Id = Field(description="its recording")
    name: Name = Field(description="name of the stem")
    features: Features | None = Field(description="None: silent")
    simulated: tuple[Simulated, ...] = Field((), description="the stem with known compressors: examples to learn an estimate from")


class StemStatistic(Record):
    """The values that a statistic of another package has for one stem (``stemwright.datagen.inverse.blind.statistics``)."""

    id: Id
    cache_key: CacheKey
    stem_id: Id = Field(description="the stem")
    track_id: Id = Field(description="its recording")
    name: Name = Field(description="name of the stem")
    statistic: Name = Field(description="name of the statistic")
    values: tuple[float | None, ...] = Field(max_length=MOST_PARTS, description="values in the units of the statistic; None: not defined")


def profile_id(rows: Sequence[StemFeatures]) -> str:
    """The id of a profile: of its rows in any order."""
    return content_id({"profile": sorted(row.id for row in rows)})
