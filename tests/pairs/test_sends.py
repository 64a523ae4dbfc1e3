"""Sends: buses that branches feed with gains of their own, from the row to the rendered sound, and what leaves them out."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from test_recipes import corpus, only, planned
from test_render import pair, signal

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.envelope import POINTS
from stemwright.datagen.effects.ranges import FADER_DB
from stemwright.datagen.inverse.console import Console
from stemwright.datagen.inverse.console.reverberation import Feed
from stemwright.datagen.inverse.console.send_search import check_send
from stemwright.datagen.inverse.console.shared_room import SharedRoom
from stemwright.datagen.inverse.fitted_chain import FittedChain
from stemwright.datagen.pairs.render import render
from stemwright.datagen.report.chain_text import uses
from stemwright.datagen.report.effect_spreads import uses_of
from stemwright.datagen.run.configuration import ConfigError
from stemwright.manifests import row_text, table
from stemwright.manifests.pair_records import Branch, Pair, SendBus, Signal
from stemwright.manifests.records import EffectUse
from stemwright.manifests.table_rows import TableRows

RATE = 22_050
IDS = {"drums": "0" * 16, "bass": "1" * 16, "vocals": "2" * 16}
REVERB = EffectUse(effect="reverb", settings={"wet": 1.0, "dry": 0.0, "room_size": 0.8}, role="added")
ECHO = EffectUse(effect="delay", settings={"delay_ms": 90.0, "mix": 1.0}, role="added")
CLIP = EffectUse(effect="clip", settings={"ceiling_db": -20.0})
DOWN = EffectUse(effect="fader", settings={"gain_db": -3.0})
BRIGHT = EFFECTS["eq"].Settings(high_shelf_gain_db=4.0, peak1_gain_db=-3.0)
ROOM = EFFECTS["room"].Settings(rt60_s=0.3, pre_delay_ms=10.0, wet_db=0.0, seed=5.0)
CONSOLE = {"mode": "console", "sends": ["reverb", "delay"], "rides": True}


def sound(source_id: str, _: int = 0, num_frames: int = 9_000, __: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(int(source_id, 16))
    return (0.1 * rng.standard_normal((2 - int(source_id[0], 16) // 2, num_frames))).astype(np.float32)  # the vocals are mono


def through(audio: np.ndarray, *chain: EffectUse) -> np.ndarray:
    return apply_chain(audio, RATE, chain)


def sent(*sends: SendBus, bus: tuple[EffectUse, ...] = (), name: str = "mix") -> Signal:
    branches = tuple(Branch(source_id=source, chain=(DOWN,)) for source in IDS.values())
    return Signal(name=name, branches=branches, sends=sends, bus=bus)


def excerpt(inputs, targets, *, start_frame=0, **columns) -> Pair:
    return pair(inputs, targets, start_frame=start_frame, num_frames=9_000, sample_rate=RATE, **columns)


def test_a_send_adds_what_its_effects_make_of_the_sum_of_the_branches_each_at_its_gain() -> None:
    room = SendBus(name="room", gains_db=(-6.0, None, 3.0), chain=(REVERB,))
    echo = SendBus(name="echo", gains_db=(None, -12.0, None), chain=(ECHO, DOWN))
    found = render(excerpt([], [sent(room, echo, bus=(CLIP,))]), sound)["mix"]
    drums, bass, vocals = (through(sound(source), DOWN) for source in IDS.values())
    returned = through(10 ** (-6 / 20) * drums + 10 ** (3 / 20) * vocals, REVERB), through(10 ** (-12 / 20) * bass, ECHO, DOWN)
    np.testing.assert_allclose(found, through(drums + bass + vocals + sum(returned), CLIP), atol=1e-6)


def test_a_send_of_a_linear_effect_is_that_effect_on_every_branch() -> None:
    gains_db = (-6.0, -10.0)
    dry = tuple(Branch(source_id=source, chain=(DOWN,)) for source in (IDS["drums"], IDS["bass"]))
    faders = [EffectUse(effect="fader", settings={"gain_db": gain_db}) for gain_db in gains_db]
    inserts = [branch.model_copy(update={"chain": (DOWN, each, REVERB)}) for branch, each in zip(dry, faders, strict=True)]
    shared = Signal(name="mix", branches=dry, sends=(SendBus(name="room", gains_db=gains_db, chain=(REVERB,)),))
    outs = [render(excerpt([], [each]), sound)["mix"] for each in (shared, Signal(name="mix", branches=(*dry, *inserts)))]
    np.testing.assert_allclose(*outs, atol=1e-6)


def test_what_an_effect_of_a_send_does_is_measured_and_a_gain_that_it_sets_is_recorded() -> None:
    level = EffectUse(effect="loudness", settings={"target_db": -20.0, "measure": "peak"})
    room = SendBus(name="room", gains_db=(-6.0, None, None), chain=(REVERB, level))
    rendered = render(excerpt([], [sent(room, bus=(level,))]), sound)
    (change,) = rendered.changes
    assert (change.signal, change.branch, change.position, change.effect) == ("mix", 3, 0, "reverb")
    assert change.change_db is not None
    assert change.change_db > -10.0
    assert len(rendered.levelled_db["mix"]) == 2
    dry = through(10 ** (-6 / 20) * through(sound(IDS["drums"]), DOWN), REVERB)
    assert rendered.levelled_db["mix"][0] == pytest.approx(-20.0 - 20.0 * math.log10(np.abs(dry).max()), abs=1e-3)


def test_a_stem_that_only_a_send_treats_otherwise_is_a_change_or_a_reason_to_refuse() -> None:
    sides = [sent(SendBus(name="room", gains_db=(gain_db, -20.0, None), chain=(REVERB.model_copy(update={"role": "kept"}),)), name=name)
             for name, gain_db in (("wet", 0.0), ("dry", -6.0))]  # fmt: skip
    inaudible = [render(excerpt([sides[0]], [sides[1]]).model_copy(update={"min_change_db": db}), sound).inaudible for db in (-60.0, -3.0)]
    assert inaudible[0] is None
    assert inaudible[1] is not None
    assert f"what is done to the stem {IDS['drums']} changes it by" in inaudible[1]


@pytest.mark.parametrize(
    ("sends", "said"),
    [
        ([("room", (-6.0, None))], "the send 'room' of the signal 'mix' has 2 gains; expected one for each of its 3 branches"),
        ([("room", (None, None, None))], "no branch of the signal 'mix' feeds its send 'room'"),
        ([("room", (0.0, 0.0, 0.0))] * 2, "sends of the signal 'mix' share a name: room, room"),
    ],
)
def test_sends_that_do_not_fit_the_branches_are_refused_with_a_sentence(sends, said) -> None:
    with pytest.raises(ValueError, match=said):
        sent(*(SendBus(name=name, gains_db=gains_db) for name, gains_db in sends))


def test_a_send_can_return_what_its_effects_add_and_be_fed_with_the_mean_of_the_channels() -> None:
    room = EffectUse(effect="room", settings={"rt60_s": 0.3, "wet_db": 0.0, "seed": 7.0})
    send = SendBus(name="room", gains_db=(-6.0, None, 3.0), chain=(room,), feed="mean", returns="difference")
    found = render(excerpt([], [sent(send, bus=(CLIP,))]), sound)["mix"]
    drums, bass, vocals = (through(sound(source), DOWN) for source in IDS.values())
    fed = np.broadcast_to((10 ** (-6 / 20) * drums + 10 ** (3 / 20) * vocals).mean(0, keepdims=True), (2, 9_000)).copy()
    np.testing.assert_allclose(found, through(drums + bass + vocals + through(fed, room) - fed, CLIP), atol=1e-6)


def test_a_fitted_console_with_a_shared_room_is_a_row_that_renders_its_mix_again(tmp_path) -> None:
    for feed in Feed:
        heard = SharedRoom({"drums": -8.0, "bass": -60.0, "vocals": -100.0}, ROOM, torch.ones(2, 50), RATE, feed)
        chains = {name: FittedChain((("fader", EFFECTS["fader"].Settings(gain_db=-3.0)), ("eq", BRIGHT)), -60.0) for name in IDS}
        console = Console(chains, -60.0, -20.0, lags={"bass": 400}, send=heard)
        row = excerpt([], [console.signal(IDS)], start_frame=1_000)
        table.write(tmp_path / "pairs.parquet", [row], Pair)
        (read,) = table.read(tmp_path / "pairs.parquet", Pair)
        assert read == row
        assert read.id == row.seal_id()
        assert [branch.offset_frames for branch in read.targets[0].branches] == [0, -400, 0]
        assert read.targets[0].sends[0].gains_db == (-8.0, None, None)
        long = {name: stereo(source) for name, source in IDS.items()}
        found = render(read, lambda source, start, count, _: stereo(source)[:, start : start + count])["mix"]
        without = replace(console, send=replace(heard.settings_alone(), gains_db={"drums": -8.0}))
        expected = cut(without, long)
        error = found - expected
        assert 10.0 * np.log10(np.square(error).sum() / np.square(expected).sum()) < -100.0


def stereo(source_id: str) -> np.ndarray:
    return (0.1 * np.random.default_rng(int(source_id, 16)).standard_normal((2, 12_000))).astype(np.float32)


def cut(console: Console, stems: dict[str, np.ndarray]) -> np.ndarray:
    """The console's mix of an excerpt, whose stems are late: what precedes it in their files is read."""
    late = {name: console.lags.get(name, 0) for name in stems}
    parts = {name: audio[:, 1_000 - late[name] : 10_000 - late[name]] for name, audio in stems.items()}
    return np.asarray(replace(console, lags={}).mix(parts, RATE))


