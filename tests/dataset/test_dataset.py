import pickle
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from test_render import pair, signal

from stemwright.datagen.dataset.labels import Vocabulary
from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.dataset.writers import WRITERS
from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.dataset.writers.webdataset import WebDatasetWriter
from stemwright.manifests import table, table_rows
from stemwright.manifests.dataset_rows import WrittenPair
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import EffectUse
from stemwright.manifests.table_rows import TableRows

ONE = "0" * 16


@pytest.fixture(params=["folder", "webdataset"])
def dataset(request, tmp_path, synthetic_song):
    """Two examples of stereo signals with two inputs and one of a mono one with a single input."""
    writer = WRITERS[request.param]()
    pairs = [
        pair([signal("drums", ONE), signal("bass", ONE)], [signal("mixture", ONE)], start_frame=0),
        pair([signal("drums", ONE), signal("bass", ONE)], [signal("mixture", ONE)], start_frame=1),
        pair([signal("bass", ONE)], [signal("mixture", ONE)], start_frame=2),
    ]
    examples = []
    for number, one in enumerate(pairs):
        channels = slice(0, 1 if number == 2 else 2)
        audio = {each.name: synthetic_song[each.name][channels, number : number + 20_000] for each in (*one.inputs, *one.targets)}
        examples.append(writer.write(tmp_path, one, audio))
    writer.finish(tmp_path, pairs, examples)
    return tmp_path / "dataset"


def test_items_hold_what_was_written_padded_and_masked(dataset, synthetic_song):
    data = PairDataset(dataset, kind="mix", split="train")
    assert len(data) == 3
    inputs, targets, mask = data[0]
    np.testing.assert_array_equal(inputs[1], synthetic_song["bass"][:, :20_000])
    np.testing.assert_array_equal(targets[0], synthetic_song["mixture"][:, :20_000])
    inputs, targets, mask = data[2]
    assert mask.tolist() == [True, False]
    assert not inputs[1].any()
    np.testing.assert_array_equal(inputs[0][0], inputs[0][1])  # mono on both channels
    assert inputs.dtype == targets.dtype == torch.float32


def test_a_data_loader_stacks_them_in_two_workers(dataset):
    loader = torch.utils.data.DataLoader(PairDataset(dataset), batch_size=3, num_workers=2)
    (batch,) = list(loader)
    assert batch.inputs.shape == (3, 2, 2, 20_000)
    assert batch.targets.shape == (3, 1, 2, 20_000)
    assert batch.mask.tolist() == [[True, True], [True, True], [True, False]]


def test_a_moved_dataset_reads_the_same(dataset, tmp_path):
    before = PairDataset(dataset)[1]
    moved = shutil.move(dataset, tmp_path / "elsewhere")
    after = PairDataset(moved)[1]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_mono_averages_the_channels(dataset):
    stereo, mono = PairDataset(dataset)[0], PairDataset(dataset, num_channels=1)[0]
    torch.testing.assert_close(mono.inputs[:, 0], stereo.inputs.mean(dim=1))


def test_labels_come_with_the_item(dataset):
    data = PairDataset(dataset)
    assert data.pair(0).inputs[0].name == "drums"
    assert data.example(0).pair_id == data.pair(0).id


def test_labels_of_a_shuffled_batch_are_found_by_its_numbers(dataset):
    data = PairDataset(dataset, with_index=True)
    (batch,) = list(torch.utils.data.DataLoader(data, batch_size=3, shuffle=True))
    assert sorted(batch.number.tolist()) == [0, 1, 2]
    for row, index in enumerate(batch.number.tolist()):
        torch.testing.assert_close(batch.inputs[row], data[index].inputs)
        assert data.pair(index).start_frame == index


def test_a_corpus_folder_is_distinguished_from_its_dataset(dataset):
    (dataset.parent / "config.toml").write_text("")
    (dataset.parent / "examples.parquet").write_bytes((dataset / "examples.parquet").read_bytes())
    with pytest.raises(FileNotFoundError, match="the dataset is the folder inside it"):
        PairDataset(dataset.parent)


