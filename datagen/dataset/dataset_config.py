"""The section ``[dataset]`` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stemwright.datagen.pairs.section import Section, since


class DatasetConfig(Section):
    """What the dataset looks like on disk."""

    format: Literal["folder", "webdataset", "huggingface", "musdb"] = Field(
        "folder",
        description="layout of dataset/; another one packs the rendered files again and renders nothing",
        json_schema_extra=since("0.1"),
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