def test_the_row_of_a_console_needs_an_id_for_each_stem() -> None:
    console = Console({"drums": FittedChain((), -60.0)}, -60.0, -20.0)
    with pytest.raises(ValueError, match="there is none for drums"):
        console.signal({"bass": IDS["bass"]})


def test_the_gain_of_a_send_has_the_range_of_a_fader() -> None:
    for gain_db in FADER_DB:
        assert SendBus(name="room", gains_db=(gain_db,)).gains_db == (gain_db,)
        with pytest.raises(ValueError, match="gains_db"):
            SendBus(name="room", gains_db=(gain_db * 1.01,))


def test_a_pair_without_sends_is_written_and_identified_as_before_there_were_any(tmp_path) -> None:
    plain, with_send = (
        excerpt([signal("drums", IDS["drums"])], [sent(*sends)]) for sends in ((), (SendBus(name="room", gains_db=(0.0, None, None)),))
    )
    assert '"sends"' not in plain.model_dump_json()
    assert plain.id == "c7a42c80200fe501"  # of the version before
    assert with_send.id not in (plain.id, plain.model_copy(update={"id": "0" * 16}).seal_id())
    for rows in ((plain,), (plain, with_send)):
        table.write(tmp_path / "pairs.parquet", rows, Pair)
        written = TableRows(tmp_path / "pairs.parquet", Pair)
        assert list(written) == list(rows)
        assert table.is_as_written(tmp_path / "pairs.parquet", Pair)
        assert all(row.id == row.seal_id() for row in written)
        (batch,) = written.columns()
        texts = row_text.texts(Pair, batch)
        assert (texts is None) == (with_send in rows)
        if texts is not None:
            assert texts.to_pylist() == [row.model_dump_json() for row in rows]