def test_an_empty_selection_gives_an_error_with_what_exists(dataset, tmp_path):
    with pytest.raises(ValueError, match="it has mix/train"):
        PairDataset(dataset, kind="removal")
    with pytest.raises(FileNotFoundError, match="is not a dataset"):
        PairDataset(tmp_path)


def fader(**settings):
    return EffectUse(effect="fader", settings=settings)


@pytest.fixture(scope="module")
def many(tmp_path_factory, synthetic_song):
    """Twenty-one examples in tars of five; each has a fader on one input, and a compressor on the bus of the target."""
    folder = tmp_path_factory.mktemp("many")
    writer = WebDatasetWriter("wav32f", shard_examples=5)
    pairs = [
        pair(
            [signal("drums", ONE, chain=(fader(gain_db=-12.0 + number, pan=0.25),)), signal("bass", ONE)],
            [signal("mix", ONE, ONE, bus=(EffectUse(effect="compressor", settings={"threshold_db": -20.0, "detector": "rms"}),))],
            start_frame=number,
            num_frames=4_000,
        )
        for number in range(21)
    ]
    examples = []
    for one in pairs:
        audio = {name: synthetic_song[name][:, one.start_frame : one.start_frame + 4_000] for name in ("drums", "bass", "mixture")}
        examples.append(writer.write(folder, one, {"drums": audio["drums"], "bass": audio["bass"], "mix": audio["mixture"]}))
    writer.finish(folder, pairs, examples)
    return folder / "dataset"


@pytest.mark.parametrize("method", ["fork", "spawn"] if sys.platform == "linux" else ["spawn"])
def test_two_workers_read_shards_however_they_are_started(method, many):
    data = PairDataset(many, labels=("fader",))
    loader = torch.utils.data.DataLoader(data, batch_size=7, num_workers=2, multiprocessing_context=method)
    batches = list(loader)
    assert [len(batch.inputs) for batch in batches] == [7, 7, 7]
    for batch in batches:
        for row, number in enumerate(batch.number.tolist()):
            torch.testing.assert_close(batch.inputs[row], data[number].inputs, rtol=0, atol=0)
            torch.testing.assert_close(batch.labels.inputs[row], data[number].labels.inputs, rtol=0, atol=0)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_every_example_is_read_by_exactly_one_rank(world_size, many):
    ranks = [PairDataset(many, rank=rank, world_size=world_size) for rank in range(world_size)]
    ids = [data.pair(number).id for data in ranks for number in range(len(data))]
    assert sorted(ids) == sorted(data.pair(number).id for data in [PairDataset(many)] for number in range(len(data)))
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1
    even = [PairDataset(many, rank=rank, world_size=world_size, even=True) for rank in range(world_size)]
    assert {len(data) for data in even} == {21 // world_size}


def test_ranks_are_those_of_torch_distributed_if_it_is_initialised(many, tmp_path):
    whole = len(PairDataset(many))
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        assert len(PairDataset(many)) == whole
        assert len(PairDataset(many, rank=1, world_size=2)) == whole // 2
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 1}, "give rank and world_size together"),
        ({"rank": 2, "world_size": 2}, "rank must be between 0 and world_size - 1; got rank=2, world_size=2"),
        ({"rank": 0, "world_size": 30}, "21 examples cannot be divided over 30 ranks"),
        ({"num_inputs": 1}, "num_inputs=1 is too small for the 2 inputs"),
        ({"num_frames": 4_001}, "an excerpt has 4000 frames; got num_frames=4001"),
        ({"num_frames": 2_000, "start_frame": 2_001}, "start_frame=2001"),
        ({"labels": ["fadr"]}, "there is no effect, setting or role 'fadr' to label; did you mean 'fader'"),
    ],
)
def test_impossible_arguments_are_refused_with_a_message(options, said, many):
    with pytest.raises(ValueError, match=said):
        PairDataset(many, **options)


