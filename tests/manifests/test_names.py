"""Names, paths and numbers from outside: what a row may say, and that nothing else gets into one."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import BaseModel, ValidationError

from stemwright.manifests import table
from stemwright.manifests.feature_rows import StemFeatures, StemStatistic
from stemwright.manifests.names import HIGHEST_RATE, LONGEST_NAME, LOWEST_RATE, Name, ShardPath, checked_name, inside, is_name, name_from
from stemwright.manifests.pair_records import Branch, Pair, Signal, SignalFile
from stemwright.manifests.records import AudioFile, Estimate, Normalisation, Part, ReferenceStem, Shard, Stem
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.separation.stem_files import StemFolder

NOT_NAMES = (
    *("", ".", "..", "../x", "../../../../home/precious", "/etc/passwd", "a/b", "a\\b", "C:x", ".hidden", "-rf", "_x", "Drums", "é"),
    *("a b", "a.b", "a\n", "a\0", "a\x1b[0m", "x" * (LONGEST_NAME + 1), "nul:", "*", "~", "$(x)", "%00", "ﬁ", "١"),
)


class Named(BaseModel):
    name: Name


def audio_file(**columns) -> dict:
    return {"path": "a.flac", "sample_rate": 44_100, "num_channels": 2, "num_frames": 10, "num_bytes": 1, "sha256": "0" * 64} | columns


@given(st.text() | st.from_regex(r"[a-z0-9_-]{0,70}", fullmatch=True))
def test_a_record_takes_exactly_what_is_a_name(text):
    try:
        taken = Named(name=text).name == text
    except ValidationError:
        taken = False
    assert taken == is_name(text)


@given(st.text())
def test_a_name_is_one_plain_part_of_a_path(text):
    if is_name(text):
        assert text == text.lower()
        assert text.isascii()
        assert 0 < len(text.encode()) <= LONGEST_NAME
        assert not set(text) & set("/\\.:\0~ \n")
        assert text[0] not in "-_."
        assert inside(text) == text


@given(st.text())
def test_a_name_made_from_a_text_is_a_name_or_plainly_none(text):
    made = name_from(text)
    assert is_name(made) or made == "" or len(made) > LONGEST_NAME
    assert name_from(made) == made


@pytest.mark.parametrize("text", NOT_NAMES)
def test_a_name_that_could_be_more_than_a_file_name_is_refused_with_a_message(text):
    with pytest.raises(ValueError, match="is not a valid name; expected lower-case letters, digits"):
        checked_name(text)


FIELDS = [
    (ReferenceStem, "name", {"audio": audio_file()}),
    (Stem, "name", {}),
    (Part, "name", {}),
    (Part, "part_of", {}),
    (Estimate, "name", {}),
    (Normalisation, "name", {}),
    (StemFeatures, "name", {}),
    (StemStatistic, "name", {}),
    (StemStatistic, "statistic", {}),
    (Signal, "name", {"branches": ()}),
    (SignalFile, "name", {}),
    (Pair, "kind", {}),
]


@pytest.mark.parametrize("text", NOT_NAMES)
@pytest.mark.parametrize(("record", "field", "columns"), FIELDS, ids=lambda value: getattr(value, "__name__", None))
def test_every_column_that_becomes_a_file_name_is_a_name(record, field, columns, text):
    with pytest.raises(ValidationError) as refused:
        record.model_validate({field: text, **columns})
    assert (field,) in [error["loc"] for error in refused.value.errors()]


def test_no_other_column_of_a_table_has_the_name_of_a_file_name_column():
    """A new ``name`` or ``kind`` of a row has to be listed here, since it may become part of a path."""
    for record in {*ROW_TYPES.values(), Signal, SignalFile, ReferenceStem, Branch}:
        for field in {"name", "kind"} & set(record.model_fields):
            assert (record, field) in [(known, name) for known, name, _ in FIELDS], f"{record.__name__}.{field} is no Name"


@pytest.mark.parametrize("rate", [-1, 0, 1, 7, LOWEST_RATE - 1, HIGHEST_RATE + 1, 10**9, 2**31 - 1, 2**63])
@pytest.mark.parametrize("record", [AudioFile, Pair])
def test_a_row_with_an_absurd_rate_is_refused(record, rate):
    with pytest.raises(ValidationError) as refused:
        record.model_validate({"sample_rate": rate})
    assert ("sample_rate",) in [error["loc"] for error in refused.value.errors()]


@pytest.mark.parametrize("columns", [{"num_frames": 10**15}, {"num_channels": 10**6}, {"stream": 10**9}, {"num_frames": -1}])
def test_a_row_of_an_absurd_size_is_refused(columns):
    with pytest.raises(ValidationError, match=next(iter(columns))):
        AudioFile.model_validate(audio_file(**columns))


def test_a_pair_lasts_ten_minutes_at_most_at_any_rate():
    columns = {"id": "0" * 16, "kind": "mix", "number": 0, "track_id": "0" * 16, "split": "train", "start_frame": 0, "seed": 0}
    for rate in (LOWEST_RATE, 44_100, HIGHEST_RATE):
        assert Pair(**columns, sample_rate=rate, num_frames=600 * rate, inputs=(), targets=()).sample_rate == rate
        with pytest.raises(ValidationError, match="at most 600 s"):
            Pair(**columns, sample_rate=rate, num_frames=600 * rate + 1, inputs=(), targets=())


@pytest.mark.parametrize(
    "path",
    [
        *("dataset/mix/train-000000.tar.gz", "dataset/Mix/train-000000.tar", "dataset/../train-000000.tar", "../mix/train-000000.tar"),
        *("dataset/mix/train-0.tar", "dataset/a/mix/train-000000.tar", "/mix/train-000000.tar", "dataset/mix/home.tar", "thesis.pdf"),
        *("dataset/mix/train-000000.tar\n", "train-000000.tar"),
    ],
)
def test_a_shard_is_called_by_kind_split_and_number_only(path):
    with pytest.raises(ValidationError, match="path"):
        Shard(id="0" * 16, path=path, num_bytes=1, sha256="0" * 64, members=())


@pytest.mark.parametrize("path", ["dataset/mix/train-000000.tar", "mix/valid-000012.parquet", "moved/a-b_c/test-999999.tar"])
def test_our_own_names_of_shards_are_taken(path):
    class Holder(BaseModel):
        path: ShardPath

    assert Holder(path=path).path == path


@pytest.mark.parametrize("path", ["x" * 256, "é" * 128, "a/" * 2100 + "a", "ok/" + "x" * 300 + ".wav"])
def test_a_path_that_no_system_takes_is_refused(path):
    with pytest.raises(ValueError, match="longer than file systems allow"):
        inside(path)


def test_a_table_with_a_bad_name_gives_an_error_with_its_row_and_value(tmp_path):
    good = Signal(name="mix", branches=())
    bad = good.model_copy(update={"name": "../../../outside"})  # a copy is not checked: so it gets into the table
    table.write(tmp_path / "signals.parquet", [good, bad], Signal)
    with pytest.raises(ValueError, match=r"row 1\.name: .*got '\.\./\.\./\.\./outside'"):
        table.read(tmp_path / "signals.parquet", Signal)


@pytest.mark.parametrize("name", ["../../home/precious", "a/b", "Drums", ""])
def test_no_stem_is_written_under_a_name_that_is_none(tmp_path, name):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious.flac").write_text("mine")
    with pytest.raises(ValueError, match="is not a valid name"):
        StemFolder(tmp_path / "stems" / "song", ("drums", name), 44_100, 2)
    assert not (tmp_path / "stems").exists()
    assert (tmp_path / "home" / "precious.flac").read_text() == "mine"


@pytest.mark.parametrize(
    "path", ["dataset//etc/passwd", "dataset/a//b", "a\\\\b", "//a", "dataset/../../x", "a/..", "..", "/", "", "C:a", "a\0b"]
)
def test_a_path_that_leaves_its_folder_in_part_or_whole_is_refused(path):
    """A dataset may be moved out of its corpus: then the first part is taken off, and the rest must be relative still."""
    with pytest.raises(ValueError, match="leaves its folder"):
        inside(path)
