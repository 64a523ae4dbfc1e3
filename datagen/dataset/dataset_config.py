"""The section ``[dataset]`` of the configuration; a format that has ``Options`` adds a section ``[dataset.NAME]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from stemwright.datagen.dataset.writers import WRITERS
from stemwright.datagen.pairs.section import ExtensibleSection, since, with_sections


class DatasetBase(ExtensibleSection):
    """What the dataset looks like on disk."""

    format: str = Field(
        "folder",
        description="layout of the folder dataset/; a change of format packs the rendered files again and renders nothing",
        json_schema_extra=since("0.1", choices=WRITERS),
    )
    encoding: Literal["auto", "flac24", "wav32f"] = Field(
        "auto",
        description="sample format of the sound files; auto: flac24, or wav32f for the musdb format and for presets published as "
        "float (remfx). wav32f (32-bit float WAV) stores peaks above full scale without a gain; it is larger and much "
        "faster to read than flac24 (24-bit FLAC)",
        json_schema_extra=since("0.1"),
    )
    shard_mb: float = Field(
        256.0,
        gt=0,
        le=1e6,
        description="target size of a shard in the webdataset and huggingface formats, counted in sound files",
        json_schema_extra=since("0.1", unit="MB (10^6 bytes)"),
    )
    shard_examples: int | None = Field(
        None,
        gt=0,
        le=10**9,
        description="largest number of examples in a shard, whatever their size; not given: shard_mb decides",
        json_schema_extra=since("0.1", unit="examples"),
    )

    @field_validator("format")
    @classmethod
    def _is_a_format(cls, name: str) -> str:
        if name not in WRITERS:
            WRITERS[name]  # raises, naming the nearest one or what is wrong with it
        return name


if TYPE_CHECKING:
    DatasetConfig = DatasetBase
else:
    DatasetConfig = with_sections(
        DatasetBase, "DatasetConfig", {}, {name: writer.Options() for name, writer in WRITERS.others().items() if writer.Options}
    )
