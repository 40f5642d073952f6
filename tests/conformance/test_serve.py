"""What is set when the server is started holds for the official SDK, and for vecload."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pinecone.errors.exceptions import ApiError, PineconeError, UnauthorizedError
from records import assert_nearest
from vecload import EXAMPLES, Server, load


@pytest.mark.parametrize("metric", ["dotproduct", "cosine", "euclidean"])
def test_a_query_ranks_by_the_metric(tmp_path: Path, metric: str) -> None:
    """Scenario: an index of each metric holds seeded vectors of many lengths; the SDK queries it.
    Guarantees: stats name the metric, and the answer is that of brute force in numpy (euclidean: the least first).
    """
    vectors = np.random.default_rng(7).standard_normal((500, 16), dtype=np.float32)
    asked = np.linspace(-1, 1, 16, dtype=np.float32)
    wide, probe = vectors.astype(np.float64), asked.astype(np.float64)
    scores = {
        "dotproduct": wide @ probe,
        "cosine": wide @ probe / (np.linalg.norm(wide, axis=1) * np.linalg.norm(probe)),
        "euclidean": ((wide - probe) ** 2).sum(axis=1),
    }[metric]
    sign = -1 if metric == "euclidean" else 1
    ids = [f"r{row}" for row in range(len(vectors))]
    with Server(tmp_path / "index", metric=metric, dimension=16) as server:
        assert server.index.describe_index_stats().metric == metric
        server.index.upsert(vectors=list(zip(ids, vectors.tolist(), strict=True)))
        found = server.index.query(vector=asked.tolist(), top_k=25).matches
    for match in found:
        match.score *= sign
    assert_nearest(found, ids, sign * scores, 25)


def test_a_key_is_checked(tmp_path: Path) -> None:
    """Scenario: the server takes one key; the SDK and vecload come with it and with another one.
    Guarantees: the right key works; the wrong one is UNAUTHENTICATED, exit 5, and nothing is written.
    """
    key = tmp_path / "key"
    key.write_text("right\n", encoding="utf-8")
    corpus = EXAMPLES / "stdlib-sample.jsonl"
    with Server(tmp_path / "index", api_key_file=key) as server:
        host = f"http://{server.host}"
        with server.client("wrong") as wrong, pytest.raises(UnauthorizedError):
            wrong.describe_index_stats()
        refused = load(corpus, host=host, run_dir=tmp_path / "refused", api_key="wrong")
        assert refused.exit_code == 5
        assert refused.report["records_loaded"] == 0
        with server.client("right") as right:
            assert right.describe_index_stats().total_vector_count == 0
            loaded = load(corpus, host=host, run_dir=tmp_path / "loaded", api_key="right")
            assert loaded.exit_code == 0, loaded.stderr
            assert right.describe_index_stats().total_vector_count == loaded.report["records_read"] > 0


def test_the_dimension_is_kept(tmp_path: Path) -> None:
    """Scenario: an index of 3 dimensions is served, and served again without saying so.
    Guarantees: the SDK sees 3 both times, and a record of another dimension is refused before any was written.
    """
    with Server(tmp_path / "index", dimension=3) as first:
        assert first.index.describe_index_stats().dimension == 3
    with Server(tmp_path / "index") as second:
        assert second.index.describe_index_stats().dimension == 3
        with pytest.raises(ApiError, match="Vector dimension 2 does not match the dimension of the index 3"):
            second.index.upsert(vectors=[{"id": "a", "values": [1.0, 2.0]}])


def test_one_process_at_a_time_has_the_directory(server: Server, tmp_path: Path) -> None:
    """Scenario: a second server is started on a directory that is being served.
    Guarantees: it ends instead of serving, and the first one goes on.
    """
    with pytest.raises(RuntimeError, match="before it was ready: exit 3"):
        Server(tmp_path / "index")
    assert server.index.upsert(vectors=[{"id": "a", "values": [1.0]}]).upserted_count == 1


def test_a_server_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """Scenario: the server ends while the SDK has a connection to it, which then asks with a deadline.
    Guarantees: the SDK raises its own error, rather than finding nothing.
    """
    with Server(tmp_path / "index") as server:
        index = server.client("local")
        index.describe_index_stats()
        server.stop()
        with index, pytest.raises(PineconeError):
            index.describe_index_stats(timeout=1)
