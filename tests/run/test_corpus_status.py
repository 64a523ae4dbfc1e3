"""What status counts of a corpus: ids as numbers, in its tables and in the journals of its shares."""

from made_corpus import made_corpus

from stemwright.datagen.run.corpus_status import status_of
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Rejected, Track, seal
from stemwright.manifests.table_rows import TableRows


def test_status_counts_tables_and_journals_alike_without_a_record_of_a_pair(tmp_path, monkeypatch):
    corpus = made_corpus(tmp_path / "corpus")
    pairs, examples = corpus.rows("pairs", Pair), corpus.rows("examples", Example)
    half = len(examples) // 2
    table.write(corpus.table("examples"), examples[:half], Example)
    facts = {"stage": "render", "subject": "a pair", "reason": "alike"}
    unrendered = sorted({pair.id for pair in pairs} - {example.pair_id for example in examples})
    with table.Journal(corpus.journal("examples"), Example, "0of2") as journal:
        for example in examples[half - 3 :]:  # three are in the table as well
            journal.append(example.cache_key, [example])
    with table.Journal(corpus.journal("rejected"), Rejected, "0of2") as journal:
        for row_id in (*unrendered[:5], examples[0].pair_id, "songs/no id.wav"):
            journal.append(row_id, [seal(Rejected, row_id=row_id, **facts)])
    made = []
    records = TableRows.records
    monkeypatch.setattr(TableRows, "records", lambda self, *rest: made.append(self.record_type) or records(self, *rest))
    separate, _, render = status_of(corpus)
    assert not {Pair, Example, Track} & {*made}
    planned = {pair.id for pair in pairs}
    assert (separate.done, separate.of, separate.rejected, separate.finished) == (9, 9, 0, True)
    assert (render.done, render.of) == (len({example.pair_id for example in examples} & planned), len(planned))
    assert not render.finished
    earlier = {row.row_id for row in corpus.rejected() if row.replaced_by is None}
    assert render.rejected == len(({*unrendered[:5]} | earlier) - {example.pair_id for example in examples})
