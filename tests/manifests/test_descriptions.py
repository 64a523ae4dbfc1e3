"""Every column of every table says what it holds, where it is declared."""

import pytest

from stemwright.manifests import dataset_rows, feature_rows, records


def record_types(base=records.Record):
    for each in base.__subclasses__():
        if each.__module__ in (records.__name__, feature_rows.__name__, dataset_rows.__name__):
            yield each
        yield from record_types(each)


@pytest.mark.parametrize("record_type", sorted(set(record_types()), key=lambda each: each.__name__), ids=lambda each: each.__name__)
def test_every_column_has_a_description(record_type):
    assert record_type.__doc__
    silent = [name for name, field in record_type.model_fields.items() if name != "id" and not field.description]
    assert silent == []
