"""What the older official SDK writes it reads back."""

from __future__ import annotations

import pytest
from pinecone.exceptions import PineconeException
from records import fetch, listed, of_json
from samples import DENSE, HYBRID, SPARSE
from sdk import handed
from vecload import Server


@pytest.mark.parametrize("namespace", ["", "some namespace"], ids=["default", "named"])
def test_dense_records_come_back(server: Server, namespace: str) -> None:
    """Scenario: the SDK upserts records with every type of metadata, fetches, lists and counts them.
    Guarantees: bits of the floats, types and values of the metadata, ids and count are what was written.
    """
    answer = server.index.upsert(vectors=handed(DENSE), namespace=namespace)
    assert answer.upserted_count == len(DENSE)
    expected = {record["id"]: of_json(record) for record in DENSE}
    assert fetch(server.index, list(expected), namespace) == expected
    assert listed(server.index, namespace) == sorted(expected)
    assert server.index.describe_index_stats().total_vector_count == len(DENSE)


def test_sparse_beside_dense_comes_back(server: Server) -> None:
    """Scenario: the SDK upserts records with dense and sparse values and queries with both.
    Guarantees: indices keep their order, values their bits, and the score is the sum of both products.
    """
    server.index.upsert(vectors=handed(HYBRID))
    expected = {record["id"]: of_json(record) for record in HYBRID}
    assert fetch(server.index, list(expected)) == expected
    asked = {"indices": [4294967295, 14], "values": [2.0, 4.0]}
    found = server.index.query(vector=[1.0, 1.0, 1.0], sparse_vector=asked, top_k=2)
    assert [(match.id, match.score) for match in found.matches] == [
        ("unsorted", 6.0 + 4.0 * 0.5 - 2.0 * 1.25),
        ("widest", 1.0 + 4.0 * 0.5),
    ]


def test_a_sparse_index_comes_from_its_first_write(server: Server) -> None:
    """Scenario: the first records of an empty directory have sparse values only; a dense one follows.
    Guarantees: they come back, a sparse query ranks them exactly, and the dense record is refused.
    """
    server.index.upsert(vectors=handed(SPARSE))
    expected = {record["id"]: of_json(record) for record in SPARSE}
    assert fetch(server.index, list(expected)) == expected
    found = server.index.query(sparse_vector={"indices": [0, 14], "values": [1.0, 2.0]}, top_k=2)
    assert [(match.id, match.score) for match in found.matches] == [("unsorted", 4.0), ("widest", 1.5)]
    with pytest.raises(PineconeException, match="Index configuration does not support dense values"):
        server.index.upsert(vectors=[{"id": "dense", "values": [1.0]}])


def test_batches_and_futures_all_arrive(server: Server) -> None:
    """Scenario: the SDK upserts 1,000 records in batches, and as many as futures that run side by side.
    Guarantees: every record is there with its bits, and each answer counts its own.
    """
    records = [{"id": f"r{row:04}", "values": [1.0, row / 7], "metadata": {"row": row}} for row in range(2_000)]
    answer = server.index.upsert(vectors=handed(records[:1_000]), batch_size=90, show_progress=False)
    assert answer.upserted_count == 1_000
    futures = [
        server.index.upsert(vectors=handed(records[start : start + 100]), async_req=True)
        for start in range(1_000, 2_000, 100)
    ]
    assert [future.result().upserted_count for future in futures] == [100] * 10
    assert fetch(server.index, [record["id"] for record in records]) == {
        record["id"]: of_json(record) for record in records
    }


def test_update_and_delete(server: Server) -> None:
    """Scenario: the SDK upserts a record again, sets one field of another, and deletes by id and by filter.
    Guarantees: an upsert replaces all of the record, an update what it names, a delete takes what it says.
    """
    records = [
        {"id": name, "values": [1.0, 2.0], "metadata": {"kept": "k", "set": 1}} for name in ("a", "b", "c", "d")
    ]
    server.index.upsert(vectors=records)
    server.index.upsert(vectors=[{"id": "a", "values": [3.0, 4.0]}])
    server.index.update(id="b", set_metadata={"set": "new"})
    server.index.delete(ids=["c", "unknown"])
    server.index.delete(filter={"set": {"$eq": 1}})
    assert fetch(server.index, ["a", "b", "c", "d"]) == {
        "a": of_json({"values": [3.0, 4.0]}),
        "b": of_json({"values": [1.0, 2.0], "metadata": {"kept": "k", "set": "new"}}),
    }
    assert listed(server.index) == ["a", "b"]


def test_a_query_says_how_much_it_has_seen(server: Server) -> None:
    """Scenario: the SDK writes twice and then queries, and shows the headers of the answers.
    Guarantees: the numbers of writes rise, and the query has seen the last one.
    """


    def header(answer, name: str) -> int:
        return int(answer._response_info["raw_headers"][name])

    first, last = (
        header(server.index.upsert(vectors=[{"id": name, "values": [1.0]}]), "x-pinecone-request-lsn")
        for name in ("a", "b")
    )
    found = server.index.query(vector=[1.0], top_k=1)
    assert first < last <= header(found, "x-pinecone-max-indexed-lsn")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"id": "a", "values": [1.0, 2.0]}, "Vector dimension 2 does not match the dimension of the index 3"),
        ({"id": "", "values": [1.0, 2.0, 3.0]}, "Vector ID must not be empty"),
        ({"id": "café", "values": [1.0, 2.0, 3.0]}, "Vector ID must be ASCII"),
        (
            {"id": "a", "values": [1.0, 2.0, 3.0], "metadata": {"sizes": [1, 2]}},
            "Metadata value must be a string, number, boolean or list of strings",
        ),
    ],
    ids=["dimension", "id-empty", "id-not-ascii", "metadata-list"],
)
def test_a_bad_record_is_refused_with_its_batch(server: Server, record: dict, words: str) -> None:
    """Scenario: the SDK upserts a good record, then a batch of another good one and a bad one.
    Guarantees: the service's words reach the user, and nothing of the batch is kept.
    """
    server.index.upsert(vectors=[{"id": "first", "values": [1.0, 2.0, 3.0]}])
    with pytest.raises(PineconeException, match=words):
        server.index.upsert(vectors=[{"id": "good", "values": [1.0, 2.0, 3.0]}, record])
    assert listed(server.index) == ["first"]
