"""What breaks the service's rules is refused with the service's words, and nothing of it is kept.

The SDK checks some rules itself. Where it does, the record goes past those checks to the transport of
the SDK (`_channel`), so that it is the server that answers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pinecone import RetryConfig, ServerlessSpec
from pinecone.errors.exceptions import ApiError, PineconeError, PineconeTypeError, PineconeValueError
from records import listed
from sdk import connect
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


SPEC = ServerlessSpec(cloud="aws", region="us-east-1")


def test_what_an_index_is_not_for(server: Server) -> None:
    """Scenario: sparse values go to a cosine index, dense ones to a sparse index, which is also asked without a vector.
    Guarantees: the service's words, over gRPC and over REST.
    """
    pc = server.control()
    cosine = pc.create_index(name="cosine", dimension=3, metric="cosine", spec=SPEC)
    sparse = pc.create_index(name="sparse", metric="dotproduct", vector_type="sparse", spec=SPEC)
    hybrid = GOOD | {"sparse_values": {"indices": [1], "values": [1.0]}}
    no_sparse = (
        "Index configuration does not support sparse values - only indexes that are sparse or "
        "using dotproduct are supported"
    )
    no_dense = "Index configuration does not support dense values"
    for made, record, words in [(cosine, hybrid, no_sparse), (sparse, GOOD, no_dense)]:
        with connect(made.host, "local") as grpc:
            assert refusal(lambda: grpc.upsert(vectors=[record])) == words
        rest = pc.index(host=made.host)
        assert rest_refusal(lambda: rest.upsert(vectors=[record])) == words
    with connect(sparse.host, "local") as grpc:
        assert refusal(lambda: grpc._channel.query(1, timeout_s=None)) == (
            "Either 'sparse_vector' or 'ID' must be provided"
        )


def test_filters_and_questions_that_say_nothing(server: Server) -> None:
    """Scenario: empty filters, stats with a filter, and a question with both an id and a vector, past the SDK's own checks.
    Guarantees: the service's words for each.
    """
    server.index.upsert(vectors=[GOOD])
    channel = server.index._channel
    for action, words in [
        (lambda: channel.delete(filter={}, timeout_s=None), "Delete with empty metadata filter is not allowed"),
        (
            lambda: channel.update("", filter={}, set_metadata={"x": 1}, timeout_s=None),
            "Update with empty metadata filter is not allowed",
        ),
        (
            lambda: channel.fetch_by_metadata(filter={}, timeout_s=None),
            "Empty filter provided for fetch by metadata request",
        ),
        (
            lambda: server.index.describe_index_stats(filter={"x": 1}),
            "Serverless and Starter indexes do not support describing index stats with metadata filtering",
        ),
        (lambda: channel.upsert([], None, timeout_s=None), "Invalid request: vectors must not be empty"),
    ]:
        assert refusal(action) == words
    # Over REST, since the SDK's gRPC transport checks this one itself.
    rest = server.control().index(host=f"http://{server.host}")
    question = {"id": "good", "vector": [1.0, 1.0, 1.0], "topK": 1}
    assert rest_refusal(lambda: rest._http.post("/query", json=question)) == (
        "Cannot provide both 'ID' and 'vector' at the same time"
    )
    assert listed(server.index) == ["good"]


@pytest.mark.parametrize("rule", [rule for rule in REFUSED if rule != "not-a-number"])
def test_rest_refuses_with_the_same_words(server: Server, rule: str) -> None:
    """Scenario: the same bad records go over REST, past the SDK's own checks, between two good ones.
    Guarantees: 400 with the same words, in the shape of the data plane (gRPC's code, no details), and nothing is kept.
    """
    record, words = REFUSED[rule]
    rest = server.control().index(host=f"http://{server.host}")
    rest.upsert(vectors=[GOOD])
    as_json = {("sparseValues" if name == "sparse_values" else name): value for name, value in record.items()}
    batch = [GOOD | {"id": "before"}, as_json, GOOD | {"id": "after"}]
    with pytest.raises(ApiError) as caught:
        rest._http.post("/vectors/upsert", json={"vectors": batch})
    assert caught.value.status_code == 400
    assert caught.value.body == {"code": 3, "message": words, "details": []}
    assert listed(server.index) == ["good"]


@pytest.mark.parametrize("mode", ["quota", "qps", "alias", "namespaces"])
def test_what_a_project_is_not_allowed(tmp_path: Path, mode: str) -> None:
    """Scenario: the server has a quota, a limit of requests, an alias, or as many namespaces as allowed; the SDK writes.
    Guarantees: the service's status and words, over REST.
    """
    scenario, status, words = {
        "quota": ("bytes_per_second = [[0, 1.0]]", 429, "You've reached the max upsert size limit per second"),
        "qps": ("requests_per_second = 0.001", 429, "You've reached the upsert QPS limit for namespace busy"),
        "alias": ('namespaces.busy.refuse = "alias"', 400, "WRITE_TO_ALIAS"),
        "namespaces": ('namespaces.busy.refuse = "namespace_limit"', 403, "You've reached the max namespaces allowed"),
    }[mode]
    file = tmp_path / "scenario.toml"
    file.write_text(f"[server]\n{scenario}\n", encoding="utf-8")
    with Server(tmp_path / "index", scenario=file) as server:
        pc = server.control(retry_config=RetryConfig(max_retries=0))
        rest = pc.index(host=f"http://{server.host}")
        with pytest.raises(ApiError, match=words) as caught:
            for row in range(3):
                rest.upsert(vectors=[GOOD | {"id": f"r{row}"}], namespace="busy")
        assert caught.value.status_code == status


def rest_refusal(action) -> str:
    """The message of the 400 with which the service answers REST."""
    with pytest.raises(ApiError) as caught:
        action()
    assert caught.value.status_code == 400
    return caught.value.message
