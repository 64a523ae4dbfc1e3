"""Rules of mixing in the report: what the table of estimates tells of them."""

import re

import numpy as np
import pytest
from made_corpus import made_corpus

from stemwright.datagen.report.page import report_html
from stemwright.datagen.report.page_rules import section
from stemwright.datagen.report.rows import read_rows
from stemwright.manifests.records import Estimate
from stemwright.separation.rules.published import RULES


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return made_corpus(tmp_path_factory.mktemp("made") / "corpus")


def test_shares_are_those_of_the_estimates(corpus):
    found = {row["statement"]: row for row in section(read_rows(corpus))}
    estimates = [row for row in corpus.rows("estimates", Estimate) if row.name == "vocals" and row.level_lu is not None]
    row, rule = found[RULES["vocal_3_lu"].statement], RULES["vocal_3_lu"]
    levels = np.array([each.level_lu for each in estimates])
    share = 100 * np.mean((levels >= rule.low) & (levels <= rule.high))
    assert int(row["songs"]) == len(levels)
    assert float(re.match(r"(\d+) %", row["kept"])[1]) == pytest.approx(share, abs=0.5)
    assert float(row["median"].split()[0]) == pytest.approx(np.median(levels), abs=0.051)


def test_rules_that_need_audio_or_other_stems_are_not_in_it(corpus):
    statements = {row["statement"] for row in section(read_rows(corpus))}
    assert RULES["slope_5_db"].statement not in statements
    assert RULES["kick_13_lu"].statement not in statements


def test_the_page_has_the_section_and_names_the_verb(corpus):
    html = report_html(corpus, num_players=0)
    assert "Published rules of mixing" in html
    assert "stemwright rules corpus" in html
    (corpus.folder / "estimates.parquet").unlink()
    assert "Published rules of mixing" not in report_html(corpus, num_players=0)