def test_a_table_of_a_version_without_sends_opens_with_the_same_rows_and_digest(tmp_path) -> None:
    rows = [excerpt([signal("drums", IDS["drums"])], [sent()])]
    table.write(tmp_path / "new.parquet", rows, Pair)
    new = pq.read_table(tmp_path / "new.parquet")
    columns = new.to_pylist()
    for side in (side for row in columns for side in (row["inputs"], row["targets"])):
        for each in side:
            del each["sends"]
    fields = [_without(field, {"sends"}) for field in new.schema]
    old = pa.Table.from_pylist(columns, schema=pa.schema(fields, metadata=new.schema.metadata))
    with pq.ParquetWriter(tmp_path / "old.parquet", old.schema) as writer:
        writer.write_table(old)
        writer.add_key_value_metadata({"digest": table.digest(tmp_path / "new.parquet")})
    assert table.read(tmp_path / "old.parquet", Pair) == rows
    assert table.is_as_written(tmp_path / "old.parquet", Pair)
    table.write(tmp_path / "copied.parquet", TableRows(tmp_path / "old.parquet", Pair), Pair)
    assert table.digest(tmp_path / "copied.parquet") == table.digest(tmp_path / "new.parquet")


def _without(field: pa.Field, names: set[str]) -> pa.Field:
    """The field without these columns of the records in it."""
    kind = field.type
    if pa.types.is_list(kind):
        return pa.field(field.name, pa.list_(_without(kind.value_field, names)), nullable=field.nullable)
    if not pa.types.is_struct(kind):
        return field
    return pa.field(field.name, pa.struct([_without(each, names) for each in kind if each.name not in names]), nullable=field.nullable)


def test_a_send_of_the_version_before_keeps_its_id_and_its_table_opens(tmp_path) -> None:
    plain = SendBus(name="room", gains_db=(0.0, None, -6.0), chain=(REVERB,))
    row = excerpt([signal("drums", IDS["drums"])], [sent(plain)])
    assert row.id == "78e290e9ce32595c"  # of the version before
    other = excerpt([signal("drums", IDS["drums"])], [sent(plain.model_copy(update={"returns": "difference"}))])
    assert other.id != row.id
    table.write(tmp_path / "new.parquet", [row], Pair)
    new = pq.read_table(tmp_path / "new.parquet")
    columns = new.to_pylist()
    for send in (send for row in columns for side in (row["inputs"], row["targets"]) for each in side for send in each["sends"]):
        del send["feed"], send["returns"]
    schema = pa.schema([_without(field, {"feed", "returns"}) for field in new.schema], metadata=new.schema.metadata)
    with pq.ParquetWriter(tmp_path / "old.parquet", schema) as writer:
        writer.write_table(pa.Table.from_pylist(columns, schema=schema))
        writer.add_key_value_metadata({"digest": table.digest(tmp_path / "new.parquet")})
    assert table.read(tmp_path / "old.parquet", Pair) == [row]
    assert table.is_as_written(tmp_path / "old.parquet", Pair)


