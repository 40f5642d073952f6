"""What the official SDK writes it reads back, also after the server went away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from records import assert_nearest, fetch, listed, of_json
from samples import DENSE, HYBRID
from vecload import Server


@pytest.mark.parametrize("namespace", ["", "some namespace"], ids=["default", "named"])
def test_dense_records_come_back(server: Server, namespace: str) -> None:
    """Scenario: the SDK upserts records with every type of metadata and fetches them.
    Guarantees: bits of the floats, types and values of the metadata and the count are what was written.
    """
    answer = server.index.upsert(vectors=DENSE, namespace=namespace)
    assert answer.upserted_count == len(DENSE)
    expected = {record["id"]: of_json(record) for record in DENSE}
    assert fetch(server.index, list(expected), namespace) == expected
    assert listed(server.index, namespace) == sorted(expected)
    assert server.index.describe_index_stats().total_vector_count == len(DENSE)


def test_sparse_beside_dense_comes_back(server: Server) -> None:
    """Scenario: the SDK upserts records with dense and sparse values and queries with both.
    Guarantees: indices keep their order, values their bits, and the score is the sum of both products.
    """
    server.index.upsert(vectors=HYBRID)
    expected = {record["id"]: of_json(record) for record in HYBRID}
    assert fetch(server.index, list(expected)) == expected
    asked = {"indices": [4294967295, 14], "values": [2.0, 4.0]}
    found = server.index.query(vector=[1.0, 1.0, 1.0], sparse_vector=asked, top_k=2)
    assert [(match.id, match.score) for match in found.matches] == [
        ("unsorted", 6.0 + 4.0 * 0.5 - 2.0 * 1.25),
        ("widest", 1.0 + 4.0 * 0.5),
    ]


def test_a_sparse_index_comes_from_its_first_write(server: Server) -> None:
    """Scenario: the first record of an empty directory has sparse values only; a dense one follows.
    Guarantees: the index is sparse, answers sparse queries exactly, and refuses the dense record.
    """
    one = {"id": "one", "sparse_values": {"indices": [3, 1], "values": [1.0, 0.5]}, "metadata": {"n": 1}}
    two = {"id": "two", "sparse_values": {"indices": [1], "values": [2.0]}}
    server.index.upsert(vectors=[one, two])
    assert fetch(server.index, ["one", "two"]) == {"one": of_json(one), "two": of_json(two)}
    found = server.index.query(sparse_vector={"indices": [1], "values": [3.0]}, top_k=5)
    assert [(match.id, match.score) for match in found.matches] == [("two", 6.0), ("one", 1.5)]
    with pytest.raises(Exception, match="Index configuration does not support dense values"):
        server.index.upsert(vectors=[{"id": "dense", "values": [1.0]}])


def test_an_upsert_replaces_the_whole_record(server: Server) -> None:
    """Scenario: a record is upserted again with other values and without metadata.
    Guarantees: nothing of the old one is left, and it is counted once.
    """
    server.index.upsert(vectors=[{"id": "a", "values": [1.0, 2.0], "metadata": {"old": "yes"}}])
    server.index.upsert(vectors=[{"id": "a", "values": [3.0, 4.0]}])
    assert fetch(server.index, ["a"]) == {"a": of_json({"values": [3.0, 4.0]})}
    assert server.index.describe_index_stats().total_vector_count == 1


def test_concurrent_batches_all_arrive(server: Server) -> None:
    """Scenario: the SDK upserts 3,000 seeded vectors in concurrent batches of 100.
    Guarantees: all are there with their bits, and a query of them is an exact search.
    """
    vectors = np.random.default_rng(20261121).standard_normal((3_000, 32), dtype=np.float32)
    records = [
        {"id": f"r{row}", "values": vector.tolist(), "metadata": {"row": row}}
        for row, vector in enumerate(vectors)
    ]
    answer = server.index.upsert(vectors=records, batch_size=100, max_concurrency=8, show_progress=False)
    assert (answer.upserted_count, answer.failed_item_count) == (3_000, 0)
    expected = {record["id"]: of_json(record) for record in records}
    assert fetch(server.index, list(expected)) == expected
    asked = np.ones(32, dtype=np.float32)
    found = server.index.query(vector=asked.tolist(), top_k=50)
    scores = vectors.astype(np.float64) @ asked.astype(np.float64)
    assert_nearest(found.matches, list(expected), scores, 50)


def test_update_changes_only_what_it_names(server: Server) -> None:
    """Scenario: the SDK sets one metadata field of a record, then its values.
    Guarantees: the rest of the record stays, and the new field is found by fetch_by_metadata.
    """
    server.index.upsert(vectors=[{"id": "a", "values": [1.0, 2.0], "metadata": {"kept": "k", "set": 1}}])
    server.index.update(id="a", set_metadata={"set": "new"})
    server.index.update(id="a", values=[0.5, 0.25])
    expected = {"values": [0.5, 0.25], "metadata": {"kept": "k", "set": "new"}}
    assert fetch(server.index, ["a"]) == {"a": of_json(expected)}
    assert list(server.index.fetch_by_metadata(filter={"set": "new"}).vectors) == ["a"]


def test_delete_by_ids_filter_and_namespace(server: Server) -> None:
    """Scenario: the SDK deletes by ids (one of them unknown), then by filter, then all of one namespace.
    Guarantees: each takes exactly its records, and the other namespace keeps all of its own.
    """
    records = [
        {"id": f"r{row}", "values": [1.0, float(row)], "metadata": {"odd": row % 2 == 1}} for row in range(6)
    ]
    for namespace in ("one", "other"):
        server.index.upsert(vectors=records, namespace=namespace)
    server.index.delete(ids=["r0", "r1", "unknown"], namespace="one")
    assert listed(server.index, "one") == ["r2", "r3", "r4", "r5"]
    assert fetch(server.index, ["r0", "r2"], "one").keys() == {"r2"}
    server.index.delete(filter={"odd": True}, namespace="one")
    assert listed(server.index, "one") == ["r2", "r4"]
    server.index.delete(delete_all=True, namespace="one")
    assert listed(server.index, "one") == []
    assert listed(server.index, "other") == [record["id"] for record in records]


def test_namespaces_are_listed_with_their_counts(server: Server) -> None:
    """Scenario: the SDK writes to three namespaces and asks for all and for one of them.
    Guarantees: names and counts are right, and the default namespace is called `__default__`.
    """
    for count, namespace in ((1, ""), (2, "two"), (3, "three")):
        records = [{"id": str(row), "values": [1.0]} for row in range(count)]
        server.index.upsert(vectors=records, namespace=namespace)
    pages = list(server.index.list_namespaces())
    counts = {item.name: item.record_count for page in pages for item in page.namespaces}
    assert counts == {"__default__": 1, "two": 2, "three": 3}
    assert server.index.describe_namespace(name="three").record_count == 3


@pytest.mark.parametrize("end", [Server.stop, Server.kill], ids=["stopped", "killed"])
def test_what_was_acknowledged_survives(tmp_path: Path, end) -> None:
    """Scenario: after an upsert and a delete the server is stopped, or killed, and started again.
    Guarantees: every acknowledged write is there, the deleted record is not.
    """
    with Server(tmp_path / "index") as first:
        first.index.upsert(vectors=DENSE, namespace="n")
        first.index.delete(ids=["no-metadata"], namespace="n")
        end(first)
    with Server(tmp_path / "index") as second:
        expected = {record["id"]: of_json(record) for record in DENSE if record["id"] != "no-metadata"}
        assert fetch(second.index, [record["id"] for record in DENSE], "n") == expected
