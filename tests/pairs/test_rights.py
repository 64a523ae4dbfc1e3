"""Licences are recognised in what tags say, and a policy decides what is rendered, written down, or left out."""

import json

import pytest
from conftest import make_song, write_song_file
from rows import corpus_rows
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.pairs.licences import normalise
from stemwright.datagen.pairs.rights import RightsConfig, RightsOfPairs, admitted, renders_everything, summary, use_of
from stemwright.datagen.run import configuration
from stemwright.datagen.run.configuration import ConfigError
from stemwright.manifests import table
from stemwright.manifests.catalog.musdb_terms import MEDLEYDB, OF_MEDLEYDB, OF_REMIX_COMPETITION, REMIX_COMPETITION, RESTRICTED, terms_of
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_records import Branch, Example, Pair, Signal
from stemwright.manifests.records import Rejected, Track, seal
from stemwright.manifests.table_rows import TableRows

SAID = {
    "CC BY 4.0": "CC-BY-4.0",
    "CC-BY-SA-3.0": "CC-BY-SA-3.0",
    "cc_by_4.0": "CC-BY-4.0",
    "CC BY": "CC-BY",
    "CC0": "CC0-1.0",
    "CC0 1.0 Universal": "CC0-1.0",
    "https://creativecommons.org/publicdomain/zero/1.0/": "CC0-1.0",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/us/": "CC-BY-NC-SA-3.0",
    "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International": "CC-BY-NC-ND-4.0",
    "© 2019 Ann, licensed under CC BY-ND 2.0": "CC-BY-ND-2.0",
    MEDLEYDB: "CC-BY-NC-SA-4.0",
    REMIX_COMPETITION: "CC-BY-NC-SA-3.0",
    "(C) 2019 A Label": "all rights reserved",
    "℗ 2019 A Label": "all rights reserved",
    "2019 A Label": "all rights reserved",
    "All Rights Reserved": "all rights reserved",
    "Public Domain": "public domain",
    "https://creativecommons.org/publicdomain/mark/1.0/": "public domain",
    "": "unknown",
    " Unknown ": "unknown",
    "ask  Bob by mail": "ask Bob by mail",
    RESTRICTED: RESTRICTED,
    "creative commons": "creative commons",  # which one, it does not say
}


@pytest.mark.parametrize(("text", "known"), SAID.items(), ids=SAID)
def test_a_statement_of_rights_is_named_by_its_licence(text, known):
    assert normalise(text) == known
    assert normalise(known) == known


@pytest.mark.parametrize(
    ("render", "recipes_only", "rights", "use"),
    [
        (["*"], [], "anything", "render"),
        (["CC-*"], ["*"], "cc by 4.0", "render"),
        (["CC-*"], ["*"], "unknown", "recipes"),
        (["*"], ["MUSDB18*"], RESTRICTED, "recipes"),
        (["*"], ["*all rights*"], "(c) 2019 A Label", "recipes"),
        (["CC-BY-*"], ["CC-BY-NC-*"], MEDLEYDB, "recipes"),
        (["CC-BY-4.0"], ["cc0-1.0"], "CC0", "recipes"),
        (["CC-BY-4.0"], [], "CC BY 3.0", "excluded"),
        (["x"], ["X"], "x", "recipes"),
        ([], [], "CC0", "excluded"),
        (["*A Label"], [], "(c) 2019 a label", "render"),
    ],
)
def test_the_pattern_with_the_most_letters_decides_and_at_a_tie_the_stricter(render, recipes_only, rights, use):
    assert use_of(RightsConfig(render=render, recipes_only=recipes_only), rights) == use


def tracks_of(*rights):
    tracks, stems, _ = corpus_rows(len(rights))
    return [track.model_copy(update={"rights": said}) for track, said in zip(tracks, rights, strict=True)], stems


def pair_of(track, stems):
    signal = Signal(name="mix", branches=tuple(Branch(source_id=stem.id) for stem in stems))
    facts = {"kind": "remix", "number": 0, "split": "train", "start_frame": 0, "num_frames": 8, "sample_rate": 44_100, "seed": 0}
    return seal(Pair, track_id=track.id, inputs=(signal,), targets=(signal,), **facts)


