"""The records that the tables hold: one row of each describes one thing that exists or is to be made.

Conventions
    Records are frozen. A stage never edits one: a new fact is a new row that carries the id of the old one.
    An id is 16 hex digits of a SHA-256 over canonical JSON (``content_id``). Two columns use it.
    ``cache_key`` is over everything that determines a row before it is made (sources, settings, model, versions): a start skips the tasks
    whose rows it finds, and a changed setting cannot be mistaken for finished work.
    Ids are over what was requested; what a machine used for it is in columns that no id covers (``Record.USED``).
    ``id`` is over the finished row (``seal``), so that an edit is detected. A track's is over its sound alone, of a lossy file over its
    packets: a renamed, retagged or re-wrapped file keeps its id, and two copies of one recording share it.
    Paths are relative, with forward slashes: of a source to the songs folder, of everything else to the corpus folder; in the tables of
    a dataset, which has to be complete by itself (``stemwright.manifests.dataset_rows``), to the dataset folder.
    A level that does not exist (silence) is ``None``, never a very low number.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
)
from pydantic_core import to_json

from stemwright.manifests.metadata import Genre, Metadata, Year, is_none
from stemwright.manifests.names import MOST_CHANNELS, MOST_FRAMES, MOST_PARTS, Name, RelativePath, SampleRate, ShardPath

Scalar = float | bool | str
Split = Literal["train", "valid", "test"]
RESIDUAL = "residual"  # the stem that holds mixture - sum(stems), so that the stems of a track always sum to it


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Refused(ValueError):  # noqa: N818  # a verdict on a row, not a failure of the program
    """The reason why a stage rejects a row: becomes a ``Rejected`` row, and the other rows are processed."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Equal values give equal text on every machine."""
    return _CANONICAL.encode(value)


