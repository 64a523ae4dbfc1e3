"""The section ``[dataset]`` of the configuration; a format that has ``Options`` brings a section ``[dataset.NAME]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from stemwright.datagen.dataset.writers import WRITERS
from stemwright.datagen.pairs.section import ExtensibleSection, since, with_sections


class DatasetBase(ExtensibleSection):
    """What the dataset looks like on disk."""

    format: str = Field(
        "folder",
        description="layout of dataset/; another one packs the rendered files again and renders nothing",
        json_schema_extra=since("0.1", choices=WRITERS),
    )
    encoding: Literal["auto", "flac24", "wav32f"] = Field(
        "auto",
        description="auto: flac24, but wav32f for musdb and for presets that were published as float (remfx). Float WAV takes peaks above "
        "full scale without a gain; it is larger and much faster to read",
        json_schema_extra=since("0.1"),
    )
    shard_mb: float = Field(
        256.0,
        gt=0,
        description="size of a shard of webdataset or huggingface, counted in sound files",
        json_schema_extra=since("0.1", unit="MB (10^6 bytes)"),
    )
    shard_examples: int | None = Field(
        None,
        gt=0,
        description="most examples in a shard, whatever their size; none: shard_mb decides",
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