def test_inputs_are_padded_to_the_requested_number(dataset):
    item = PairDataset(dataset, num_inputs=8)[0]
    assert item.inputs.shape == (8, 2, 20_000)
    assert item.mask.tolist() == [True, True, *[False] * 6]
    assert not item.inputs[2:].any()


def test_an_input_that_the_track_lacks_is_silent_and_masked(tmp_path, synthetic_song):
    one = pair([signal("kick"), signal("drums", ONE)], [signal("mixture", ONE)])
    writer = FolderWriter()
    audio = {"kick": np.zeros((1, 20_000), np.float32), **{name: synthetic_song[name][:, :20_000] for name in ("drums", "mixture")}}
    writer.finish(tmp_path, [one], [writer.write(tmp_path, one, audio)])
    item = PairDataset(tmp_path / "dataset", num_inputs=4)[0]
    assert item.mask.tolist() == [False, True, False, False]
    assert not item.inputs[0].any()


def test_a_batch_is_read_into_one_tensor_and_equals_its_items_stacked(many):
    data = PairDataset(many, labels=("fader",))
    (batch,) = list(torch.utils.data.DataLoader(data, batch_size=21))
    one_by_one = torch.utils.data.default_collate([data[number] for number in range(21)])
    assert type(batch) is type(one_by_one)
    for name in ("inputs", "targets", "mask", "number"):
        torch.testing.assert_close(getattr(batch, name), getattr(one_by_one, name), rtol=0, atol=0)
    for one, other in zip(batch.labels, one_by_one.labels, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    items = data.__getitems__([3, 5])
    assert items[0].inputs.data_ptr() == items.inputs.data_ptr()


def test_a_part_of_an_excerpt_is_that_part(dataset):
    whole, part = PairDataset(dataset), PairDataset(dataset, num_frames=5_000, start_frame=700)
    for number in range(3):
        torch.testing.assert_close(part[number].inputs, whole[number].inputs[..., 700:5_700], rtol=0, atol=0)
        torch.testing.assert_close(part[number].targets, whole[number].targets[..., 700:5_700], rtol=0, atol=0)


def test_random_parts_differ_between_examples_and_epochs_and_are_the_same_again(dataset):
    whole, data = PairDataset(dataset), PairDataset(dataset, num_frames=1_000, seed=3)

    def starts():
        found = []
        for number in range(3):
            inputs, targets, _ = data[number]
            windows = whole[number].inputs[0, 0].unfold(0, 1_000, 1)
            (start,) = (windows == inputs[0, 0]).all(dim=1).nonzero()[0].tolist()
            torch.testing.assert_close(targets, whole[number].targets[..., start : start + 1_000], rtol=0, atol=0)  # all signals alike
            found.append(start)
        return found

    first = starts()
    assert len(set(first)) == 3
    assert starts() == first
    data.set_epoch(1)
    assert starts() != first
    data.set_epoch(0)
    assert starts() == first


def test_a_new_epoch_reaches_workers_that_live_on(many):
    data = PairDataset(many, num_frames=500)
    loader = torch.utils.data.DataLoader(data, batch_size=21, num_workers=1, persistent_workers=True)
    (first,), _ = list(loader), data.set_epoch(1)
    (second,) = list(loader)
    assert not torch.equal(first.inputs, second.inputs)
    torch.testing.assert_close(second.inputs[4], data[4].inputs, rtol=0, atol=0)


def test_labels_are_the_settings_along_their_scales(many):
    data = PairDataset(many, labels=True)
    names = data.vocabulary.names
    for number in range(len(data)):
        labels, planned = data[number].labels, data.pair(number)
        gain, pan = names.index("fader.gain_db"), names.index("fader.pan")
        settings = planned.inputs[0].branches[0].chain[0].settings
        assert labels.inputs[0, 0, gain] == pytest.approx((settings["gain_db"] + 48.0) / 72.0)
        assert labels.inputs[0, 0, pan] == pytest.approx((0.25 + 1.0) / 2.0)
        present = [names[slot] for slot in labels.inputs_mask[0, 0].nonzero()[:, 0]]
        assert present == ["fader.gain_db", "fader.pan"]
        assert not labels.inputs_mask[1].any()
        assert not labels.targets_mask[0, :2].any()  # the branches of the target have no chain; its bus is last
        bus = data.vocabulary.decode(labels.targets[0, -1], labels.targets_mask[0, -1])
        assert bus["compressor"]["threshold_db"] == pytest.approx(-20.0, abs=1e-4)
        assert bus["compressor"]["detector"] == "rms"


def test_labels_of_some_settings_have_only_their_slots(many):
    data = PairDataset(many, labels=("fader.gain_db", "compressor"))
    assert data.vocabulary.names[0] == "fader.gain_db"
    assert all(name.startswith(("fader.gain_db", "compressor.")) for name in data.vocabulary.names)
    assert data[0].labels.inputs.shape == (2, 3, len(data.vocabulary))


def test_labels_that_no_example_carries_are_refused_naming_those_that_are_there(many, dataset):
    with pytest.raises(ValueError, match=r"no mix example has width or kept to label; the effects in the chains are compressor, fader$"):
        PairDataset(many, kind="mix", labels=("fader", "width", "kept"))
    for wanted in (True, ("fader",)):
        with pytest.raises(ValueError, match="to label; the effects in the chains are none: its signals are the stems"):
            PairDataset(dataset, labels=wanted)
    vocabulary = Vocabulary(("fader", "width"))  # of another dataset, whose slots a network has
    assert PairDataset(many, labels=vocabulary)[0].labels.inputs.shape == (2, 3, len(vocabulary))


def test_labels_are_encoded_when_an_example_is_read_and_alike_each_time(many, monkeypatch):
    before = PairDataset(many, labels=True)[4].labels
    encode, encoded = Vocabulary.encode, []
    monkeypatch.setattr(Vocabulary, "encode", lambda self, *given: encoded.append(given) or encode(self, *given))
    data = PairDataset(many, labels=True)
    assert encoded == []
    for one, other in zip(data[4].labels, before, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert len(encoded) == sum(len(signal.branches) + 1 for signal in (*data.pair(4).inputs, *data.pair(4).targets))


@pytest.fixture
def mapped(many, tmp_path, monkeypatch):
    """The dataset of tars as if its tables were large."""
    monkeypatch.setattr(table_rows, "IN_MEMORY_BYTES", 0)
    return shutil.copytree(many, tmp_path / "mapped", ignore=shutil.ignore_patterns(".*"))


def test_opening_makes_no_record_and_an_item_makes_those_of_its_example(mapped, monkeypatch):
    made, records = [], TableRows.records
    monkeypatch.setattr(
        TableRows, "records", lambda self, batch, start: made.extend([self.path.stem] * batch.num_rows) or records(self, batch, start)
    )
    data = PairDataset(mapped, labels=("fader",))
    assert (len(data), made) == (21, [])
    data[20]
    assert made == ["pairs", "examples"]


@pytest.mark.parametrize("method", ["fork", "spawn"] if sys.platform == "linux" else ["spawn"])
def test_workers_map_large_tables_and_are_sent_neither_rows_nor_numbers(method, mapped, many):
    data, plain = PairDataset(mapped, labels=True, rank=0, world_size=1), PairDataset(many, labels=True)
    copies = sorted(path.name.split("-")[0] for path in mapped.glob(".*.arrow"))
    assert copies == [".shards", ".shards.members"]
    data[0]
    assert sorted(path.name.split("-")[0] for path in mapped.glob(".*.arrow")) == [".examples", ".pairs", *copies]
    assert data._numbers.is_shared()
    assert not {"pairs", "examples", "shards"} & {type(value).__name__ for value in vars(data).values() if isinstance(value, list)}
    for batch in torch.utils.data.DataLoader(data, batch_size=11, num_workers=2, multiprocessing_context=method):
        for row, number in enumerate(batch.number.tolist()):
            torch.testing.assert_close(batch.inputs[row], plain[number].inputs, rtol=0, atol=0)
            torch.testing.assert_close(batch.labels.targets[row], plain[number].labels.targets, rtol=0, atol=0)


def test_a_pickled_dataset_does_not_grow_with_its_examples(mapped, dataset):
    sizes = [len(pickle.dumps(PairDataset(folder))) - 8 * len(PairDataset(folder)) for folder in (mapped, dataset)]
    assert abs(sizes[0] - sizes[1]) < 200


def test_examples_find_their_pairs_in_whatever_order_the_tables_are(many, tmp_path):
    shutil.copytree(many, tmp_path / "dataset")
    rows = table.read(many / "examples.parquet", Example)
    table.write(tmp_path / "dataset" / "examples.parquet", rows[::-1], Example)
    one, other = PairDataset(many, split="all"), PairDataset(tmp_path / "dataset", split="all")
    assert [other.pair(number).id for number in range(len(other))] == [row.pair_id for row in rows[::-1]]
    assert repr(one).partition(":")[2] == repr(other).partition(":")[2]


def test_an_example_whose_pair_is_missing_is_an_error_that_names_it(many, tmp_path):
    broken = shutil.copytree(many, tmp_path / "broken")
    pairs = table.read(broken / "pairs.parquet", WrittenPair)
    table.write(broken / "pairs.parquet", pairs[1:], WrittenPair)
    with pytest.raises(
        ValueError, match=rf"an example is of the pair {pairs[0].id}, which is not in pairs.parquet; run `stemwright check`"
    ):
        PairDataset(broken)


@pytest.mark.parametrize("path", ["../elsewhere.tar", "/etc/hostname"])
def test_a_shard_outside_the_dataset_is_refused(path, many, tmp_path):
    broken = shutil.copytree(many, tmp_path / "broken")
    rows = pq.read_table(broken / "shards.parquet").to_pylist()
    rows[0]["path"] = path
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(broken / "shards.parquet")), broken / "shards.parquet")
    with pytest.raises(ValueError, match=f"a shard has the path {path!r}: String should match"):
        PairDataset(broken)


