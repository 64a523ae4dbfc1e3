"""The report: its figures, that it needs no other file, that nothing in a table can act on the page, and that a real browser plays it."""

import base64
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import typer
from conftest import STEM_NAMES, make_song, write_song_file
from test_render import pair, signal

from stemwright.datagen.cli.reporting import report
from stemwright.datagen.report import chain_text, charts, page, players, report_html, rows
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import EffectUse, Rejected, Stem, Track, TrackEstimate, content_id, seal
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.table_rows import TableRows

EVIL = '</script><script>document.title="owned"</script><img src=x onerror="document.title=\'owned\'">\u202e\x1b[31m\u2066'
PAIRS = {
    "duration_s": 1.0,
    "mix": {"per_track": 1},
    "limit": {"per_track": 1},
    "removal": {
        "per_track": 2,
        "effects": ["distortion"],
        "kept": [0, 0],
        "removed": [1, 1],
        "ranges": {"distortion": {"drive_db": 24.0}},
    },
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three songs with nine rendered pairs and more, one with a hostile title, and rows that were refused."""
    folder = tmp_path_factory.mktemp("report")
    for index, place in enumerate(("train/A - One", "train/B - Two", "test/C - Three")):
        song = make_song(index, 3.0)
        for name in ("mixture", *STEM_NAMES):
            write_song_file(folder / "songs" / place / f"{name}.wav", song[name])
    made = Corpus(folder / "corpus")
    made.create(check({"songs": {"folder": str(folder / "songs"), "kind": "musdb18hq"}, "pairs": PAIRS}, where="the test"))
    stages.run_catalog(made, Workers(1))
    stages.run_separate(made)
    stages.run_estimate(made, Workers(1))
    stages.run_plan(made)
    stages.run_render(made, Workers(1))
    tracks = made.rows("tracks", Track)
    tracks[0] = tracks[0].model_copy(update={"title": EVIL, "rights": "CC BY 4.0"})
    table.write(made.table("tracks"), tracks, Track)
    reasons = [("catalog", f"broken {n}.wav", f"empty file ({n} bytes)") for n in range(12)]
    reasons += [("separate", EVIL, "the stems leave -3.2 dB"), ("separate", "Étude.flac", f"not found in {folder / 'songs'}/deep")]
    refused = [seal(Rejected, stage=stage, row_id=subject, subject=subject, reason=reason) for stage, subject, reason in reasons]
    table.write(made.table("rejected"), refused, Rejected)
    estimates = [
        seal(TrackEstimate, cache_key=track.id, track_id=track.id, tempo_bpm=tempo, key=key, key_confidence=0.5)
        for track, tempo, key in zip(tracks, (92.0, None, 121.5), ("A minor", "C major", None), strict=True)
    ]
    table.write(made.table("track_estimates"), estimates, TrackEstimate)
    return made


@pytest.fixture(scope="module")
def html(corpus):
    return report_html(corpus)


@pytest.fixture(scope="module")
def found(corpus):
    return rows.read_rows(corpus)


def new_corpus(folder, **values):
    made = Corpus(folder)
    made.create(check({"songs": {"folder": str(folder.parent / "songs")}, **values}, where="the test"))
    return made


def sounds(html):
    """The signals of every player as the script gets them."""
    text = re.search(r'<script type="application/json" id="players-data">(.*?)</script>', html, re.DOTALL)[1]
    return json.loads(text)


def words(html):
    """What a reader sees of a page, in one line."""
    body = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", body))


def decoded(mp3, folder):
    (folder / "heard.mp3").write_bytes(base64.b64decode(mp3))
    return load(folder / "heard.mp3")[0]


def test_the_same_corpus_gives_the_same_bytes_and_another_seed_other_pairs(corpus, html):
    assert report_html(corpus) == html
    found = rows.read_rows(corpus)
    assert len({tuple(pair.id for pair, _ in players.choose(found, 3, seed)) for seed in range(8)}) > 1


def test_the_page_names_no_folder_of_this_machine_and_makes_no_request(corpus, html):
    assert str(corpus.folder.parent) not in html
    assert "not found in deep" in html
    loaded = re.findall(
        r'(?:src|href|action|data|poster)="([^"#][^"]*)"', html.partition("</head>")[0] + re.sub(r"<[^>]*onerror[^>]*>", "", html)
    )
    assert set(loaded) <= {"data:,"}
    assert "default-src 'none'" in html
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", html)


def test_text_from_tables_is_escaped(html):
    assert EVIL not in html
    assert "&lt;/script&gt;&lt;script&gt;" in html
    assert html.count("<script") == 2  # the data of the players, and the script itself
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", html)
    assert "\\u202e\\x1b[31m\\u2066" in html


def test_the_headline_counts_the_artists_that_the_table_counts(corpus, found, tmp_path):
    unknown = [track.model_copy(update={"artist": None}) for track in found.tracks[:2]] + list(found.tracks[2:])
    table.write(tmp_path / "tracks.parquet", unknown, Track)
    fewer = dataclasses.replace(found, tracks=JoinedRows(TableRows(tmp_path / "tracks.parquet", Track)))
    assert (rows.split_table(fewer)[-1]["artists"], fewer.num_artists) == (1, 1)


def test_splits_add_up_to_all_and_to_the_tables(found):
    *splits, every = rows.split_table(found)
    for column in ("tracks", "stems", "rendered"):
        assert sum(row[column] for row in splits) == every[column]
    assert [sum(counts) for counts in zip(*(row["kinds"] for row in splits), strict=True)] == every["kinds"]
    assert dict(zip(found.kinds, every["kinds"], strict=True)) == {"limit": 3, "mix": 3, "removal": 6}
    assert (every["tracks"], every["stems"], every["rendered"]) == (3, 12, len(found.examples))


def test_the_headline_holds_the_numbers_of_the_tables(html, found):
    said = words(html)
    assert "3 tracks by 3 artists, with the multitrack's own stems. " in said.replace("&#39;", "'")
    assert "12 training pairs planned (3 limit, 3 mix, 6 removal), all rendered to audio." in said
    assert len(found.rejected) == 14
    assert "rejected1412 in catalog, 2 in separate" in said


def test_players_take_the_kinds_in_turn_and_every_track_before_one_twice(found):
    chosen = players.choose(found, 9, 0)
    assert [pair.kind for pair, _ in chosen] == ["removal"] * 3 + ["limit"] * 3 + ["mix"] * 3
    for kind in found.kinds:
        assert len({pair.track_id for pair, _ in chosen if pair.kind == kind}) == 3
    assert players.choose(found, 9, 0) == chosen
    assert len(players.choose(found, 100, 0)) == len(found.examples)


def test_what_is_heard_has_the_length_of_the_pair_and_its_sound(corpus, html, found, tmp_path):
    chosen = players.choose(found, page.PLAYERS, 0)
    for (planned, example), player in zip(chosen, sounds(html), strict=True):
        heard = [each["mp3"] for each in player["signals"] if each["mp3"]]
        written = [file for file in example.signals if file.name != "gain"]
        assert len(heard) == len(written)
        assert player["seconds"] == 1.0
        sound = decoded(heard[0], tmp_path)
        originals = [load(corpus.folder / file.audio.path)[0] for file in written]
        assert sound.shape == originals[0].shape == (2, planned.num_frames)
        assert max(np.corrcoef(sound.ravel(), original.ravel())[0, 1] for original in originals) > 0.95


def test_what_the_dataset_has_lost_is_rendered_again_from_its_rows(corpus, tmp_path):
    shutil.copytree(corpus.folder, tmp_path / "corpus")
    for path in (tmp_path / "corpus" / "dataset").rglob("*.flac"):
        path.unlink()
    again, before = (sounds(each) for each in (report_html(tmp_path / "corpus", num_players=3), report_html(corpus, num_players=3)))
    for one, other in zip(again, before, strict=True):
        for rendered, kept in zip(one["signals"], other["signals"], strict=True):
            if kept["mp3"]:  # not the same bytes: the data set has 24 bits, what is rendered has more
                pair = np.corrcoef(decoded(rendered["mp3"], tmp_path).ravel(), decoded(kept["mp3"], tmp_path).ravel())
                assert pair[0, 1] > 0.999
    shutil.rmtree(tmp_path / "corpus" / "stems")
    assert "It cannot be played: " in report_html(tmp_path / "corpus")


def test_sound_files_in_shards_are_heard_alike(corpus, html, tmp_path):
    shutil.copytree(corpus.folder, tmp_path / "corpus")
    packed = Corpus(tmp_path / "corpus")
    values = packed.config.model_dump(mode="json", exclude_none=True)
    packed.create(check({**values, "dataset": {"format": "webdataset"}}, where="the test"))
    stages.run_render(packed, Workers(1))
    assert not list(packed.dataset.rglob("*.flac"))
    assert sounds(report_html(packed)) == sounds(html)


def test_a_page_without_players_has_no_audio_and_explains_how_to_add_it(corpus):
    silent = report_html(corpus, num_players=0)
    assert sounds(silent) == []
    assert "made without audio" in silent
    assert "contains no audio" in silent
    assert len(silent) < 400_000
    with pytest.raises(ValueError, match="number of players must be 0 or more; got -1"):
        report_html(corpus, num_players=-1)


def test_long_pairs_with_many_signals_are_cut_to_the_bounds(tmp_path):
    audio = {f"drum_{n}": np.full((1, 600_000), 0.3, np.float32) for n in range(20)} | {"mix": np.full((2, 600_000), 0.9, np.float32)}
    ids = dict.fromkeys(audio, "0" * 16)
    planned = pair([signal(name, ids[name]) for name in list(audio)[:-1]], [signal("mix", ids["mix"])], num_frames=600_000)
    player = players.Player(planned, "", "")
    example = seal(Example, cache_key="0" * 16, pair_id=planned.id, gain_db=0.0, signals=())
    cut = {name: each[:, : round(players.SECONDS * 44_100)] for name, each in audio.items()}
    players._fill(player, planned, example, cut)
    assert [each.role for each in player.signals] == ["sum", "target"] + ["input"] * 8
    assert player.signals[0].sums == list(range(2, 10))
    assert player.notes[0] == "9 of its 21 signals are on this page."
    assert "Turned down by 8.6 dB" in player.notes[1]  # eight times 0.3 is 2.4, to be at most -1 dBFS
    assert sum(len(each.mp3) for each in player.signals) < 9 * players.SECONDS * 20_000 * 4 / 3 * 1.05


def test_effects_are_counted_on_the_side_where_they_are_used():
    gain, drive = EffectUse(effect="fader", settings={"gain_db": 3.0}), EffectUse(effect="distortion", settings={"drive_db": 9.0})
    echo, limiter = EffectUse(effect="delay"), EffectUse(effect="limiter")
    wet, dry = signal("wet", "1" * 16, chain=(gain, drive, drive)), signal("dry", "1" * 16, chain=(gain, drive, echo))
    assert [(use.effect, use.role) for use in chain_text.uses(pair([wet], [dry]))] == [
        ("fader", "kept"),
        ("distortion", "removed"),
        ("distortion", "kept"),
        ("delay", "added"),
    ]
    limited = signal("limited", "1" * 16, bus=(gain, limiter))
    before, curve = (limited.model_copy(update={"name": view, "view": view}) for view in ("unlimited", "gain"))
    assert [(use.effect, use.role) for use in chain_text.uses(pair([limited], [before, curve]))] == [
        ("fader", "kept"),
        ("limiter", "removed"),
    ]


def test_settings_are_written_with_units_and_bands_together():
    assert chain_text.written("fader", {"gain_db": -6.25}) == [("gain", "−6.25 dB")]
    band = {"peak1_gain_db": 3.0, "peak1_hz": 1250.0, "peak1_q": 0.5, "peak2_gain_db": 0.0, "peak2_hz": 900.0, "peak2_q": 1.0}
    assert chain_text.written("eq", band) == [("peak 1", "3 dB at 1.25 kHz, q 0.5")]
    assert ("ratio", "∞:1") in chain_text.written("compressor", {"ratio": "inf", "linked": False})
    assert ("linked", "false") in chain_text.written("compressor", {"ratio": "inf", "linked": False})
    assert chain_text.written("from a later version", {"amount": 0.5}) == [("amount", "0.5")]


def test_a_histogram_counts_every_value_once_and_a_bar_is_as_long_as_its_count():
    values = np.random.default_rng(0).uniform(-3, 5, 500).tolist()
    chart = charts.histogram("x", values[:300], charts.around("x (dB)", values), second=values[300:])
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([\d.]+)"', chart)]
    tallest = 84.0 / max(np.histogram(values, bins=charts.BINS, range=(charts.around("", values).low, charts.around("", values).high))[0])
    assert sum(heights) / tallest == pytest.approx(500, rel=0.01)
    first, second = re.findall(r'<rect class="first"[^>]* width="([\d.]+)"', charts.bars("x", [("a", 10, 0), ("b", 5, 5)]))
    assert float(first) == pytest.approx(2 * float(second), abs=0.2)


def test_axes_have_round_ticks_within_their_ends_along_their_scale():
    assert charts.nice_ticks(-13.2, 0.4) == (-10.0, -5.0, 0.0)
    assert charts.log_ticks(20.0, 20_000.0) == (100.0, 1000.0, 10_000.0)
    assert charts.log_ticks(8_000.0, 12_000.0) == (8000.0, 9000.0, 10_000.0, 11_000.0, 12_000.0)
    axis = chain_text.axis_of("eq", "peak1_hz", [80.0, 2000.0])
    assert axis.label == "peak 1 (Hz)"
    assert axis.place(400.0, 0.0, 1.0) == pytest.approx(0.5)  # half of the way from 80 to 2000 Hz
    ratio = chain_text.axis_of("compressor", "ratio", [2.0, 8.0])
    assert ratio.place(2.0, 0.0, 1.0) == pytest.approx(0.5)  # half of what exceeds the threshold is left
    assert charts.fixed(-0.001, 2) == "0.00"
    assert charts.number(-12_500.0) == "−12.5k"


def test_a_report_of_an_empty_corpus_says_what_to_run(tmp_path):
    shown = words(report_html(new_corpus(tmp_path / "empty")))
    for said in (
        "No track has been catalogued yet.",
        "There are no tracks. stemwright catalog SONGS empty finds them.",
        "No pairs yet. stemwright plan empty draws them",
        "Nothing has been measured yet.",
        "Nothing was rejected.",
        "No table has been written yet.",
    ):
        assert said in shown, said
    with pytest.raises(CorpusError, match="is not a corpus"):
        report_html(tmp_path)


def test_a_report_of_a_corpus_that_is_not_rendered_says_so(corpus, tmp_path):
    half = new_corpus(tmp_path / "half")
    for name, record in (("tracks", Track), ("stems", Stem), ("pairs", Pair)):
        table.write(half.table(name), corpus.rows(name, record), record)
    half.journal("examples").touch()
    shown = words(report_html(half))
    assert "12 training pairs planned (3 limit, 3 mix, 6 removal), 0 of them rendered to audio" in shown
    assert "12 pairs are planned and none is rendered yet. stemwright render half makes their audio." in shown
    assert "Not finished: examples." in shown
    assert "not estimated yet" in shown


def test_pairs_that_were_drawn_again_are_counted_once(corpus, tmp_path):
    shutil.copytree(corpus.folder, tmp_path / "corpus")
    copy = Corpus(tmp_path / "corpus")
    first = copy.rows("pairs", Pair)[0]
    again = first.model_copy(update={"id": content_id("again"), "redraw_of": first.id})
    reason = f"wet and dry sound alike; replaced by {again.id}"
    refused = seal(Rejected, stage="render", row_id=first.id, subject="a pair", reason=reason, replaced_by=again.id)
    table.write(copy.table("redraws"), [again], Pair)
    table.write(copy.table("rejected"), [refused], Rejected)
    found = rows.read_rows(copy)
    assert len(found.pairs) == 12
    assert again in found.pairs
    assert (found.num_redrawn, len(found.rejected)) == (1, 0)
    assert "nothing was rejected; 1 drawn again" in report_html(copy, num_players=0)


def test_the_command_writes_to_the_given_path(corpus, tmp_path, capsys):
    path = tmp_path / "deep" / "page.html"
    with pytest.raises(typer.Exit) as left:
        report(corpus.folder, path, players=2, seed=0, as_json=True)
    said = json.loads(capsys.readouterr().out)["report"]
    assert left.value.exit_code == 0
    assert (said["players"], said["bytes"], said["notes"]) == (2, path.stat().st_size, [])
    assert said["audio_seconds"] == sum(sum(bool(s["mp3"]) for s in p["signals"]) for p in sounds(path.read_text(encoding="utf-8")))
    with pytest.raises(CorpusError, match=r"is a folder; expected the HTML file to write, such as .*report.html"):
        report(corpus.folder, tmp_path)


# In a real browser.


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium): the page is not tried in a browser")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def opened(browser, html, tmp_path_factory):
    """The page in a browser, with its log and its requests."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    shown = context.new_page()
    shown.said, shown.asked = [], []
    shown.on("console", lambda message: shown.said.append(message.text))
    shown.on("pageerror", lambda error: shown.said.append(str(error)))
    shown.on("request", lambda request: shown.asked.append(request.url))
    shown.goto(path.as_uri())
    yield shown
    context.close()


CLOCKS = "[stemwright.players[0].position(), stemwright.analyser().context.currentTime]"  # in s: of the player, of the sound

HEARD = """(number) => {
    // Where in the chosen signal the sound that is heard now comes from: the lag against the position that the player says, in ms, and
    // how alike they are.
    const player = stemwright.players[number], length = 4096, out = new Float32Array(8192);
    const chosen = player.signals[player.selected];
    let position = 0;
    for (let tries = 0; tries < 500; tries += 1) {  // until no other program ran between the clock and the sound
        const before = player.position();
        stemwright.analyser().getFloatTimeDomainData(out);
        position = player.position();
        if (before <= position && position < before + 0.005) break;
    }
    const rate = player.buffers.find(Boolean).sampleRate, frames = Math.round(player.seconds * rate), lead = Math.round(player.lead * rate);
    const mono = new Float32Array(frames);
    for (const index of chosen.sums.length ? chosen.sums : [player.selected]) {
        const buffer = player.buffers[index];
        for (let c = 0; c < 2; c += 1) {
            const data = buffer.getChannelData(Math.min(c, buffer.numberOfChannels - 1));
            for (let i = 0; i < frames; i += 1) mono[i] += data[lead + i] / 2;
        }
    }
    const now = Math.round(position * rate), heard = out.slice(8192 - length), reach = Math.round(0.25 * rate);
    let best = [-2, 0];
    for (let lag = -reach; lag <= reach; lag += 1) {
        let xy = 0, xx = 1e-9, yy = 1e-9;
        for (let i = 0; i < length; i += 2) {
            const x = heard[i], y = mono[(((now - length + i + lag) % frames) + frames) % frames];
            xy += x * y; xx += x * x; yy += y * y;
        }
        const alike = xy / Math.sqrt(xx * yy);
        if (alike > best[0]) best = [alike, (1000 * lag) / rate];
    }
    return {alike: best[0], lag_ms: best[1], position, level: stemwright.level()};
}"""


def state(shown, number=0):
    script = "n => ({at: stemwright.players[n].position(), playing: stemwright.players[n].playing, chosen: stemwright.players[n].selected})"
    return shown.evaluate(script, number)


def wait(shown, condition):
    """Until a condition holds. By polling: the page's policy forbids evaluating a text inside it, playwright's own waiting included."""
    for _ in range(2400):
        if shown.evaluate(condition):
            return
        shown.wait_for_timeout(25)
    raise AssertionError(f"never true: {condition}")


def test_it_plays_and_switches_at_the_same_sample(opened):
    player = opened.locator(".player").first
    assert player.locator("h3").inner_text().startswith("removal")
    player.get_by_role("button", name="Play").click()
    wait(opened, "stemwright.players[0].playing && stemwright.players[0].position() > 0.3")
    wet = opened.evaluate(HEARD, 0)
    before = opened.evaluate(CLOCKS)
    player.get_by_role("radio", name="dry").check()
    after = opened.evaluate(CLOCKS)
    assert state(opened)["chosen"] == 1
    jumped_s = (after[0] - before[0]) - (after[1] - before[1])
    assert abs(jumped_s - round(jumped_s)) < 0.05  # the signal of a second is repeated
    wait(opened, f"({CLOCKS})[1] > {after[1]} + 0.3")  # until the analyser has heard dry alone
    dry = opened.evaluate(HEARD, 0)
    for heard in (wet, dry):
        assert heard["alike"] > 0.95, heard
        assert abs(heard["lag_ms"]) < 250, heard  # a busy machine begins late
    assert abs(wet["lag_ms"] - dry["lag_ms"]) < 30
    assert wet["level"] - dry["level"] > 3  # the distortion drives by 24 dB
    player.get_by_role("button", name="Pause").click()
    assert not state(opened)["playing"]
    rest = state(opened)["at"]
    opened.wait_for_timeout(100)
    assert state(opened)["at"] == rest


def test_equal_loudness_scales_wet_to_the_loudness_of_dry(opened):
    player = opened.locator(".player").first
    player.get_by_role("radio", name="wet").check()
    player.get_by_label("equal loudness").check()
    matched = opened.evaluate("stemwright.players[0].signals.map((signal) => signal.match)")
    assert matched[1] == 1.0
    assert matched[0] < 0.7
    player.get_by_role("button", name="Play").click()
    wait(opened, f"Math.abs(stemwright.players[0].gains[0].gain.value - {matched[0]}) < 1e-3")
    player.get_by_role("button", name="Pause").click()
    player.get_by_label("equal loudness").uncheck()


def test_one_player_stops_another_and_all_inputs_sound_together(opened):
    number = opened.evaluate("stemwright.players.findIndex((player) => player.signals.some((signal) => signal.sums.length))")
    player = opened.locator(".player").nth(number)
    opened.locator(".player").first.get_by_role("button", name="Play").click()
    wait(opened, "stemwright.players[0].playing")
    player.get_by_role("button", name="Play").click()
    wait(opened, f"stemwright.players[{number}].position() > 0.3")
    assert not state(opened)["playing"]
    assert player.get_by_role("radio", name="all inputs").is_checked()
    heard = opened.evaluate(HEARD, number)
    assert heard["alike"] > 0.95
    assert abs(heard["lag_ms"]) < 250
    player.get_by_role("button", name="Pause").click()


def test_the_keyboard_plays_chooses_and_a_click_in_a_waveform_seeks(opened):
    player = opened.locator(".player").nth(1)
    player.get_by_role("radio").first.focus()
    opened.keyboard.press("Space")
    wait(opened, "stemwright.players[1].playing")
    opened.keyboard.press("2")
    assert state(opened, 1)["chosen"] == 1
    opened.keyboard.press("ArrowUp")
    assert state(opened, 1)["chosen"] == 0
    opened.keyboard.press("Space")
    assert not state(opened, 1)["playing"]
    wave = player.locator(".wave").nth(1)
    box = wave.bounding_box()
    wave.click(position={"x": box["width"] * 0.75, "y": 10})
    assert state(opened, 1) == {"at": pytest.approx(0.75, abs=0.02), "playing": False, "chosen": 1}
    slider = player.get_by_role("slider")
    slider.focus()
    opened.keyboard.press("Home")
    assert state(opened, 1)["at"] == 0
    assert slider.get_attribute("aria-valuetext") == "0.0 of 1.0 seconds"


def test_without_repeat_it_ends_at_the_end(opened):
    player = opened.locator(".player").nth(2)
    player.get_by_label("repeat").uncheck()
    opened.evaluate("stemwright.players[2].seek(0.8)")
    player.get_by_role("button", name="Play").click()
    wait(opened, "stemwright.players[2].playing")
    wait(opened, "!stemwright.players[2].playing")
    assert state(opened, 2)["at"] == 0
    assert player.locator(".play-text").inner_text() == "Play"


def test_tables_sort_by_number_and_text_and_filter(opened):
    what = "[...document.querySelectorAll('#rejected-table tbody tr')].filter((row) => !row.hidden).map((row) => row.cells[1].textContent)"
    header = opened.locator("#rejected-table th").nth(1)
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    rising = opened.evaluate(what)
    assert rising[-2:] == ["broken 11.wav", "Étude.flac"]
    assert rising.index("broken 2.wav") < rising.index("broken 10.wav")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert opened.evaluate(what) == rising[::-1]
    opened.get_by_placeholder("path, title or reason").fill("broken 1")
    assert opened.evaluate(what) == ["broken 11.wav", "broken 10.wav", "broken 1.wav"]
    assert opened.locator("[data-counts=rejected-table]").inner_text() == "3 of 14 rows"
    opened.get_by_placeholder("path, title or reason").fill("")
    opened.get_by_label("Stage").select_option("separate")
    assert len(opened.evaluate(what)) == 2
    levels = "[...document.querySelectorAll('#tracks-table tbody tr')].map((row) => Number(row.cells[4].dataset.value))"
    opened.locator("#tracks-table th").nth(4).get_by_role("button").click()
    assert opened.evaluate(levels) == sorted(opened.evaluate(levels))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_nothing_is_wider_than_the_window_and_text_contrasts_with_its_background(opened, width, scheme):
    opened.set_viewport_size({"width": width, "height": 844})
    opened.emulate_media(color_scheme=scheme)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    contrast = """(selector) => {
        const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4), weights = [0.2126, 0.7152, 0.0722];
        const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).reduce((sum, v, i) => sum + linear(v / 255) * weights[i], 0);
        const style = getComputedStyle(document.querySelector(selector)), ground = getComputedStyle(document.body).backgroundColor;
        const [a, b] = [light(selector.includes("chart") ? style.fill : style.color), light(ground)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    }"""
    for selector in ("p", ".muted", ".badge.removed", ".chart text.muted", ".player .name", "nav a"):
        assert opened.evaluate(contrast, selector) >= 4.5, selector  # WCAG 2.2, 1.4.3


def test_the_page_makes_no_request_logs_no_error_and_runs_no_title_as_code(opened):
    assert opened.title() == "corpus: corpus report"
    assert opened.said == []
    assert [address for address in opened.asked if not address.startswith(("file:", "data:"))] == []
    assert len(opened.asked) <= 2
