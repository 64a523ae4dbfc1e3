import numpy as np
from test_render import pair, signal

from stemwright.manifests.pair_records import Pair
from stemwright.manifests.spooled_rows import SpooledRows


def test_rows_are_as_they_were_added_in_any_order_and_leave_nothing(tmp_path):
    pairs = [pair([signal("drums", "0" * 16)], [signal("mixture", "0" * 16)], start_frame=number) for number in range(50)]
    with SpooledRows(tmp_path, Pair, pairs[:20]) as rows:
        assert list(rows) == pairs[:20]
        rows.extend(iter(pairs[20:]))
        order = np.random.default_rng(0).permutation(50).tolist()
        assert list(rows.take(order)) == [pairs[number] for number in order]
        assert (len(rows), rows[3], rows[-1], rows[7:9]) == (50, pairs[3], pairs[-1], pairs[7:9])
        assert list(tmp_path.iterdir()) == []