def test_a_room_is_a_reverb_here_and_a_reverb_a_room_in_a_fit() -> None:
    assert only("remix", {"mode": "console", "sends": ["room"]}) == only("remix", {"mode": "console", "sends": ["reverb"]})
    check_send("reverb", (), {"vocals": ("reverb", "fader")})
    check_send("room", (), {"vocals": ("eq", "fader")})
    with pytest.raises(ValueError, match="each effect once"):
        only("remix", {"mode": "console", "sends": ["room", "reverb"]})


def test_a_console_with_sends_and_rides_is_otherwise_the_console_without(tmp_path) -> None:
    plain = planned(only("remix", {"mode": "console"}), *corpus(3)).pairs
    full = planned(only("remix", CONSOLE), *corpus(3)).pairs
    assert len(plain) == len(full) > 0
    for before, after in zip(plain, full, strict=True):
        (mix,) = after.targets
        assert [send.name for send in mix.sends] == ["reverb", "delay"]
        assert [send.chain[0].settings["dry" if send.name == "reverb" else "mix"] for send in mix.sends] == [0.0, 1.0]
        rides = [branch.chain[-1] for branch in mix.branches]
        assert {use.effect for use in rides} == {"envelope"}
        for use in rides:
            points = [float(use.settings[name]) for name in POINTS]
            needed = math.ceil(4.0 / float(use.settings["step_s"])) + 1
            assert all(points[:needed])
            assert not any(points[needed:])
        gains = [gain_db for send in mix.sends for gain_db in send.gains_db]
        assert all(-30.0 <= gain_db <= -6.0 for gain_db in gains)
        assert len(set(gains)) > 1
        stripped = [branch.model_copy(update={"chain": branch.chain[:-1]}) for branch in mix.branches]
        without = mix.model_copy(update={"sends": (), "branches": tuple(stripped)})
        assert after.model_copy(update={"id": before.id, "targets": (without,)}) == before
    table.write(tmp_path / "pairs.parquet", full, Pair)
    assert table.read(tmp_path / "pairs.parquet", Pair) == list(full)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"sends": ["reverb", "reverb"]}, "sends: expected each effect once; got reverb, reverb"),
        ({"send_gain_db": [-6.0, -30.0]}, r"send_gain_db: expected \[low, high\] with low <= high"),
        ({"sends": ["hall"]}, "reverb.*delay"),
        ({"ranges": {"envelope": {"step_s": 1.0}}}, "got ranges for 'envelope'"),
        ({"rides": True, "ranges": {"envelope": {"step": 1.0}}}, "there is no setting 'step'"),
    ],
)
def test_what_a_console_cannot_share_is_refused_with_a_sentence(section, said) -> None:
    with pytest.raises(ConfigError, match=said):
        only("remix", {"mode": "console", **section})


@pytest.mark.parametrize("section", [{"sends": ["reverb"]}, {"rides": True}, {"preset": "dmc", "mode": "songs"}])
def test_a_key_of_the_console_is_refused_where_no_console_is_drawn(section) -> None:
    with pytest.raises(ConfigError, match="only mixes of a console have them; expected mode = 'console' or 'both'"):
        only("remix", section)


def test_the_published_console_has_one_shared_reverb_and_nothing_on_the_sum_but_its_level() -> None:
    config = only("remix", {"preset": "dmc"})
    assert config.pairs.remix.shape == (44_100, 262_144)
    for planned_pair in planned(config, *corpus(3)).pairs:
        (mix,) = planned_pair.targets
        assert [use.effect for use in mix.bus] == ["loudness"]
        assert [send.name for send in mix.sends] == ["reverb"]
        assert [[use.effect for use in branch.chain[1:]] for branch in mix.branches] == [["eq", "compressor", "fader"]] * len(mix.branches)


def test_effects_of_sends_are_counted_by_columns_as_by_rows(tmp_path) -> None:
    rows = planned(only("remix", CONSOLE), *corpus(3)).pairs
    table.write(tmp_path / "pairs.parquet", rows, Pair)
    (batch,) = TableRows(tmp_path / "pairs.parquet", Pair).columns("inputs", "targets")
    found = uses_of(batch)
    counted = Counter({name: int(found.counts[:, found.effects == code].sum()) for code, name in enumerate(found.effect_names)})
    assert counted == Counter(use.effect for row in rows for use in uses(row))
    assert counted["reverb"] == counted["delay"] == len(rows)