def written_to(folder, *pairs):
    """A dataset of these pairs, whose signals are noise."""
    writer, examples = FolderWriter(), []
    for one in pairs:
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, one.num_frames)).astype(np.float32)
        examples.append(writer.write(folder, one, {each.name: noise for each in (*one.inputs, *one.targets)}))
    writer.finish(folder, list(pairs), examples)
    return folder / "dataset"


def test_the_loudness_into_a_limiter_and_the_loudness_after_it_are_two_labels(tmp_path):
    loudness = [EffectUse(effect="loudness", settings={"target_db": level}) for level in (-8.6, -14.0)]
    bus = (loudness[0], EffectUse(effect="limiter", settings={"ceiling_db": -0.5}), loudness[1])
    limited = pair([signal("limited", ONE, bus=bus)], [signal("mix", ONE)], kind="limit", num_frames=4_000)
    data = PairDataset(written_to(tmp_path, limited), kind="limit", labels=("loudness", "limiter"))
    labels = data[0].labels
    found = data.vocabulary.decode(labels.inputs[0, -1], labels.inputs_mask[0, -1])
    assert found["loudness"]["target_db"] == pytest.approx(-8.6, abs=1e-4)
    assert found["loudness#2"]["target_db"] == pytest.approx(-14.0, abs=1e-4)
    assert found["limiter"]["ceiling_db"] == pytest.approx(-0.5, abs=1e-4)