def test_a_pair_of_several_tracks_takes_the_strictest_rights():
    tracks, stems = tracks_of("CC0", "CC BY 4.0", "unknown")
    uses = RightsOfPairs(RightsConfig(render=("CC0*",), recipes_only=("CC-BY*",)), tracks, stems)
    of = {track.id: [stem for stem in stems if stem.track_id == track.id] for track in tracks}
    free, credited, unknown = tracks
    assert uses.of_pair(pair_of(free, of[free.id])) == "render"
    assert uses.of_pair(pair_of(free, [of[free.id][0], of[credited.id][1]])) == "recipes"
    assert uses.of_pair(pair_of(free, [of[free.id][0], of[credited.id][1], of[unknown.id][2]])) == "excluded"


def in_table(folder, tracks):
    table.write(folder / "tracks.parquet", tracks, Track)
    return JoinedRows(TableRows(folder / "tracks.parquet", Track))


def test_excluded_tracks_are_rejected_with_their_rights_and_the_policy(tmp_path):
    tracks, _ = tracks_of("CC0", "(c) 2019 A Label")
    kept, (row,) = admitted(RightsConfig(render=("CC*",)), in_table(tmp_path, tracks))
    assert [*kept] == tracks[:1]
    assert (row.stage, row.row_id) == ("plan", tracks[1].id)
    assert row.reason == "its rights are 'all rights reserved', which [rights] excludes: it takes render = ['CC*']"


def test_a_policy_that_leaves_nothing_names_the_rights_that_exist(tmp_path):
    tracks, _ = tracks_of("CC BY 4.0", "CC-BY-4.0", "unknown")
    with pytest.raises(
        ConfigError, match=r"leaves none of 3 tracks: their rights are 'CC-BY-4.0' \(2\), 'unknown' \(1\); the policy takes"
    ):
        admitted(RightsConfig(render=("CC0",)), in_table(tmp_path, tracks))
    with pytest.raises(ConfigError, match="the policy takes nothing"):
        admitted(RightsConfig(render=()), in_table(tmp_path, tracks))


def test_by_default_everything_is_rendered(tmp_path):
    tracks, _ = tracks_of("CC0", "unknown", "(c) me")
    assert renders_everything(RightsConfig())
    kept, refused = admitted(RightsConfig(), in_table(tmp_path, tracks))
    assert ([*kept], refused) == (tracks, [])
    assert configuration.parse("").rights == RightsConfig()
    assert summary(tracks) == {"CC0-1.0": 1, "all rights reserved": 1, "unknown": 1}


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown key 'rights.recipe_only'; did you mean 'rights.recipes_only'"):
        configuration.parse("[rights]\nrecipe_only = ['x']\n")


def test_every_track_of_musdb_has_its_terms():
    assert sum(map(len, OF_MEDLEYDB.values())) == 46  # as its description says
    assert sum(map(len, OF_REMIX_COMPETITION.values())) == 2
    assert terms_of("Music Delta", "Beatles") == MEDLEYDB
    assert terms_of("The Easton Ellises", "Falcon 69") == REMIX_COMPETITION
    assert terms_of("James May", "All Souls Moon") == RESTRICTED


