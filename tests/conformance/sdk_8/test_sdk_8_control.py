"""The older SDK from creating an index to querying it, over REST by name and over gRPC by host."""

from __future__ import annotations

import numpy as np
import pytest
from pinecone import ServerlessSpec
from pinecone.exceptions import ForbiddenException, NotFoundException, PineconeApiException
from sdk import connect
from vecload import Server


def test_an_index_from_creation_to_deletion(server: Server) -> None:
    """Scenario: the SDK creates an index in the shape that it knows, writes and queries by name, protects and deletes it.
    Guarantees: its models parse every answer, both transports see the same records, 403 while it is protected, 404 at the end.
    """
    pc = server.control()
    made = pc.create_index(
        name="movies", dimension=3, metric="dotproduct", spec=ServerlessSpec(cloud="aws", region="us-east-1")
    )
    assert (made.name, made.dimension, made.metric, made.vector_type) == ("movies", 3, "dotproduct", "dense")
    assert (made.status.ready, made.spec.serverless.region) == (True, "us-east-1")
    assert [index.name for index in pc.list_indexes()] == ["movies"]

    index = pc.Index("movies")
    records = [
        {"id": f"r{row}", "values": [1.0, row / 10, 0.5], "metadata": {"row": row, "kind": "odd" if row % 2 else "even"}}
        for row in range(10)
    ]
    assert index.upsert(vectors=records, namespace="n").upserted_count == 10
    found = index.query(
        vector=[0.0, 1.0, 0.0], top_k=2, namespace="n", filter={"kind": {"$eq": "odd"}}, include_metadata=True
    )
    assert [(match.id, match.metadata["row"]) for match in found.matches] == [("r9", 9), ("r7", 7)]
    assert [name for page in index.list(namespace="n") for name in page] == [f"r{row}" for row in range(10)]
    assert index.describe_index_stats().namespaces["n"].vector_count == 10
    # gRPC of this SDK wants the host bare.
    with connect(made.host.removeprefix("http://"), "local") as grpc:
        values = grpc.fetch(ids=["r3"], namespace="n").vectors["r3"].values
        assert np.asarray(values, dtype=np.float32).tolist() == np.asarray([1.0, 0.3, 0.5], dtype=np.float32).tolist()
    with pytest.raises(PineconeApiException, match="Vector dimension 1 does not match the dimension of the index 3"):
        index.upsert(vectors=[{"id": "bad", "values": [1.0]}])

    pc.configure_index("movies", deletion_protection="enabled", tags={"team": "x"})
    assert pc.describe_index("movies").tags.to_dict() == {"team": "x"}
    with pytest.raises(ForbiddenException):
        pc.delete_index("movies")
    pc.configure_index("movies", deletion_protection="disabled")
    pc.delete_index("movies")
    with pytest.raises(NotFoundException):
        pc.describe_index("movies")


def test_a_sparse_index(server: Server) -> None:
    """Scenario: the SDK creates a sparse index and asks it with sparse values.
    Guarantees: it is described as sparse without a dimension, and ranks exactly.
    """
    pc = server.control()
    made = pc.create_index(
        name="words", metric="dotproduct", vector_type="sparse", spec=ServerlessSpec(cloud="aws", region="us-east-1")
    )
    assert (made.vector_type, made.metric) == ("sparse", "dotproduct")
    index = pc.Index("words")
    index.upsert(
        vectors=[
            {"id": "a", "sparse_values": {"indices": [1, 5], "values": [1.0, 0.5]}},
            {"id": "b", "sparse_values": {"indices": [5], "values": [2.0]}},
        ]
    )
    found = index.query(sparse_vector={"indices": [5], "values": [2.0]}, top_k=5)
    assert [(match.id, match.score) for match in found.matches] == [("b", 4.0), ("a", 1.0)]
