"""The section [songs] of a configuration: where the songs are, what is taken of them, and how they are split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from stemwright.datagen.pairs.section import Section, as_list, since
from stemwright.manifests.catalog.song_list import nearest
from stemwright.manifests.catalog.stem_map import StemRules
from stemwright.manifests.catalog.tracks import SplitShares, kinds
from stemwright.manifests.names import Name
from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.sound.formats import LONGEST_S


class SongsConfig(Section):
    """Where the songs are, and how they are split."""

    folder: str = Field(
        ".",
        description="songs folder, or a CSV file that lists the songs; absolute, or relative to the folder in which the command is run. "
        "Or the address of either in a bucket, such as s3://bucket/songs",
        json_schema_extra=since("0.1"),
    )
    kind: str = Field(
        "auto",
        description="layout of the songs: a folder of recordings, a CSV file, STEM files, one folder per multitrack, MUSDB18 or "
        "MUSDB18-HQ, MoisesDB, Slakh2100, MedleyDB, numbered raw tracks as of the Cambridge library; auto: detected from the files found, "
        "but for multitracks and cambridge",
        json_schema_extra=since("0.1", choices=kinds()),
    )
    mixture: Literal["file", "sum"] = Field(
        "file",
        description="mixture of a multitrack without a file of it; file: the song is rejected; sum: it is the sum of its stems, with a "
        "note, unclipped. MoisesDB defines its mixtures as sums, so they are summed either way",
        json_schema_extra=since("0.1"),
    )
    stems: dict[Name, tuple[str, ...]] = Field(
        {},
        description="which files of a multitrack are summed into which stem: a table [songs.stems] with lines stem = [patterns], such as "
        'drums = ["kick*", "snare*", "oh*"]; patterns are matched, whatever the case, against the names of the files with and without a '
        "number in front, and the instruments that a data set states. Empty: the stems of the data set, else each file is a stem",
        json_schema_extra=since("0.1"),
    )
    unmatched: Literal["other", "own", "refuse"] = Field(
        "other",
        description="files that match no pattern of [songs.stems]; other: they are summed into the stem other; own: each is a stem "
        "of its own; refuse: the song is rejected",
        json_schema_extra=since("0.1"),
    )
    ignore: tuple[str, ...] = Field(
        (),
        description="files to skip because they are not songs: shell patterns matched against the path in the songs folder, such "
        'as "*.txt.mp3" or "demo/*", or names of folders; skipped files are counted in a note and not rejected',
        json_schema_extra=since("0.1"),
    )
    shares: SplitShares = Field(
        default_factory=SplitShares,
        description="shares of the artists in each split, where the data set has no splits of its own; the three sum to 1",
    )
    copies: Literal["drop", "same_split"] = Field(
        "drop",
        description="what becomes of a copy of a recording by its sound (another encoding, an excerpt, shifted, 2 % faster or slower): "
        "drop rejects it with a row that says of which and how far; same_split keeps it, in the split of the recording",
        json_schema_extra=since("0.1"),
    )
    versions: Literal["own", "same_split"] = Field(
        "own",
        description="where the versions of one song (live, remastered, covers) are, which are kept in any case: own puts them where their "
        "artists are, and those that sound alike together; same_split also those whose titles are the same without what is in brackets",
        json_schema_extra=since("0.1"),
    )
    group_by: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (),
        description="columns whose equal values put songs into one split, as a shared artist does: album, title, rights, source, or any "
        'other column of the CSV, such as "genre"; one name or a list. Where few values have most songs, shares cannot be kept',
        json_schema_extra=since("0.1"),
    )
    longest_s: float = Field(
        LONGEST_S,
        gt=0,
        le=7 * 86_400,
        description="longest recording that is accepted; a longer one is rejected, before it is decoded where its header states a "
        "length. Separation takes about 6 GB of disk per hour of audio; raise this limit for operas, DJ sets and field "
        "recordings",
        json_schema_extra=since("0.1", unit="s"),
    )

    @property
    def rules(self) -> StemRules:
        """What becomes of the files of multitracks."""
        return StemRules(self.stems, self.unmatched, self.mixture == "sum")

    @field_validator("kind")
    @classmethod
    def _is_a_kind(cls, kind: str) -> str:
        if kind not in kinds():
            raise ValueError(f"expected one of {', '.join(kinds())}; got {kind!r}{nearest(kind, kinds())}")
        return kind

    @field_validator("stems")
    @classmethod
    def _are_stems(cls, stems: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if RESIDUAL in stems:
            raise ValueError(f"{RESIDUAL!r} is what all stems leave of the mixture; expected another name of a stem")
        for stem, patterns in stems.items():
            if not patterns or not all(pattern.strip() for pattern in patterns):
                raise ValueError(f'{stem}: expected a list of patterns, such as ["{stem}*"]; got {list(patterns)!r}')
        return stems
