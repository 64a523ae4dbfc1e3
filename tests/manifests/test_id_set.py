from hypothesis import given
from hypothesis import strategies as st

from stemwright.manifests import id_set
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.records import content_id

TEXTS = st.sets(st.integers(0, 2**64 - 1).map("{:016x}".format) | st.text(max_size=20) | st.sampled_from(["A" * 16, "0" * 15, "0" * 17]))


@given(TEXTS, TEXTS)
def test_ids_are_a_set_of_their_texts(some, others):
    found, more = IdSet(some), IdSet(others)
    assert (set(found), len(found)) == (some, len(some))
    assert (set(found | more), set(found & more), set(found - more)) == (some | others, some & others, some - others)
    assert all(text in found for text in some)
    assert not any(text in found for text in others - some)
    for text in others:
        found.discard(text)
    assert found == some - others


def test_an_id_takes_eight_bytes(monkeypatch):
    monkeypatch.setattr(id_set, "MERGED", 10)
    found = IdSet(content_id(number) for number in range(995))
    kept = vars(found)
    assert (kept["_ids"].nbytes, len(kept["_recent"]), len(kept["_others"])) == (990 * 8, 5, 0)
