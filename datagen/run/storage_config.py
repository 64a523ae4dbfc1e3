"""The section [storage] of a configuration: where the bytes of a corpus are. No id and no byte of a dataset depends on it."""

from __future__ import annotations

from pydantic import Field, field_validator

from stemwright.datagen.pairs.section import Section, since
from stemwright.manifests.disk.stores import address_of, is_address


class StorageConfig(Section):
    """Where stems and packed shards are stored. Tables, journals and locks are always in the corpus folder."""

    bulk: str | None = Field(
        None,
        description="store for stems and shards, such as s3://bucket/prefix, one prefix for each corpus; needs stemwright[cloud], and "
        "credentials in the environment. Not given: the corpus folder",
        json_schema_extra=since("0.1"),
    )

    @field_validator("bulk")
    @classmethod
    def _is_an_address(cls, text: str | None) -> str | None:
        if text is None:
            return None
        if not is_address(text):
            raise ValueError(f"expected the address of a store, such as s3://bucket/prefix; got {text!r}")
        return str(address_of(text))
