import shutil

import numpy as np
import pytest
import torch
from test_render import pair, signal

from datagen.dataset import PairDataset
from datagen.writers import FolderWriter

ONE = "0" * 16


@pytest.fixture
def dataset(tmp_path, synthetic_song):
    """Two examples of stereo signals with two inputs and one of a mono one with a single input."""
    writer = FolderWriter()
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


def test_a_corpus_folder_is_told_from_its_dataset(dataset):
    (dataset.parent / "config.toml").write_text("")
    (dataset.parent / "examples.parquet").write_bytes((dataset / "examples.parquet").read_bytes())
    with pytest.raises(FileNotFoundError, match="the dataset is the folder inside it"):
        PairDataset(dataset.parent)


def test_an_empty_selection_says_what_there_is(dataset, tmp_path):
    with pytest.raises(ValueError, match="it has mix/train"):
        PairDataset(dataset, kind="removal")
    with pytest.raises(FileNotFoundError, match="is no dataset"):
        PairDataset(tmp_path)
