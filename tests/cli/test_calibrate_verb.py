"""The verb ``calibrate``: from multitracks to a balance, a corpus and its rules that use it; on songs whose levels are known."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import stemwright

from stemwright.datagen.cli import calibrate_verb
from stemwright.manifests import table
from stemwright.manifests.records import Estimate

RATE = 22_050
BANDS = {"drums": (4000, 10_000), "bass": (40, 200), "other": (250, 800), "vocals": (900, 3500)}
MODULE = """
import numpy as np

BANDS = {bands!r}
GAINS = {{"drums": 1.6, "bass": 0.7, "other": 1.0, "vocals": 1.3}}

class Loud:
    stem_names = tuple(BANDS)
    version = "1"
    identity = {{"weights": "1"}}

    def __call__(self, mixture, sample_rate):
        spectrum, hz = np.fft.rfft(mixture), np.fft.rfftfreq(mixture.shape[1], 1 / sample_rate)
        return {{
            name: GAINS[name] * np.fft.irfft(spectrum * ((hz >= low) & (hz < high)), mixture.shape[1]).astype(np.float32)
            for name, (low, high) in BANDS.items()
        }}

class Retrained(Loud):
    identity = {{"weights": "2"}}

class Leaves(Loud):
    calls = 0

    def __call__(self, mixture, sample_rate):
        print("hello from a model")
        Leaves.calls += 1
        if Leaves.calls == 2:
            raise SystemExit(0)
        return super().__call__(mixture, sample_rate)