def test_each_kind_of_catalog_states_rights(tmp_path, multitrack_folder):
    song = make_song(0, 1.0)["mixture"]
    write_song_file(tmp_path / "songs" / "tagged.flac", song, copyright="2019 A Label", license="CC BY 4.0")
    write_song_file(tmp_path / "songs" / "comment.flac", song * 0.9, comment="see http://creativecommons.org/licenses/by/3.0/")
    write_song_file(tmp_path / "songs" / "said.flac", song * 0.8, comment="recorded at home")
    (tmp_path / "songs" / "list.csv").write_text("path,rights\ntagged.flac,CC0\n")

    def rights(place, **options):
        found = find(place, **options)
        return {c.path: normalise(inspect(found.songs, c, SplitShares()).rights) for c in found.candidates}

    assert rights(tmp_path / "songs", kind="folder") == {"tagged.flac": "CC-BY-4.0", "comment.flac": "CC-BY-3.0", "said.flac": "unknown"}
    assert rights(tmp_path / "songs" / "list.csv") == {"tagged.flac": "CC0-1.0"}
    musdb = multitrack_folder(1, 1, duration_s=1.0)
    (musdb / "train" / "Artist 0 - Title 0").rename(musdb / "train" / "Meaxic - You Listen")
    assert sorted(rights(musdb).values()) == ["CC-BY-NC-SA-4.0", RESTRICTED]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three multitracks under three rights, of which one is rendered, one is recipes only and one is left out."""
    place = tmp_path_factory.mktemp("rights")
    for number, said in enumerate(("CC BY 4.0", "all rights reserved", "unknown")):
        for name, audio in make_song(number, 2.0).items():
            write_song_file(place / "songs" / f"A{number} - T{number}" / f"{name}.wav", audio, copyright=said, artist=f"A{number}")
    text = "[pairs]\nduration_s = 0.5\n[pairs.mix]\nper_track = 2\n[pairs.removal]\nper_track = 2\n"
    (place / "all.toml").write_text(text)
    (place / "some.toml").write_text(f"{text}[rights]\nrender = ['CC-*']\nrecipes_only = ['all rights reserved']\n")
    (place / "none.toml").write_text(f"{text}[rights]\nrender = ['CC0*']\nrecipes_only = []\n")
    (place / "built").mkdir()
    return place


def test_a_policy_is_kept_from_plan_to_export(corpus):
    place = corpus / "built"
    done = run("build", corpus / "songs", place, "--config", corpus / "some.toml", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 3  # one track was left out
    (row,) = [row for row in said["rejected"] if row["stage"] == "plan"]
    assert "its rights are 'unknown', which [rights] excludes" in row["reason"]
    (render,) = [stage for stage in said["stages"] if stage["stage"] == "render"]
    assert render["notes"] == ["4 pairs are written as recipes only because of [rights]; their audio is not rendered"]
    assert said["problems"] == []
    assert len(table.read(place / "pairs.parquet", Pair)) == 8
    assert len(table.read(place / "examples.parquet", Example)) == 4

    again = json.loads(run("render", place, "--json").stdout)["stages"]
    assert (again[0]["done"], again[0]["notes"]) == (0, render["notes"])
    assert run("export", place, corpus / "out").exit_code == 0
    assert len(table.read(corpus / "out" / "dataset" / "examples.parquet", Example)) == 4
    assert len(table.column(corpus / "out" / "tracks.parquet", "id")) == 2

    done = run("plan", place, "--config", corpus / "none.toml")
    assert isinstance(done.exception, ConfigError)
    assert "[rights] leaves none of 3 tracks" in str(done.exception)
    assert len(table.read(place / "pairs.parquet", Pair)) == 8  # nothing was lost by asking


def test_a_policy_that_changed_since_rendering_stops_an_export(corpus):
    place = corpus / "changed"
    assert run("build", corpus / "songs", place, "--config", corpus / "all.toml").exit_code == 0
    text = (place / "config.toml").read_text()
    (place / "config.toml").write_text(text[: text.index("[rights]")] + "[rights]\nrender = ['CC-*']\nrecipes_only = ['*']\n")
    done = run("export", place, corpus / "changed-out", "--no-audio")
    assert isinstance(done.exception, ConfigError)
    assert "[rights] does not allow 8 of 12 pairs as they are in the corpus" in str(done.exception)
    assert not (corpus / "changed-out").exists()
    assert run("plan", place).exit_code == 0
    assert run("render", place).exit_code == 0
    assert run("check", place).exit_code == 0
    assert run("export", place, corpus / "changed-out", "--no-audio").exit_code == 0
    assert len(table.read(place / "examples.parquet", Example)) == 4
    assert not [row for row in table.read(place / "rejected.parquet", Rejected) if row.stage == "render"]
