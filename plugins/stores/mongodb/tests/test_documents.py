"""What is checked of documents before they are sent."""

from __future__ import annotations

import pytest
from aats_store_mongodb.queries import complete

from aats_core.errors import InvalidDocument


@pytest.mark.parametrize("document", [[{"_id": 1}], ["_id"], "text", 1, None])
def test_what_is_no_document_is_refused(document):
    with pytest.raises(InvalidDocument, match=r"a document is a mapping, .*; pass documents one by one"):
        complete(document)


def test_a_document_without_an_id_gets_one_in_front():
    assert list(complete({"a": 1})) == ["_id", "a"]
    assert complete({"a": 1, "_id": 2}) == {"a": 1, "_id": 2}
