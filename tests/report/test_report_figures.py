"""The report's figures are counted column by column: they are those that are counted pair by pair, and no record is made for them."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from made_corpus import RIGHTS, made_corpus

from stemwright.datagen.report import chain_text, players, report_html, rows
from stemwright.datagen.report.effect_spreads import EffectSpreads
from stemwright.datagen.report.spooled import BLOCK, Spool
from stemwright.manifests import table_rows
from stemwright.manifests.table_rows import TableRows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return made_corpus(tmp_path_factory.mktemp("figures") / "corpus")


@pytest.fixture
def found(corpus, monkeypatch):
    monkeypatch.setattr(table_rows, "BATCH_ROWS", 20)
    return rows.read_rows(corpus)


@pytest.fixture
def made(monkeypatch):
    """How many records of each type were made."""
    counts = Counter()
    records = TableRows.records

    def counted(self, batch, start):
        counts[self.record_type.__name__] += batch.num_rows
        return records(self, batch, start)

    monkeypatch.setattr(TableRows, "records", counted)
    return counts


def test_uses_of_effects_are_those_that_are_counted_pair_by_pair(found):
    counts, values = defaultdict(Counter), defaultdict(list)
    for pair in found.pairs:
        for use in chain_text.uses(pair):
            counts[pair.kind, use.effect][use.role] += 1
            for name, value in use.settings.items():
                values[use.effect, name].append((value, use.role == "removed"))
    with Spool() as spool:
        spreads = EffectSpreads(found.pairs, spool)
        assert {(kind, each.name): each.counts for kind in found.kinds for each in spreads.of_kind(kind)} == counts
        assert len(counts) > 12
        for (effect, name), expected in values.items():
            setting = spreads.values(effect, name)
            numbers = [(value, is_removed) for value, is_removed in expected if isinstance(value, float)]
            for is_removed, got in ((True, setting.removed), (False, setting.others)):
                assert sorted(got.tolist()) == sorted(value for value, removed in numbers if removed == is_removed)
            assert setting.texts == Counter((str(value).lower(), removed) for value, removed in expected if not isinstance(value, float))
            distinct = {value for value, _ in expected}
            assert (setting.only is not None) == (len(distinct) == 1)


def test_splits_rights_and_tracks_are_those_that_are_counted_pair_by_pair(found):
    rendered = {example.pair_id for example in found.examples}
    planned, done = Counter(), Counter()
    of_track = {track.id: track.rights for track in found.tracks}
    for pair in found.pairs:
        groups = {of_track[track] for track in found.tracks_of(pair)}
        planned.update(groups)
        done.update(groups if pair.id in rendered else ())
    assert {row["rights"]: (row["pairs"], row["rendered"]) for row in rows.rights_table(found, {})} == {
        rights: (planned[rights], done[rights]) for rights in RIGHTS
    }
    assert sum(planned.values()) > len(found.pairs) > 250  # pairs of several songs have several
    *_, every = rows.split_table(found)
    kinds = Counter(pair.kind for pair in found.pairs)
    assert dict(zip(found.kinds, every["kinds"], strict=True)) == kinds
    assert every["rendered"] == len(rendered) == found.counts.total(rendered=True)
    assert found.counts.of_track == Counter(pair.track_id for pair in found.pairs)


def test_players_are_chosen_as_if_all_pairs_were_sorted(found):
    """The n-th pair of a track is after the first n - 1 of all tracks, in the order of one permutation of each kind."""
    examples = {example.pair_id: example for example in found.examples}
    rng, expected = np.random.default_rng(4), {}
    for kind in sorted(found.kinds, key=lambda kind: (kind != "removal", kind)):
        of_kind = sorted((pair for pair in found.pairs if pair.kind == kind and pair.id in examples), key=lambda pair: pair.id)
        seen, order = Counter(), []
        for index in rng.permutation(len(of_kind)):
            order.append((seen[of_kind[index].track_id], len(order), of_kind[index]))
            seen[of_kind[index].track_id] += 1
        expected[kind] = [pair for *_, pair in sorted(order, key=lambda each: each[:2])]
    chosen = players.choose(found, 60, 4)
    assert all(example == examples[pair.id] for pair, example in chosen)
    assert {kind: [pair for pair, _ in chosen if pair.kind == kind] for kind in expected} == {
        kind: pairs[:12] for kind, pairs in expected.items()
    }


def test_a_page_makes_records_of_the_pairs_that_it_plays_alone(corpus, made, tmp_path):
    report_html(corpus, num_players=0)
    assert made["Pair"] == made["Example"] == made["Estimate"] == 0
    report_html(corpus, num_players=3)
    assert (made["Pair"], made["Example"]) == (3, 3)
    assert not list(corpus.folder.glob(".*.arrow"))


def test_a_spool_keeps_every_series_in_its_order_and_few_numbers_in_memory():
    rng = np.random.default_rng(0)
    series = {("a", number): rng.normal(size=int(size)) for number, size in enumerate((3, BLOCK, 5 * BLOCK + 7))}
    with Spool() as spool:
        for start in range(0, 5 * BLOCK + 7, 100):
            for name, values in series.items():
                if start < len(values):
                    spool.add(name, values[start : start + 100])
        for name, values in series.items():
            assert spool.values(name).tolist() == values.tolist()
        assert len(spool.values(("other",))) == 0
        assert sum(len(left) for left in spool._left.values()) < 3 * BLOCK