def test_what_was_removed_and_kept_are_sets_of_effects(tmp_path):
    kept, removed = EffectUse(effect="eq", role="kept"), EffectUse(effect="clip", settings={"ceiling_db": -6.0}, role="removed")
    one = pair([signal("wet", ONE, chain=(kept, removed))], [signal("dry", ONE, chain=(kept,))], kind="removal", num_frames=4_000)
    data = PairDataset(written_to(tmp_path, one), kind="removal", labels=("removed", "kept"))
    labels = data[0].labels
    wet = data.vocabulary.decode(labels.inputs[0, 0], labels.inputs_mask[0, 0])
    dry = data.vocabulary.decode(labels.targets[0, 0], labels.targets_mask[0, 0])
    assert [{role: [name for name, has in sets.items() if has] for role, sets in side.items()} for side in (wet, dry)] == [
        {"removed": ["clip"], "kept": ["eq"]},
        {"removed": [], "kept": ["eq"]},
    ]


@pytest.fixture
def of_two_splits(tmp_path):
    pairs = [
        pair([signal("drums", ONE)], [signal("mix", ONE)], start_frame=number, num_frames=4_000, split=split)
        for number, split in enumerate(("train", "train", "test"))
    ]
    return written_to(tmp_path, *pairs)


def test_the_split_is_train_by_default(of_two_splits):
    assert [PairDataset(of_two_splits).pair(number).split for number in range(2)] == ["train", "train"]
    assert len(PairDataset(of_two_splits)) == 2
    assert len(PairDataset(of_two_splits, split="test")) == 1
    assert len(PairDataset(of_two_splits, split="all")) == 3
    with pytest.warns(DeprecationWarning, match='write split="all"'):
        assert len(PairDataset(of_two_splits, split=None)) == 3
    with pytest.raises(ValueError, match="split must be one of train, valid, test or all; got 'training'"):
        PairDataset(of_two_splits, split="training")
    with pytest.raises(ValueError, match=r"no examples of kind None and split 'valid'"):
        PairDataset(of_two_splits, split="validation")
    with pytest.raises(ValueError, match=r'it has mix/test, mix/train\. split="all" takes every split'):
        PairDataset(of_two_splits, split="valid")