def content_id(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def finite(value: Any) -> Any:
    """The value, but infinity as the text "inf" or "-inf", which every reader of JSON takes."""
    return str(value) if value in (math.inf, -math.inf) else value


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Db = Annotated[float, Field(allow_inf_nan=False)]
# Tables of version 0.1 call this column task_id; ids are still over that name, so that they do not change.
KEY_NAMES: dict[str, Any] = {"validation_alias": AliasChoices("cache_key", "task_id"), "serialization_alias": "task_id"}
KEY_MEANING = "hash of all that determined the row before it was made: a start skips the tasks whose keys it finds"
CacheKey = Annotated[Id, Field(description=KEY_MEANING, **KEY_NAMES)]


R = TypeVar("R", bound="Record")


class Record(BaseModel):
    """Base of all records: frozen, and an unknown column is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    AT_ONCE: ClassVar[int] = 4096  # rows that are written together: as Python objects they take a hundred times their place in Parquet
    USED: ClassVar[frozenset[str]] = frozenset()  # columns that describe the machine that made the row: no id depends on them

    def content(self) -> dict[str, Any]:
        """The row as plain JSON values, without its id."""
        return self.model_dump(mode="json", exclude={"id"})

    def seal_id(self) -> str:
        """The id over all other columns but ``USED``: of their JSON in the order of the columns, which is one text for equal rows."""
        return hashlib.sha256(self.model_dump_json(exclude={"id", *self.USED}, by_alias=True).encode()).hexdigest()[:16]


def seal(record_type: type[R], **columns: Any) -> R:
    """A record whose id is over all its other columns."""
    row = record_type(id="0" * 16, **columns)  # type: ignore[call-arg]
    return cast(
        "R", record_type.model_construct(row.model_fields_set, **{**row.__dict__, "id": row.seal_id()})
    )  # the columns have been checked


class AudioFile(Record):
    """A sound file at the time its row was written."""

    path: RelativePath = Field(
        description="relative to the songs folder (sources), the dataset folder (its own tables) or the corpus folder"
    )
    sample_rate: SampleRate = Field(description="Hz")
    num_channels: int = Field(ge=1, le=MOST_CHANNELS, description="channels")
    num_frames: int = Field(ge=0, le=MOST_FRAMES, description="samples per channel")
    num_bytes: int = Field(ge=0, description="size of the whole file in bytes: if it differs at the next start, the file is made again")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the whole file")
    stream: int = Field(0, ge=0, le=MOST_CHANNELS, description="number of the audio stream in the file, from 0 (a STEM mp4 has five)")

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.num_frames / self.sample_rate


Sound = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{64}$",
        description="identity of the sound itself (stemwright.manifests.sound.identity): independent of tags and container",
    ),
]


DelayFrames = Annotated[
    int | None,
    Field(
        ge=0,
        le=MOST_FRAMES,
        description="of a lossy file: decoded frames that are cut at its start, as its container says; None: a lossless file",
    ),
]


class ReferenceStem(Record):
    """One of a multitrack's own stems, or one of the files that are summed into it."""

    name: Name = Field(description="name of the stem")
    audio: AudioFile = Field(description="its file")
    sound: Sound
    delay_frames: DelayFrames = None
    lag_frames: float = Field(0.0, description="its delay in the mixture, in frames of the mixture: it is moved later by so much")
    fit_gain_db: Db | None = Field(None, description="its gain in the mixture by least squares, dB; None: not determined, or they sum")
    gain_db: Db = Field(0.0, description="gain that it gets when it is read, dB: where it was rescaled against the mixture")
    inverted: bool = Field(False, description="its polarity is inverted when it is read, since it was inverted against the mixture")
    swapped: bool = Field(False, description="its channels are swapped when it is read, since they were swapped against the mixture")
    part: Name | None = Field(None, description="the stem that it is summed into with others; None: it is a stem of its own, of its name")
    bleed: bool | None = Field(None, description="whether other instruments are heard in it, as the data set says; None: not stated")

    @property
    def stem(self) -> str:
        """The name of the stem that it is, or is a part of."""
        return self.part or self.name

    @property
    def mended(self) -> bool:
        """Whether it is read otherwise than it is in its file: moved, scaled, inverted or with its channels swapped."""
        return bool(self.lag_frames or self.gain_db or self.inverted or self.swapped)


def track_id(sound: str, references: tuple[ReferenceStem, ...] = ()) -> str:
    """The id of a recording: of the sound of its audio and of its reference stems, in whatever files."""
    return content_id({"sound": sound, "references": {stem.name: stem.sound for stem in references}})


class Track(Record):
    """A recording in the songs folder, with what is known about it before separation."""

    id: Id
    cache_key: CacheKey
    audio: AudioFile = Field(description="the file of the mixture; where that is a sum, the folder of the song")
    mixture: Literal["file", "sum"] = Field("file", description="file: it is in a file; sum: it is the sum of the song's own stems")
    sound: Sound
    delay_frames: DelayFrames = None
    title: str = Field(description="title, from the CSV, the tags or the name of the file")
    artist: str | None = Field(None, description="artist; None: not known")
    artist_ids: tuple[str, ...] = Field((), max_length=MOST_PARTS, description="MusicBrainz ids of the artists, from the tags")
    album: str | None = Field(None, description="album; None: not known")
    rights: str = Field("unknown", description="licence or owner, as the CSV, the data set or the tags state it")
    metadata: Metadata = Field(default_factory=dict)
    year: Year | None = Field(
        None, exclude_if=is_none, description="year of the first release that the CSV or the tags name, else of this one; None: not known"
    )
    genre: Genre | None = Field(
        None, exclude_if=is_none, description='genres, the main one first, with "; " between, from the CSV or the tags; None: not known'
    )
    source: str = Field(description="the kind of catalog that found it: folder, csv, stems, multitracks, musdb18, moisesdb ...")
    split: Split = Field(description="train, valid or test")
    peak_dbfs: Db = Field(description="largest absolute sample, dB relative to full scale")
    references: tuple[ReferenceStem, ...] = Field((), description="the multitrack's own stems, if it is one")
    closure_db: Db | None = Field(
        None, description="energy of mixture - sum(own stems, mended) over the mixture's, dB; None: they sum exactly, or it has none"
    )
    notes: tuple[str, ...] = Field((), description="remarks: what is unusual about the file and how it is handled")

    @property
    def files(self) -> tuple[AudioFile, ...]:
        """All files that it is read from."""
        own = tuple(stem.audio for stem in self.references)
        return own if self.mixture == "sum" else (self.audio, *own)


class Stem(Record):
    """One separated or reference stem, written on the mixture's own scale up to the track's joint gain."""

    USED = frozenset({"engine", "precision", "device"})

    id: Id
    cache_key: CacheKey
    track_id: Id = Field(description="the recording it is a stem of")
    name: Name = Field(description="drums, bass, other, vocals, ... or residual (mixture minus all other stems)")
    audio: AudioFile = Field(description="its file in the corpus folder")
    origin: str = Field(description='"htdemucs_ft@demucs-4.1.0" or "reference"')
    gain_db: Db = Field(
        description="joint gain of all stems of the track in dB, applied before writing; 0 unless a peak exceeded full scale"
    )
    closure_db: float | None = Field(
        description="energy of mixture - sum(stems, without the residual) over energy of the mixture, dB; None if they sum exactly"
    )
    engine: str | None = Field(
        None,
        description="engine that ran the networks: torch, openvino, onnxruntime, or function (another package); None: a reference stem",
    )
    precision: str | None = Field(None, description="number format that was used, fp32 or bf16; None: a reference stem")
    device: str | None = Field(None, description="kind of device that was used: cpu, cuda or mps; None: a reference stem")


class Part(Stem):
    """A part of a stem that a further separation took apart, such as the kick of the drums; the parts of a stem sum to it."""

    stem_id: Id = Field(description="the stem that it is a part of")
    part_of: Name = Field(description="name of that stem")


class EffectSettingsRow(Record):
    """An effect and its settings. Infinity, which strict JSON cannot express, is the text "inf" or "-inf"; the effects read it back."""

    effect: str = Field(description="name of the effect")
    settings: dict[str, Scalar] = Field(default_factory=dict, description="its settings by name")

    @field_validator("settings", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> Any:
        # In the order of their names, so that equal settings are written alike.
        settings = json.loads(value) if isinstance(value, str) else value
        return {name: finite(settings[name]) for name in sorted(settings)} if isinstance(settings, dict) else settings

    @field_serializer("settings")
    def _as_text_in_arrow(self, value: dict[str, Scalar], info: SerializationInfo) -> Any:
        # Settings differ from effect to effect, so a Parquet column of them has to be text.
        return to_json(value).decode() if info.context == "arrow" else value  # in order already; json would take five times as long


class EffectUse(EffectSettingsRow):
    """An effect with the settings it is used with, and its role in the pair."""

    role: Literal["kept", "removed", "added"] | None = Field(
        None,
        description="kept: in inputs and targets of the pair; removed: in inputs only; added: in targets only; "
        "None: the effect only sets a level and is not part of the task",
    )


class EffectEstimate(EffectSettingsRow):
    """An effect that was estimated from the audio: one quantity of it, with a confidence, and settings that have it.

    Rows of earlier versions state no quantity; their ids are over the other columns. Empty settings: the effect was not found.
    """

    confidence: float = Field(ge=0, le=1, description="probability that the quantity is right within the tolerance of the effect")
    quantity: str = Field("", description="name of what was estimated, such as mean gain reduction; confidence and interval are of it")
    value: Db | None = Field(None, description="value of the quantity")
    low: Db | None = Field(None, description="lower end of the 80 % interval of the quantity")
    high: Db | None = Field(None, description="upper end of that interval")
    unit: str = Field("", description="unit of the quantity and its interval")
    derived: tuple[Name, ...] = Field(
        (),
        max_length=MOST_PARTS,
        description="settings without a confidence: usual ones, or chosen so that the effect has the quantity",
    )

    @model_serializer(mode="wrap")
    def _without_unstated(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if self.quantity or info.context == "arrow":
            return values
        return {name: value for name, value in values.items() if name not in UNSTATED}


UNSTATED = frozenset({"quantity", "value", "low", "high", "unit", "derived"})  # not in the text of a row without a quantity


class Estimate(Record):
    """What was measured or estimated about one stem."""

    id: Id
    cache_key: CacheKey
    stem_id: Id = Field(description="the stem")
    track_id: Id = Field(description="its recording")
    name: Name = Field(description="name of the stem")
    loudness_lufs: Db | None = Field(description="integrated loudness of the stem on the mixture's scale (BS.1770-5); None: silent")
    peak_dbfs: Db | None = Field(None, description="largest absolute sample on the mixture's scale; None: silent")
    level_lu: Db | None = Field(description="level in LU: loudness of the stem minus loudness of the mixture; None: not present")
    level_low_lu: Db | None = Field(description="lower end of the 80 % interval of the level")
    level_high_lu: Db | None = Field(description="upper end of that interval")
    pan: float | None = Field(description="place between the loudspeakers, -1 left, 1 right; None: a mono mixture or a silent stem")
    width: float | None = Field(
        description="stereo width: 0 a panned mono signal, 1 two uncorrelated channels of equal energy; None: mono or silent"
    )
    active: tuple[bool, ...] = Field(description="for each second of the track, whether the stem sounds")
    effects: tuple[EffectEstimate, ...] = Field((), description="effects that were estimated blind, if estimate.effects is set")
    profile: str | None = Field(None, description="the corpus profile that the effect settings are relative to")
    calibration: Id | None = Field(
        None,
        exclude_if=is_none,
        description="the calibration to the separator that its level, pan and their intervals are by; None: generic",
    )


class Normalisation(Record):
    """The chain that normalises one stem: it moves the stem's effects to the profile of its name, as far as blind estimates allow."""

    id: Id
    cache_key: CacheKey
    stem_id: Id = Field(description="the stem")
    track_id: Id = Field(description="its recording")
    name: Name = Field(description="name of the stem")
    profile: Id = Field(description="id of the profile that defines what is typical")
    chain: tuple[EffectUse, ...] = Field(description="the effects that normalise it, in order")


class TrackEstimate(Record):
    """What was estimated about a whole track: its tempo, its beats, its key."""

    id: Id
    cache_key: CacheKey
    track_id: Id = Field(description="the recording")
    tempo_bpm: float | None = Field(description="beats per minute; None: no beat was found")
    beats_s: tuple[float, ...] = Field((), description="times of the beats, seconds from the start of the track")
    key: str | None = Field(description="tonic and mode, such as 'A minor' or 'C# major'; None: ambiguous")
    key_confidence: float = Field(ge=0, le=1, description="margin of the best key over the second best, as a difference of correlations")


class Member(Record):
    """A sound file that is embedded, byte for byte, in a shard."""

    path: RelativePath = Field(description="path of the sound file as the example's row gives it")
    start_byte: int = Field(ge=0, description="position of its first byte in the shard")
    num_bytes: int = Field(gt=0, description="its length in bytes")


class Shard(Record):
    """A file that holds the sound files of many examples: a tar, or a Parquet file with the sound in its cells."""

    AT_ONCE = 64

    id: Id
    path: ShardPath = Field(description="file of the shard")
    num_bytes: int = Field(ge=0, description="its size")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the whole file")
    labels: Id = Field(description="SHA-256 of the labels in it, which can change without a change of sound")
    members: tuple[Member, ...] = Field(description="the sound files in it")


class Rejected(Record):
    """What a stage rejected, and why."""

    id: Id
    stage: str = Field(description="the stage that refused it")
    row_id: str = Field(description="the id of the refused row, or the path of a file that has none yet")
    subject: str = Field(description="readable name: a path or a title")
    reason: str = Field(description="why it was rejected")
    replaced_by: Id | None = Field(None, description="the row that was made in its place")
    same_as: Id | None = Field(None, description="id of the row that it duplicates; None: no duplicate")
    cache_key: Id | None = Field(
        None, **KEY_NAMES, description="cache key of the work that leads to this result again; None: it is tried again at the next start"
    )
