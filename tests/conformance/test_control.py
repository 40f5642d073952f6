"""From creating an index to querying it by name, with the official SDK over REST, asyncio and gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from pinecone import AsyncPinecone, ServerlessSpec
from pinecone.errors.exceptions import ApiError, ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from records import of_json, sparse, typed
from samples import DENSE, METADATA, SPARSE
from sdk import connect
from vecload import Server

SPEC = ServerlessSpec(cloud="aws", region="us-east-1")


def of_rest(vector) -> object:
    """A fetched record with its floats as float32: JSON carries the shortest text that gives them."""
    values = np.asarray(vector.values, dtype=np.float32)
    weights = vector.sparse_values
    if weights:
        single = np.asarray(weights.values, dtype=np.float32).astype(np.float64)
        weights = {"indices": weights.indices, "values": single.tolist()}
    return (values.tobytes(), sparse(weights), typed(vector.metadata or {}))


def test_an_index_from_creation_to_deletion(server: Server) -> None:
    """Scenario: the SDK creates an index, finds it in both of its listings, writes to it by name, configures and deletes it.
    Guarantees: it is as it was asked for, ready when create returns, protected while it is, and gone at the end.
    """
    pc = server.control()
    made = pc.create_index(name="movies", dimension=3, metric="euclidean", spec=SPEC, tags={"team": "x"})
    assert (made.name, made.dimension, made.metric, made.vector_type) == ("movies", 3, "euclidean", "dense")
    assert (made.status.ready, made.status.state) == (True, "Ready")
    assert (made.deployment.cloud, made.deployment.region) == ("aws", "us-east-1")
    assert [index.name for index in pc.list_indexes()] == ["movies"]
    assert pc.has_index("movies") and not pc.has_index("other")

    index = pc.index("movies")
    index.upsert(vectors=DENSE)
    assert index.describe_index_stats().total_vector_count == len(DENSE)
    with pytest.raises(ConflictError, match="Resource already exists"):
        pc.create_index(name="movies", dimension=3, metric="cosine", spec=SPEC)

    pc.configure_index("movies", deletion_protection="enabled", tags={"team": "", "stage": "test"})
    assert pc.describe_index("movies").tags == {"stage": "test"}
    with pytest.raises(ForbiddenError, match="Deletion protection is enabled"):
        pc.delete_index("movies")
    pc.configure_index("movies", deletion_protection="disabled")
    pc.delete_index("movies")
    with pytest.raises(NotFoundError, match=r"Index movies not found\."):
        pc.describe_index("movies")


def test_a_schema_and_a_deployment(server: Server) -> None:
    """Scenario: the SDK creates a dense, a sparse and a document index in the shape of 2026-07.
    Guarantees: the first two serve what their schema says; the third is refused with what to do.
    """
    pc = server.control()
    deployment = {"deployment_type": "managed", "cloud": "gcp", "region": "europe-west4"}
    dense = {"fields": {"_values": {"type": "dense_vector", "dimension": 3, "metric": "dotproduct"}}}
    made = pc.indexes.create(name="dense", schema=dense, deployment=deployment)
    assert sorted(made.schema.fields) == ["_sparse_values", "_values"]
    assert (made.deployment.cloud, made.metric) == ("gcp", "dotproduct")
    sparse_schema = {"fields": {"_sparse_values": {"type": "sparse_vector"}}}
    pc.indexes.create(name="sparse", schema=sparse_schema, deployment=deployment)
    index = pc.index("sparse")
    index.upsert(vectors=SPARSE)
    found = index.query(sparse_vector={"indices": [0, 14], "values": [1.0, 2.0]}, top_k=2)
    assert [(match.id, match.score) for match in found.matches] == [("unsorted", 4.0), ("widest", 1.5)]
    with pytest.raises(ApiError, match="has no document indexes"):
        pc.indexes.create(name="docs", schema={"fields": {"title": {"type": "string", "full_text_search": {}}}})


def test_every_operation_over_rest(server: Server) -> None:
    """Scenario: the SDK writes, fetches, lists, updates, counts, queries and deletes over REST, and reads over gRPC.
    Guarantees: all comes back as it was written, whichever transport is asked, and headers tell the LSNs.
    """
    pc = server.control()
    pc.create_index(name="all", dimension=3, metric="dotproduct", spec=SPEC)
    index = pc.index("all")
    written = index.upsert(vectors=DENSE, namespace="n")
    assert (written.upserted_count, written.response_info.lsn_committed) == (len(DENSE), 1)
    expected = {record["id"]: of_json(record) for record in DENSE}
    fetched = index.fetch(ids=list(expected), namespace="n")
    assert {name: of_rest(vector) for name, vector in fetched.vectors.items()} == expected
    with connect(pc.describe_index("all").host, "local") as grpc:
        found = grpc.fetch(ids=["all-types"], namespace="n").vectors["all-types"]
        assert typed(found.metadata) == typed(METADATA)

    pages = index.list(namespace="n", limit=2)
    assert [item.id for page in pages for item in page.vectors] == sorted(expected)
    found = index.query(vector=[0.0, 0.0, 1.0], top_k=2, namespace="n", filter={"n": 1}, include_metadata=True)
    assert [(match.id, match.score, match.metadata) for match in found.matches] == [("!~ any ASCII / id", 1.0, {"n": 1})]
    assert found.response_info.lsn_reconciled == 1
    by_filter = index.update(filter={"n": {"$in": [1, 2]}}, set_metadata={"seen": True}, namespace="n")
    assert (by_filter.matched_records, by_filter.response_info.lsn_committed) == (2, 2)
    again = index.fetch_by_metadata(filter={"seen": True}, namespace="n", limit=1)
    assert len(again.vectors) == 1 and again.pagination.next
    index.update(id="no-metadata", values=[3.0, 2.0, 1.0], set_metadata={"new": ["x"]}, namespace="n")
    changed = index.fetch(ids=["no-metadata"], namespace="n").vectors["no-metadata"]
    assert (changed.values, changed.metadata) == ([3.0, 2.0, 1.0], {"new": ["x"]})

    index.delete(ids=["no-metadata"], namespace="n")
    index.delete(filter={"seen": True}, namespace="n")
    assert index.describe_index_stats().namespaces["n"].vector_count == len(DENSE) - 3
    index.create_namespace(name="other")
    names = [each.name for page in index.list_namespaces() for each in page.namespaces]
    assert names == ["n", "other"]
    assert index.describe_namespace(name="other").record_count == 0
    index.delete(delete_all=True, namespace="n")
    index.delete_namespace(name="other")
    assert [page.total_count for page in index.list_namespaces()] == [1]


def test_asyncio(server: Server) -> None:
    """Scenario: the asyncio client creates an index, writes ten batches at once, queries with a filter, and deletes.
    Guarantees: every record is there and the answer is exact.
    """

    async def run() -> None:
        async with AsyncPinecone(host=f"http://{server.host}", api_key="local") as pc:
            await pc.create_index(name="async", dimension=2, metric="cosine", spec=SPEC)
            async with await pc.index("async") as index:
                batches = [
                    [{"id": f"{batch}-{row}", "values": [1.0, row + 1.0], "metadata": {"batch": batch}} for row in range(50)]
                    for batch in range(10)
                ]
                answers = await asyncio.gather(*(index.upsert(vectors=batch) for batch in batches))
                assert sum(answer.upserted_count for answer in answers) == 500
                found = await index.query(vector=[1.0, 1.0], top_k=3, filter={"batch": 7})
                assert [match.id for match in found.matches] == ["7-0", "7-1", "7-2"]
                assert abs(found.matches[0].score - 1.0) < 1e-6
                stats = await index.describe_index_stats()
                assert stats.total_vector_count == 500
            await pc.delete_index("async")
            assert [index.name for index in await pc.list_indexes()] == []

    asyncio.run(run())


def test_a_restart_keeps_named_indexes(tmp_path: Path) -> None:
    """Scenario: two indexes are created and one is written to; the server is killed and started again.
    Guarantees: both are there at their hosts, with what was written.
    """
    with Server(tmp_path / "index") as server:
        pc = server.control()
        hosts = {
            name: pc.create_index(name=name, dimension=2, metric="cosine", spec=SPEC).host for name in ("a", "b")
        }
        pc.index("a").upsert(vectors=[{"id": "x", "values": [1.0, 2.0]}])
        server.kill()
    with Server(tmp_path / "index") as server:
        pc = server.control()
        assert {index.name: index.host for index in pc.list_indexes()} == hosts
        assert pc.index("a").fetch(ids=["x"]).vectors["x"].values == [1.0, 2.0]
        assert pc.index("b").describe_index_stats().total_vector_count == 0


def test_waiting_for_an_index(tmp_path: Path) -> None:
    """Scenario: an index takes an hour to be ready; the SDK creates it without waiting.
    Guarantees: it says Initializing, and that it is not ready.
    """
    with Server(tmp_path / "index", initializing_for="1h") as server:
        pc = server.control()
        made = pc.create_index(name="slow", dimension=2, metric="cosine", spec=SPEC, timeout=-1)
        assert (made.status.ready, made.status.state) == (False, "Initializing")


def test_keys_and_the_layer_in_front(tmp_path: Path) -> None:
    """Scenario: a server with a key; the SDK asks it for indexes and for stats over REST with another one.
    Guarantees: 401 with the plain text of the layer in front of the service, and the right key is served.
    """
    key = tmp_path / "key"
    key.write_text("right", encoding="utf-8")
    with Server(tmp_path / "index", api_key_file=key) as server:
        wrong = server.control("wrong")
        with pytest.raises(UnauthorizedError, match="Unauthorized"):
            wrong.list_indexes()
        with pytest.raises(UnauthorizedError, match="Unauthorized"):
            wrong.index(host=f"http://{server.host}").describe_index_stats()
        assert list(server.control("right").list_indexes()) == []


def test_writes_that_are_not_indexed_yet(tmp_path: Path) -> None:
    """Scenario: writes are indexed after an hour; the SDK writes and reads.
    Guarantees: the LSN of the query is behind that of the write, and nothing is found.
    """
    with Server(tmp_path / "index", indexing_delay="1h") as server:
        index = server.control().index(host=f"http://{server.host}")
        written = index.upsert(vectors=[{"id": "a", "values": [1.0]}])
        found = index.query(vector=[1.0], top_k=1)
        assert found.matches == []
        assert found.response_info.lsn_reconciled < written.response_info.lsn_committed
        assert index.describe_index_stats().total_vector_count == 0
