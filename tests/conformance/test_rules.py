"""What breaks the service's rules is refused with the service's words, and nothing of it is kept.

The SDK checks some rules itself. Where it does, the record goes past those checks to the transport of
the SDK (`_channel`), so that it is the server that answers.
"""

from __future__ import annotations

import pytest
from pinecone.errors.exceptions import ApiError, PineconeError, PineconeTypeError, PineconeValueError
from records import listed
from vecload import Server

GOOD = {"id": "good", "values": [1.0, 2.0, 3.0]}

REFUSED = {
    "dimension": (
        {"id": "a", "values": [1.0, 2.0]},
        "Vector dimension 2 does not match the dimension of the index 3",
    ),
    "no-values": (
        {"id": "a", "values": [], "sparse_values": {"indices": [1], "values": [1.0]}},
        "Vector dimension 0 does not match the dimension of the index 3",
    ),
    "zeros": (
        {"id": "a", "values": [0.0, 0.0, 9e-9]},
        "Dense vectors must contain at least one non-zero value. Vector ID 'a' contains only zeros",
    ),
    # The map's entry is 41,015 bytes on the wire: tags, lengths, the name and the text.
    "metadata-size": (
        {"id": "a", "values": [1.0, 2.0, 3.0], "metadata": {"x": "y" * 41_000}},
        "Metadata size is 41015 bytes, which exceeds the limit of 40960 bytes per vector",
    ),
    "metadata-name": (
        {"id": "a", "values": [1.0, 2.0, 3.0], "metadata": {"$x": 1}},
        "Metadata field '$x' cannot start with '$'",
    ),
    "metadata-map": (
        {"id": "a", "values": [1.0, 2.0, 3.0], "metadata": {"price": {"usd": 10}}},
        "Metadata value must be a string, number, boolean or list of strings, "
        "got '{\"usd\":10.0}' for field 'price'",
    ),
    "metadata-list": (
        {"id": "a", "values": [1.0, 2.0, 3.0], "metadata": {"sizes": [1, 2]}},
        "Metadata value must be a string, number, boolean or list of strings, "
        "got '[1.0,2.0]' for field 'sizes'",
    ),
    "id-null": (
        {"id": "a\0b", "values": [1.0, 2.0, 3.0]},
        "Vector ID must not contain null character",
    ),
    "id-not-ascii": (
        {"id": "café", "values": [1.0, 2.0, 3.0]},
        "Vector ID must be ASCII, but got 'café'",
    ),
    "id-empty": (
        {"id": "", "values": [1.0, 2.0, 3.0]},
        "Vector ID must not be empty",
    ),
    "id-length": (
        {"id": "x" * 513, "values": [1.0, 2.0, 3.0]},
        "Vector ID length is 513, which exceeds the limit of 512 characters",
    ),
    "sparse-empty": (
        GOOD | {"sparse_values": {"indices": [], "values": []}},
        "Sparse vector must contain at least one value",
    ),
    "not-a-number": (
        {"id": "a", "values": [1.0, float("nan"), 3.0]},
        "Dense vectors must contain only finite values. Vector ID 'a' contains a value that is not finite",
    ),
}


def refusal(action) -> str:
    """The message of the INVALID_ARGUMENT with which the service answers."""
    with pytest.raises(ApiError) as caught:
        action()
    assert caught.value.status_code == 400
    assert "INVALID_ARGUMENT" in str(caught.value)
    return caught.value.message


@pytest.mark.parametrize("rule", REFUSED)
def test_a_bad_record_is_refused_with_its_batch(server: Server, rule: str) -> None:
    """Scenario: one record breaks a rule between two good ones, and passes the SDK unchecked.
    Guarantees: the service's code and words come back, and no record of the request is kept.
    """
    record, words = REFUSED[rule]
    server.index.upsert(vectors=[GOOD])
    batch = [GOOD | {"id": "before"}, record, GOOD | {"id": "after"}]
    assert refusal(lambda: server.index._channel.upsert(batch, None, timeout_s=None)) == words
    assert listed(server.index) == ["good"]


@pytest.mark.parametrize(
    "rule", ["dimension", "zeros", "metadata-size", "metadata-name", "id-empty", "id-length"]
)
def test_a_user_sees_the_words_of_the_service(server: Server, rule: str) -> None:
    """Scenario: the same records go through the SDK's public upsert, where it leaves a rule to the service.
    Guarantees: the user is told the same.
    """
    record, words = REFUSED[rule]
    server.index.upsert(vectors=[GOOD])
    assert refusal(lambda: server.index.upsert(vectors=[record])) == words


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        ("id-null", PineconeValueError, "null character"),
        ("id-not-ascii", PineconeValueError, "ASCII"),
        ("metadata-map", PineconeTypeError, REFUSED["metadata-map"][1]),
        ("metadata-list", PineconeTypeError, REFUSED["metadata-list"][1]),
    ],
)
def test_what_the_sdk_refuses_the_service_refuses(
    server: Server, rule: str, error: type[PineconeError], words: str
) -> None:
    """Scenario: records that the SDK's own checks refuse go through its public upsert.
    Guarantees: SDK and local index agree on them (the test above has the index's answer).
    """
    with pytest.raises(error) as caught:
        server.index.upsert(vectors=[REFUSED[rule][0]])
    assert words in str(caught.value)


def test_limits_of_a_request(server: Server) -> None:
    """Scenario: upserts of 1,001 records, of 2.4 MB and of 5.4 MB.
    Guarantees: each is refused with the service's words and nothing is kept; 1,000 records are taken.
    """
    many = [GOOD | {"id": str(row)} for row in range(1_001)]
    assert refusal(lambda: server.index.upsert(vectors=many)) == (
        "Request contains 1001 vectors, which exceeds the maximum of 1000 vectors per upsert"
    )
    large = [GOOD | {"id": str(row), "metadata": {"x": "y" * 30_000}} for row in range(180)]
    assert refusal(lambda: server.index.upsert(vectors=large[:80])) == (
        "Request size 3MB exceeds the maximum supported size of 2MB"
    )
    with pytest.raises(PineconeError, match="decoded message length too large: found 5"):
        server.index.upsert(vectors=large)
    assert listed(server.index) == []
    assert server.index.upsert(vectors=many[:1_000]).upserted_count == 1_000


def test_metadata_of_exactly_the_limit_is_taken(server: Server) -> None:
    """Scenario: metadata of 40,960 bytes on the wire, then of one byte more.
    Guarantees: the limit itself is allowed, the next byte is not.
    """
    overhead = 41_015 - 41_000
    full = GOOD | {"metadata": {"x": "y" * (40_960 - overhead)}}
    assert server.index.upsert(vectors=[full]).upserted_count == 1
    over = GOOD | {"metadata": {"x": "y" * (40_961 - overhead)}}
    assert refusal(lambda: server.index.upsert(vectors=[over])) == (
        "Metadata size is 40961 bytes, which exceeds the limit of 40960 bytes per vector"
    )


def test_queries_that_cannot_be_answered(server: Server) -> None:
    """Scenario: queries with a vector of the wrong dimension, and of a namespace that is not there.
    Guarantees: the first is refused with the service's words, the second finds nothing.
    """
    server.index.upsert(vectors=[GOOD])
    assert refusal(lambda: server.index.query(vector=[1.0], top_k=1)) == (
        "Vector dimension 1 does not match the dimension of the index 3"
    )
    assert server.index.query(vector=[1.0, 1.0, 1.0], top_k=1, namespace="nowhere").matches == []
