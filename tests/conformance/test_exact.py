"""Queries over 100,000 records of 384 dimensions are those of brute force in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pinecone import ServerlessSpec
from records import assert_nearest
from sdk import connect
from vecload import Server, load

RECORDS, DIMENSION, TOP_K = 100_000, 384, 50
SPEC = ServerlessSpec(cloud="aws", region="us-east-1")


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Directions drawn evenly, at lengths of 0.5 to 1.5, so that the metrics rank differently."""
    dice = np.random.default_rng(384)
    drawn = dice.standard_normal((RECORDS, DIMENSION), dtype=np.float32)
    lengths = dice.uniform(0.5, 1.5, (RECORDS, 1)).astype(np.float32)
    return drawn * (lengths / np.linalg.norm(drawn, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Iterator[Server]:
    """A server of one index for each metric, all loaded by vecload from one file."""
    folder = tmp_path_factory.mktemp("large")
    rows = range(RECORDS)
    table = pa.table(
        {
            "id": [f"r{row:06}" for row in rows],
            "values": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIMENSION),
            "metadata": [f'{{"group":{row % 10},"kind":"{"odd" if row % 2 else "even"}"}}' for row in rows],
        }
    )
    pq.write_table(table, folder / "large.parquet", compression="none")
    with Server(folder / "index") as server:
        pc = server.control()
        for metric in ("dotproduct", "cosine", "euclidean"):
            made = pc.create_index(name=metric, dimension=DIMENSION, metric=metric, spec=SPEC)
            done = load(folder / "large.parquet", host=made.host, run_dir=folder / metric)
            assert done.exit_code == 0, done.stderr
            assert done.report["records_loaded"] == RECORDS
        yield server


FILTERS = {
    "all": (None, lambda row: True),
    "equal": ({"group": 3}, lambda row: row % 10 == 3),
    "range": ({"group": {"$gte": 2, "$lt": 5}}, lambda row: 2 <= row % 10 < 5),
    "both": ({"$and": [{"kind": "odd"}, {"group": {"$in": [1, 2]}}]}, lambda row: row % 10 == 1),
}


@pytest.mark.parametrize("metric", ["dotproduct", "cosine", "euclidean"])
def test_queries_equal_brute_force(large: Server, vectors: np.ndarray, metric: str) -> None:
    """Scenario: for each metric the SDK asks three questions without a filter and with three.
    Guarantees: the same ids as brute force in float64 (equal scores in any order), scores within 1e-5.
    """
    asked = np.random.default_rng(7).standard_normal((3, DIMENSION), dtype=np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    wide = vectors.astype(np.float64)
    squares = (wide * wide).sum(axis=1)
    ids = [f"r{row:06}" for row in range(RECORDS)]
    filters = [
        (condition, [row for row in range(RECORDS) if holds(row)]) for condition, holds in FILTERS.values()
    ]
    sign = -1 if metric == "euclidean" else 1
    with connect(large.control().describe_index(metric).host, "local") as index:
        for probe in asked.astype(np.float64):
            dots = wide @ probe
            scores = {
                "dotproduct": dots,
                "cosine": dots / np.sqrt(squares * (probe @ probe)),
                "euclidean": squares - 2 * dots + probe @ probe,
            }[metric]
            for condition, kept in filters:
                found = index.query(vector=probe.tolist(), top_k=TOP_K, filter=condition).matches
                for match in found:
                    match.score *= sign
                assert_nearest(found, [ids[row] for row in kept], sign * scores[kept], TOP_K)
