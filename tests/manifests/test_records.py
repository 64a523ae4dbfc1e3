import hashlib
import json

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pydantic import ValidationError

from stemwright.manifests import table
from stemwright.manifests.names import inside
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import (
    AudioFile,
    EffectEstimate,
    EffectUse,
    Estimate,
    ReferenceStem,
    Rejected,
    canonical_json,
    content_id,
    seal,
    track_id,
)
from stemwright.manifests.row_types import ROW_TYPES

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="/\\\0:"), min_size=1).filter(lambda name: name != "..")


def audio_file(path: str = "a.flac", sha256: str = "0" * 64, **columns: object) -> AudioFile:
    return AudioFile(path=path, sample_rate=44_100, num_channels=2, num_frames=10, num_bytes=1_000, sha256=sha256, **columns)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_id_does_not_depend_on_the_order_of_keys(value):
    assert content_id(value) == content_id(dict(reversed(value.items())))


@given(json_values, json_values)
def test_ids_are_equal_exactly_when_the_canonical_text_is(one, other):
    assert (content_id(one) == content_id(other)) == (canonical_json(one) == canonical_json(other))


def test_id_is_the_same_on_every_machine():
    text = '{"a":"ü","b":[1,2.5,null,true]}'
    assert content_id({"b": [1, 2.5, None, True], "a": "ü"}) == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_has_no_id(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_id({"level": value})


@given(st.lists(names, min_size=1, max_size=4))
def test_path_below_its_folder_is_taken_as_it_is(parts):
    assert inside("/".join(parts)) == "/".join(parts)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x.flac", "a/../../x.flac", "a/..", "C:/x.flac", "C:x.flac", "//host/share/x", "a\0b"]
)
def test_path_that_leaves_its_folder_is_refused(path):
    with pytest.raises(ValidationError, match="leaves its folder"):
        audio_file(path)


def test_track_id_is_of_the_sound_and_not_of_the_file():
    stem = ReferenceStem(name="drums", audio=audio_file("drums.flac", "1" * 64), sound="5" * 64)
    elsewhere = ReferenceStem(name="drums", audio=audio_file("other/d.wav", "4" * 64), sound="5" * 64)
    assert track_id("3" * 64, (stem,)) == track_id("3" * 64, (elsewhere,))
    assert track_id("3" * 64) != track_id("2" * 64)
    assert track_id("3" * 64) != track_id("3" * 64, (stem,))


def test_sealed_row_is_known_by_its_content():
    row = seal(Rejected, stage="catalog", row_id="a.mp3", subject="a.mp3", reason="empty file (0 bytes)")
    assert row.id == row.seal_id()
    edited = row.model_copy(update={"reason": "fine"})
    assert edited.id != edited.seal_id()


def test_an_estimate_of_an_earlier_version_keeps_its_id(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = {"stem_id": "1" * 16, "track_id": "2" * 16, "cache_key": "3" * 16, "name": "bass", "loudness_lufs": -20.0, "level_lu": -6.0}
    plain |= {"level_low_lu": -7.0, "level_high_lu": -5.0, "pan": 0.0, "width": 0.1, "active": (True,), "profile": "4" * 16}
    known = {"effect": "width", "settings": {"width": 1.5}, "confidence": 0.75}
    row = seal(Estimate, effects=(EffectEstimate(**known),), **plain)
    assert json.loads(row.model_dump_json())["effects"] == [known]
    path = tmp_path / "estimates.parquet"
    table.write(path, [row], Estimate)
    columns = pq.read_table(path).to_pylist()
    columns[0]["effects"] = [{"effect": "width", "settings": '{"width":1.5}', "confidence": 0.75}]  # as that version wrote it
    pq.write_table(pa.Table.from_pylist(columns), path)
    (back,) = table.read(path, Estimate)
    assert back == row
    assert back.seal_id() == row.id
    stated = EffectEstimate(**known, quantity="change of side level", value=3.5, low=1.0, high=5.0, unit="dB")
    assert seal(Estimate, effects=(stated,), **plain).id != row.id


def test_rows_are_frozen():
    row = seal(Rejected, stage="catalog", row_id="a", subject="a", reason="b")
    with pytest.raises(ValidationError, match="frozen"):
        row.reason = "c"


@pytest.mark.parametrize("record_type", ROW_TYPES.values(), ids=ROW_TYPES)
def test_unknown_column_is_an_error(record_type):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        record_type.model_validate({"loudness": 3})


def test_silence_has_no_level_rather_than_a_low_one():
    columns = {"cache_key": "0" * 16, "stem_id": "0" * 16, "track_id": "0" * 16, "name": "drums", "pan": None, "width": None, "active": ()}
    levels = {"level_lu": None, "level_low_lu": None, "level_high_lu": None}
    assert seal(Estimate, **columns, **levels, loudness_lufs=None).loudness_lufs is None
    with pytest.raises(ValidationError, match="finite number"):
        seal(Estimate, **columns, **levels, loudness_lufs=float("-inf"))


@given(st.dictionaries(st.text(), st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), max_size=4))
def test_settings_are_text_in_arrow_and_come_back_whole(settings):
    use = EffectUse(effect="eq", settings=settings)
    text = use.model_dump(context="arrow")["settings"]
    assert isinstance(text, str)
    assert EffectUse(effect="eq", settings=text) == use
    assert EffectUse.model_validate(use.model_dump(mode="json")) == use


@pytest.mark.parametrize("column", ["split", "start_frame", "num_frames", "sample_rate"])
def test_pair_out_of_range_names_its_column(column):
    good = {"split": "train", "start_frame": 0, "num_frames": 10, "sample_rate": 44_100}
    rest = {"kind": "mix", "number": 0, "track_id": "0" * 16, "inputs": (), "targets": (), "seed": 0}
    assert seal(Pair, **rest, **good).num_frames == 10
    with pytest.raises(ValidationError, match=column):
        seal(Pair, **rest, **{**good, column: "all" if column == "split" else -1})