def test_the_text_of_a_dataset_describes_its_contents(of_two_splits, many):
    said = repr(PairDataset(of_two_splits, kind="mix", num_inputs=8))
    assert "2 examples of mix; split train; inputs [8, 2, 4000]; targets [1, 2, 4000]; 44100 Hz" in said
    assert said.startswith(f"PairDataset('{of_two_splits}'")
    assert "21 examples of all kinds; all splits" in repr(PairDataset(many, split="all"))
    labelled = PairDataset(many, labels=("fader",))
    assert repr(labelled).endswith("labels [3, 2] of fader)")


def test_a_cut_off_shard_is_named_when_the_dataset_is_opened(many, tmp_path):
    broken = shutil.copytree(many, tmp_path / "broken")
    shard = broken / "mix" / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"train-000001.tar is cut off: it has 10,000 bytes; expected [\d,]+; delete it and run"):
        PairDataset(broken)


def test_a_shard_that_is_cut_off_later_is_named_when_it_is_read(many, tmp_path):
    broken = shutil.copytree(many, tmp_path / "broken")
    data = PairDataset(broken)
    for shard in broken.glob("mix/*.tar"):
        shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"train-00000\d.tar .*(truncated|cut off)"):
        data[7]


def test_only_the_wanted_bytes_of_a_shard_are_read(many, monkeypatch):
    import os

    data, sizes, pread = PairDataset(many, num_frames=100, start_frame=1_000), [], os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: sizes.append(len(found := pread(*arguments))) or found)
    data[3]
    assert sum(sizes) < 3 * (100 * 2 * 4 + 100)


def test_a_dataset_whose_folder_is_missing_gives_an_error_with_the_file(tmp_path, synthetic_song):
    writer = FolderWriter()
    one = pair([signal("drums", ONE)], [signal("mixture", ONE)])
    example = writer.write(tmp_path, one, {name: synthetic_song[name][:, :20_000] for name in ("drums", "mixture")})
    writer.finish(tmp_path, [one], [example])
    (tmp_path / example.signals[0].audio.path).unlink()
    with pytest.raises(FileNotFoundError, match="input_drums"):
        PairDataset(tmp_path / "dataset")[0]


def test_a_vocabulary_is_the_same_for_all_datasets(many):
    assert PairDataset(many, labels=True).vocabulary.names == Vocabulary().names