"""


def band(rng, low, high, frames):
    hz = np.fft.rfftfreq(frames, 1 / RATE)
    spectrum = np.where((hz >= low * 1.01) & (hz < high * 0.99), np.exp(2j * np.pi * rng.random(hz.size)), 0)
    audio = np.fft.irfft(spectrum, frames)
    return audio / audio.std()


def write_song(folder, seed, *, mixture=True, names=tuple(BANDS), seconds=4.0):
    """Stems in bands of their own, at levels drawn at random; returns their gains in dB."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    total, gains_db = 0, {}
    for name in names:
        gains_db[name] = rng.uniform(-12, 0)
        angle = (rng.uniform(-0.6, 0.6) + 1) * np.pi / 4
        stem = 0.03 * 10 ** (gains_db[name] / 20) * band(rng, *BANDS[name], round(seconds * RATE))
        stem = stem * np.array([[np.cos(angle)], [np.sin(angle)]])
        soundfile.write(folder / f"{name}.wav", stem.T, RATE, subtype="FLOAT")
        total = total + stem
    if mixture:
        soundfile.write(folder / "mixture.wav", total.T, RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Six multitracks and the module of a separator."""
    folder = tmp_path_factory.mktemp("calibrate")
    for seed in range(6):
        write_song(folder / "songs" / f"song{seed}", seed)
    (folder / "loud_bands.py").write_text(MODULE.format(bands=BANDS))
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(place))
    yield place
    sys.modules.pop("loud_bands", None)


def calibrated(here, *options, songs=None, check=True):
    return stemwright("calibrate", songs or here / "songs", *options, "--json", check=check)


SEPARATOR = ("--separator", "loud_bands:Loud")


def test_a_balance_is_right_after_calibration_and_says_so(here, tmp_path):
    new = write_song(tmp_path / "new", 50)
    shutil.copy(new / "mixture.wav", tmp_path / "song.wav")
    truth = {row["stem"]: row["level_lu"] for row in rows_of_balance(new)}
    before = {row["stem"]: row for row in rows_of_balance(tmp_path / "song.wav", *SEPARATOR)}
    assert "generic ranges, not calibrated to loud_bands:Loud" in stemwright("balance", tmp_path / "song.wav", *SEPARATOR).stdout
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    after = {row["stem"]: row for row in rows_of_balance(tmp_path / "song.wav", *SEPARATOR)}
    assert max(abs(before[name]["level_lu"] - truth[name]) for name in BANDS) > 2.0
    assert max(abs(after[name]["level_lu"] - truth[name]) for name in BANDS) < 0.3
    assert {row["calibration"] for row in before.values()} == {""}
    assert {row["calibration"] for row in after.values()} == {said["id"]}
    text = stemwright("balance", tmp_path / "song.wav", *SEPARATOR).stdout
    assert "calibrated to loud_bands:Loud on 6 songs" in text
    other = rows_of_balance(tmp_path / "song.wav", "--separator", "loud_bands:Retrained")
    assert [row["level_lu"] for row in other] == [before[name]["level_lu"] for name in BANDS]  # other weights: not theirs


def rows_of_balance(*words):
    found = json.loads(stemwright("balance", *words, "--json").stdout)["tracks"][0]
    return [{"stem": name, "calibration": found["calibration"] or "", **stem} for name, stem in found["stems"].items()]


def test_figures_of_songs_that_are_left_out_are_shown_and_kept(here):
    done = calibrated(here, *SEPARATOR)
    said = json.loads(done.stdout)
    total = next(row for row in said["left_out"] if row["stem"] == "all")
    assert total["rmse_lu_before"] > 1.0 > 0.3 > total["rmse_lu_after"]
    assert total["count"] == 24
    [listed] = json.loads(stemwright("calibrate", "--list", "--json").stdout)["calibrations"]
    assert (listed["id"], listed["key"], len(listed["songs"])) == (said["id"], said["key"], 6)
    text = stemwright("calibrate", here / "songs", *SEPARATOR).stdout
    assert "6 songs separated by an earlier run" in text
    assert "each of 6 songs by the others: generic, then calibrated" in text


def test_a_dry_run_keeps_nothing(here):
    said = json.loads(calibrated(here, *SEPARATOR, "--dry-run").stdout)
    assert said["kept"] == []
    assert json.loads(stemwright("calibrate", "--list", "--json").stdout)["calibrations"] == []


@pytest.fixture
def corpus(here, tmp_path):
    """A corpus of two mixtures, separated and estimated before anything was calibrated."""
    made = corpus_in(tmp_path / "corpus", tmp_path / "mixtures")
    stemwright("estimate", made)
    return made


def corpus_in(corpus, mixtures):
    for seed in range(2):
        song = write_song(mixtures.parent / "new" / f"new{seed}", 70 + seed)
        mixtures.mkdir(exist_ok=True)
        shutil.move(song / "mixture.wav", mixtures / f"new{seed}.wav")
        shutil.rmtree(song)
    stemwright("catalog", mixtures, corpus)
    stemwright("separate", corpus, *SEPARATOR)
    return corpus


def estimates(corpus):
    return table.read(corpus / "estimates.parquet", Estimate)


def test_a_corpus_uses_the_calibration_that_is_named_and_carries_it(here, corpus, tmp_path):
    before = estimates(corpus)
    assert {row.calibration for row in before} == {None}
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    done = stemwright("estimate", corpus)
    assert estimates(corpus) == before  # what is in a cache changes no row
    assert f"--calibration {said['id']}" in done.stdout
    assert "was copied into the corpus" in stemwright("estimate", corpus, "--calibration", said["id"]).stdout
    after = estimates(corpus)
    assert {row.calibration for row in after} == {said["id"]}
    assert [path.name for path in (corpus / "calibrations").iterdir()] == [f"{said['key']}.json"]
    shutil.rmtree(tmp_path / "cache" / "calibrations")  # another machine
    stemwright("estimate", corpus)
    assert estimates(corpus) == after
    drums = {row.track_id: row.level_lu for row in before if row.name == "drums"}
    assert all(row.level_lu < drums[row.track_id] - 1.0 for row in after if row.name == "drums")
    assert "calibrations" not in stemwright("check", corpus, check=False).stdout
    stemwright("estimate", corpus, "--calibration", "none")
    assert estimates(corpus) == before


def test_one_configuration_gives_the_same_rows_whatever_is_in_the_cache(here, corpus, tmp_path, monkeypatch):
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    [file] = said["kept"]
    shutil.copy(file, tmp_path / "to_loud.json")
    (tmp_path / "by_file.toml").write_text('[estimate]\ncalibration = "to_loud.json"\n')
    rows = {}
    for cache in ("cache", "another"):
        monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / cache))
        for name, options in {"plain": (), "file": ("--config", tmp_path / "by_file.toml")}.items():
            copy = tmp_path / f"{cache} {name}"
            shutil.copytree(corpus, copy)
            stemwright("estimate", copy, *options)
            rows[cache, name] = estimates(copy)
    assert rows["cache", "plain"] == rows["another", "plain"] == estimates(corpus)
    assert rows["cache", "file"] == rows["another", "file"]
    assert {row.calibration for row in rows["another", "file"]} == {said["id"]}
    pinned = tmp_path / "another file"
    (tmp_path / "to_loud.json").write_text("{}")  # made again, or lost: the corpus has its own
    stemwright("estimate", pinned)
    assert estimates(pinned) == rows["another", "file"]
    assert f'calibration = "{said["id"]}"' in (pinned / "config.toml").read_text()


def test_a_corpus_keeps_the_calibration_that_is_replaced_while_it_is_separated(here, tmp_path, monkeypatch):
    from loud_bands import Loud

    said, mixtures = json.loads(calibrated(here, *SEPARATOR).stdout), tmp_path / "mixtures"
    mixtures.mkdir()
    shutil.copy(here / "songs" / "song0" / "mixture.wav", mixtures / "song.wav")
    plain = Loud.__call__

    def meanwhile(self, mixture, sample_rate):
        stemwright("calibrate", "--remove", said["id"], check=False)
        return plain(self, mixture, sample_rate)

    monkeypatch.setattr(Loud, "__call__", meanwhile)
    done = stemwright("build", mixtures, tmp_path / "corpus", *SEPARATOR, "--calibration", said["id"], check=False)
    assert f"levels use the calibration {said['id']}" in done.stdout
    assert json.loads(stemwright("calibrate", "--list", "--json").stdout)["calibrations"] == []
    assert {row.calibration for row in estimates(tmp_path / "corpus")} == {said["id"]}


def test_a_calibration_that_is_missing_or_to_another_separator_stops_before_any_work(here, corpus, tmp_path):
    before = (corpus / "config.toml").read_bytes(), estimates(corpus)
    done = stemwright("estimate", corpus, "--calibration", "0123456789abcdef", check=False)
    assert done.returncode == 2
    assert "no calibration 0123456789abcdef here (kept: none)" in done.stderr
    assert "stemwright calibrate MULTITRACKS --model NAME" in done.stderr
    said = json.loads(calibrated(here, "--separator", "loud_bands:Retrained").stdout)
    done = stemwright("estimate", corpus, "--calibration", said["id"], check=False)
    assert done.returncode == 2
    assert f"{said['id']} is to loud_bands:Retrained, but the stems are separated by loud_bands:Loud" in done.stderr
    edited = tmp_path / "edited.json"
    edited.write_text((tmp_path / "cache" / "calibrations" / f"{said['key']}.json").read_text().replace('"offset_lu": ', '"offset_lu": 1'))
    for name, what in ((edited, "was damaged or edited"), (tmp_path / "none.json", "is no file"), ("auto", "must not depend")):
        done = stemwright("estimate", corpus, "--calibration", name, check=False)
        assert done.returncode == 2
        assert what in done.stderr
    assert ((corpus / "config.toml").read_bytes(), estimates(corpus)) == before
    other = stemwright(
        "build", tmp_path / "mixtures", tmp_path / "new corpus", "--model", "htdemucs", "--calibration", said["id"], check=False
    )
    assert other.returncode == 2
    assert "but the stems are separated by htdemucs" in other.stderr
    assert not (tmp_path / "new corpus").exists()


def test_a_corpus_that_a_calibration_was_copied_into_before_keeps_its_rows(here, corpus):
    """As corpora of earlier versions are: they carry a calibration that their configuration does not name."""
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    stemwright("estimate", corpus, "--calibration", said["id"])
    after = estimates(corpus)
    lines = (corpus / "config.toml").read_text().splitlines(keepends=True)
    (corpus / "config.toml").write_text("".join(line for line in lines if not line.startswith("calibration =")))
    stemwright("estimate", corpus)
    assert estimates(corpus) == after


def test_a_corpus_given_to_calibrate_uses_the_new_calibration(here, corpus):
    said = json.loads(calibrated(here, *SEPARATOR, "--corpus", corpus).stdout)
    assert len(said["kept"]) == 2
    stemwright("estimate", corpus)
    assert {row.calibration for row in estimates(corpus)} == {said["id"]}


def test_what_is_kept_and_its_id_are_said_once(here):
    done = stemwright("calibrate", here / "songs", *SEPARATOR)
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    assert f"calibration {said['id']}: balance and rules now use it" in done.stdout
    assert done.stdout.count(said["id"]) == 1
    assert "its file, named by the separator: " in done.stdout
    assert "; kept: " in next(line for line in done.stdout.splitlines() if line.startswith("pan: "))
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]


def test_songs_whose_files_have_no_stem_are_rejected_before_anything_is_separated(here, tmp_path, monkeypatch):
    from loud_bands import Loud

    monkeypatch.setattr(Loud, "__call__", lambda *_: pytest.fail("separated"))
    shutil.copytree(here / "songs", tmp_path / "songs")
    for number in range(2):
        wrong = tmp_path / "songs" / f"song{number}"
        (wrong / "vocals.wav").rename(wrong / "unsorted.wav")
    done = calibrated(here, *SEPARATOR, songs=tmp_path / "songs", check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert len(said["rejected"]) == 2
    assert "expected at least 5 songs" in said["error"]
    assert "got 4" in said["error"]


def test_a_balance_is_by_the_calibration_that_is_named(here, tmp_path):
    song = tmp_path / "song.wav"
    shutil.move(write_song(tmp_path / "new", 50) / "mixture.wav", song)
    generic = rows_of_balance(song, *SEPARATOR)
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    (file,) = said["kept"]
    assert rows_of_balance(song, *SEPARATOR, "--calibration", "none") == generic
    mine = rows_of_balance(song, *SEPARATOR)
    assert (
        mine == rows_of_balance(song, *SEPARATOR, "--calibration", said["id"]) == rows_of_balance(song, *SEPARATOR, "--calibration", file)
    )
    assert mine != generic
    done = stemwright("balance", song, "--separator", "loud_bands:Retrained", "--calibration", file, check=False)
    assert done.returncode == 1
    assert "is to loud_bands:Loud, but the stems are separated by loud_bands:Retrained" in done.stderr
    rules = json.loads(stemwright("rules", song, *SEPARATOR, "--calibration", "none", "--json", check=False).stdout)["songs"]
    assert rules != json.loads(stemwright("rules", song, *SEPARATOR, "--json", check=False).stdout)["songs"]


def test_multitracks_without_mixtures_and_with_other_names_are_taken(here, tmp_path):
    for seed in range(5):
        folder = write_song(tmp_path / "raw" / f"song{seed}", seed, mixture=False)
        (folder / "drums.wav").rename(folder / "01_Kick.wav")
        (folder / "vocals.wav").rename(folder / "Lead Vox.wav")
        (folder / "other.wav").rename(folder / "Piano.wav")
    said = json.loads(calibrated(here, *SEPARATOR, songs=tmp_path / "raw").stdout)
    total = next(row for row in said["left_out"] if row["stem"] == "all")
    assert total["count"] == 20
    assert total["rmse_lu_after"] < 0.3


def test_songs_with_silent_stems_and_of_one_stem_count_for_what_they_have(here, tmp_path):
    shutil.copytree(here / "songs", tmp_path / "songs")
    write_song(tmp_path / "songs" / "alone", 9, names=("drums",))
    for name in ("bass", "vocals"):
        silent = np.zeros_like(soundfile.read(tmp_path / "songs" / "song0" / f"{name}.wav")[0])
        soundfile.write(tmp_path / "songs" / "song0" / f"{name}.wav", silent, RATE, subtype="FLOAT")
    stems = [soundfile.read(tmp_path / "songs" / "song0" / f"{name}.wav")[0] for name in BANDS]
    soundfile.write(tmp_path / "songs" / "song0" / "mixture.wav", sum(stems), RATE, subtype="FLOAT")
    said = json.loads(calibrated(here, *SEPARATOR, songs=tmp_path / "songs").stdout)
    counts = {row["stem"]: row["count"] for row in said["left_out"]}
    assert (counts["drums"], counts["bass"], counts["vocals"], counts["other"]) == (7, 5, 5, 6)


def test_too_few_songs_and_songs_that_cannot_be_used_say_what_is_expected(here, tmp_path):
    for seed in range(2):
        write_song(tmp_path / "few" / f"song{seed}", seed)
    done = calibrated(here, *SEPARATOR, songs=tmp_path / "few", check=False)
    assert done.returncode == 1
    assert "expected at least 5 songs" in done.stderr
    assert "got 2" in done.stderr
    shutil.copytree(here / "songs", tmp_path / "songs")
    wrong = tmp_path / "songs" / "song0"
    (wrong / "vocals.wav").rename(wrong / "accompaniment.wav")
    done = calibrated(here, *SEPARATOR, songs=tmp_path / "songs", check=False)
    assert done.returncode == 3
    [rejected] = json.loads(done.stdout)["rejected"]
    assert "accompaniment" in rejected["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "expected MULTITRACKS"),
        (("missing",), "does not exist"),
        (("songs", "--list"), "leave out"),
        (("songs", "--stems", "x/{song}"), "--stems-of NAME"),
        (("songs", "--stems-of", "x"), "expected --stems FOLDER"),
        (("songs", "--corpus", "songs"), "is no corpus"),
        (("songs/song0/mixture.wav",), "is a file; expected a folder of songs"),
    ],
)
def test_wrong_usage_says_what_was_expected(here, monkeypatch, words, said):
    monkeypatch.chdir(here)
    done = stemwright("calibrate", *words, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_stems_that_a_separator_made_elsewhere_are_calibrated_by_a_name(here, tmp_path):
    from loud_bands import Loud

    def separate(mixture, folder):
        folder.mkdir(parents=True)
        for name, audio in Loud()(soundfile.read(mixture)[0].T, RATE).items():
            soundfile.write(folder / f"{name}.wav", audio.T, RATE, subtype="FLOAT")

    for song in sorted((here / "songs").iterdir()):
        separate(song / "mixture.wav", tmp_path / "out" / song.name)
    json.loads(calibrated(here, "--stems", tmp_path / "out" / "{song}", "--stems-of", "loud").stdout)
    new = write_song(tmp_path / "new", 51)
    shutil.copy(new / "mixture.wav", tmp_path / "song.wav")
    separate(tmp_path / "song.wav", tmp_path / "out" / "song")
    truth = {row["stem"]: row["level_lu"] for row in rows_of_balance(new)}
    found = rows_of_balance(tmp_path / "song.wav", "--stems", tmp_path / "out" / "song", "--stems-of", "loud")
    assert max(abs(row["level_lu"] - truth[row["stem"]]) for row in found) < 0.3
    done = stemwright("balance", tmp_path / "song.wav", "--stems", tmp_path / "out" / "song", "--stems-of", "loudd", check=False)
    assert done.returncode == 2
    assert "(kept: loud)" in done.stderr


def test_a_stopped_calibration_goes_on_where_it_was(here, monkeypatch):
    from loud_bands import Loud

    calls = []
    plain = Loud.__call__

    def failing(self, mixture, sample_rate):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, mixture, sample_rate)

    monkeypatch.setattr(Loud, "__call__", failing)
    assert calibrated(here, *SEPARATOR, check=False).returncode == 130
    calibrated(here, *SEPARATOR)
    assert len(calls) == 4 + 3  # three songs were kept; the fourth and two more are separated


def test_a_model_that_prints_and_exits_costs_its_song_alone(here):
    done = calibrated(here, "--separator", "loud_bands:Leaves", check=False)
    assert done.returncode == 3
    [rejected] = json.loads(done.stdout)["rejected"]
    assert "SystemExit" in rejected["reason"]
    assert "hello from a model" in done.stderr


def test_where_every_song_is_rejected_the_reasons_are_in_the_json(here, monkeypatch):
    from loud_bands import Loud

    monkeypatch.setattr(Loud, "__call__", lambda *_: {"drums": np.zeros((2, 1))})
    done = calibrated(here, *SEPARATOR, check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert len(said["rejected"]) == 6
    assert "6 songs could not be used, for the reasons above" in said["error"]


def test_a_calibration_is_removed_by_its_id(here, tmp_path):
    said = json.loads(calibrated(here, *SEPARATOR).stdout)
    other = json.loads(calibrated(here, "--separator", "loud_bands:Retrained").stdout)
    done = stemwright("calibrate", "--remove", said["id"], "--remove", "0123456789abcdef", check=False)
    assert done.returncode == 2
    assert "Nothing was removed" in done.stderr
    assert f"removed: {said['id']}" in stemwright("calibrate", "--remove", said["id"]).stdout
    listed = json.loads(stemwright("calibrate", "--list", "--json").stdout)["calibrations"]
    assert [each["id"] for each in listed] == [other["id"]]
    assert "leave out --list" in stemwright("calibrate", "--remove", other["id"], "--list", check=False).stderr


def test_a_damaged_calibration_in_a_corpus_is_an_error_and_in_the_cache_a_warning(here, corpus, tmp_path):
    said = json.loads(calibrated(here, *SEPARATOR, "--corpus", corpus).stdout)
    stemwright("estimate", corpus)
    before = estimates(corpus)
    own, carried = map(Path, said["kept"])
    for damaged in (carried.read_bytes()[:900], carried.read_bytes().replace(b'"format": 1', b'"format": 2')):
        carried.write_bytes(damaged)
        done = stemwright("estimate", corpus, check=False)
        assert done.returncode == 2
        assert f"{carried} is no calibration of this version" in done.stderr
        assert carried.read_bytes() == damaged
    assert estimates(corpus) == before
    own.write_bytes(damaged)
    assert f"{own} is no calibration of this version" in stemwright("calibrate", "--list").stderr
    shutil.rmtree(tmp_path / "cache" / "calibrations" / "songs")
    done = stemwright("calibrate", here / "songs", *SEPARATOR, check=False)
    assert done.returncode == 2
    assert "move it elsewhere, then calibrate again; it was not overwritten" in done.stderr
    assert not (tmp_path / "cache" / "calibrations" / "songs").exists()  # nothing was separated
    assert own.read_bytes() == damaged


def test_copies_count_once_and_renamed_songs_are_not_separated_again(here, tmp_path):
    calibrated(here, *SEPARATOR)
    for number, song in enumerate(sorted((here / "songs").iterdir())):
        shutil.copytree(song, tmp_path / "renamed" / f"other {number}")
    again = json.loads(calibrated(here, *SEPARATOR, songs=tmp_path / "renamed").stdout)
    assert "6 songs separated by an earlier run" in stemwright("calibrate", tmp_path / "renamed", *SEPARATOR).stdout
    assert again["songs"] == [f"other {number}" for number in range(6)]
    for number in range(5):
        shutil.copytree(here / "songs" / "song0", tmp_path / "copies" / f"song{number}")
    done = calibrated(here, *SEPARATOR, songs=tmp_path / "copies", check=False)
    assert done.returncode == 1
    assert "song1/mixture.wav: the same recording as song0/mixture.wav; it counts once" in done.stderr
    assert "got 1." in json.loads(done.stdout)["error"]


def test_copies_in_another_encoding_count_once_and_are_not_separated(here, tmp_path, monkeypatch):
    from loud_bands import Loud

    shutil.copytree(here / "songs", tmp_path / "songs")
    for number, (format_, subtype) in enumerate((("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16"))):
        copy = tmp_path / "songs" / f"there again {number}"
        copy.mkdir()
        for path in (here / "songs" / f"song{number}").iterdir():
            audio = soundfile.read(path)[0]
            soundfile.write(copy / f"{path.stem}.{format_.lower()}", audio, RATE, format=format_, subtype=subtype)
    calls, plain = [], Loud.__call__
    monkeypatch.setattr(Loud, "__call__", lambda *given: calls.append(1) or plain(*given))
    said = json.loads(calibrated(here, *SEPARATOR, songs=tmp_path / "songs", check=False).stdout)
    assert said["songs"] == [f"song{number}" for number in range(6)]
    assert len(calls) == 6
    assert [each["song"].split("/")[0] for each in said["rejected"]] == [f"there again {number}" for number in range(3)]
    assert all("by its sound" in each["reason"] for each in said["rejected"])


def test_fewer_songs_replace_a_calibration_only_on_request(here, tmp_path, monkeypatch):
    from loud_bands import Loud

    first = json.loads(calibrated(here, *SEPARATOR).stdout)
    for number in range(5):
        write_song(tmp_path / "five" / f"new{number}", 80 + number)
    plain = Loud.__call__
    monkeypatch.setattr(Loud, "__call__", lambda *_: pytest.fail("separated"))
    done = calibrated(here, *SEPARATOR, songs=tmp_path / "five", check=False)
    assert done.returncode == 2
    assert f"{first['id']} to loud_bands:Loud@1 was made with 6 songs, and here are 5" in done.stderr
    monkeypatch.setattr(Loud, "__call__", plain)
    assert json.loads(calibrated(here, *SEPARATOR, "--dry-run", songs=tmp_path / "five").stdout)["kept"] == []
    assert json.loads(stemwright("calibrate", "--list", "--json").stdout)["calibrations"][0]["id"] == first["id"]
    second = json.loads(calibrated(here, *SEPARATOR, "--replace", songs=tmp_path / "five").stdout)
    assert second["replaced"] == first["id"]
    assert (
        f"it replaces the calibration {second['id']}, which was made with 5 songs"
        in stemwright("calibrate", here / "songs", *SEPARATOR).stdout
    )


def test_a_calibration_of_more_songs_that_another_run_keeps_meanwhile_stays(here, tmp_path, monkeypatch):
    from loud_bands import Loud

    for number in range(5):
        write_song(tmp_path / "five" / f"new{number}", 80 + number)
    others, plain = [], Loud.__call__

    def meanwhile(self, mixture, sample_rate):
        if not others:
            others.append(1)
            others.append(json.loads(calibrated(here, *SEPARATOR).stdout))
        return plain(self, mixture, sample_rate)

    monkeypatch.setattr(Loud, "__call__", meanwhile)
    done = calibrated(here, *SEPARATOR, songs=tmp_path / "five", check=False)
    assert done.returncode == 1
    assert "what was separated is, for the next run" in json.loads(done.stdout)["error"]
    assert json.loads(stemwright("calibrate", "--list", "--json").stdout)["calibrations"][0]["id"] == others[1]["id"]


def test_a_cache_that_cannot_be_written_is_said_before_a_song_is_separated(here, tmp_path, monkeypatch):
    from loud_bands import Loud

    monkeypatch.setattr(Loud, "__call__", lambda *_: pytest.fail("separated"))
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "file"))
    done = calibrated(here, *SEPARATOR, check=False)
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Loud, "identity", {"weights": float("nan")})
    done = calibrated(here, *SEPARATOR, check=False)
    assert done.returncode == 2
    assert "its identity cannot be written" in done.stderr


def test_stems_that_no_song_has_are_named(here, tmp_path):
    for seed in range(5):
        write_song(tmp_path / "instrumental" / f"song{seed}", seed, names=("drums", "bass", "other"))
    done = stemwright("calibrate", tmp_path / "instrumental", *SEPARATOR)
    assert "no song has vocals" in done.stderr
    new = write_song(tmp_path / "new", 50)
    shutil.move(new / "mixture.wav", tmp_path / "song.wav")
    said = stemwright("balance", tmp_path / "song.wav", *SEPARATOR).stdout
    assert "none of them with vocals" in " ".join(said.split())


def test_the_help_names_the_verb():
    assert "stemwright calibrate multitracks/" in calibrate_verb.calibrate.__doc__
