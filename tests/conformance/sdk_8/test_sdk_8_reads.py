"""What vecload loaded is what the older official SDK finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from records import Corpus, assert_nearest, fetch, listed, of_json, write_jsonl, write_parquet
from samples import DENSE, HYBRID, SPARSE
from sdk import handed
from vecload import Server, load


def test_every_record_of_the_corpus_comes_back(corpus_server: Server, corpus: Corpus) -> None:
    """Scenario: the SDK counts, lists and fetches what vecload loaded from the example corpus.
    Guarantees: all ids, every vector with the bits of the Parquet file, all metadata with values and types.
    """
    stats = corpus_server.index.describe_index_stats()
    assert stats.total_vector_count == len(corpus.ids) >= 2_000
    assert stats.dimension == corpus.vectors.shape[1]
    assert listed(corpus_server.index) == sorted(corpus.ids)
    with_prefix = sorted(name for name in corpus.ids if name.startswith("json."))
    assert listed(corpus_server.index, prefix="json.") == with_prefix != []
    fetched, expected = fetch(corpus_server.index, corpus.ids), corpus.expected()
    assert fetched.keys() == expected.keys()
    assert [name for name in expected if fetched[name] != expected[name]] == []


def test_a_filtered_query_is_an_exact_search(corpus_server: Server, corpus: Corpus) -> None:
    """Scenario: the SDK queries the corpus with the vector of a record and a filter on metadata from the file.
    Guarantees: the answer is that of brute force in numpy among the records for which the filter holds.
    """
    kept = [
        row
        for row, metadata in enumerate(corpus.metadata)
        if metadata["kind"] == "class" and metadata["doc_lines"] >= 5
    ]
    assert 10 < len(kept) < len(corpus.ids)
    asked = corpus.vectors[0]
    scores = corpus.vectors[kept].astype(np.float64) @ asked.astype(np.float64)
    condition = {"$and": [{"kind": {"$eq": "class"}}, {"doc_lines": {"$gte": 5}}]}
    found = corpus_server.index.query(vector=asked.tolist(), top_k=10, filter=condition)
    assert_nearest(found.matches, [corpus.ids[row] for row in kept], scores, 10)


@pytest.mark.parametrize(
    ("write", "records"),
    [(write_parquet, DENSE), (write_jsonl, DENSE + HYBRID), (write_jsonl, SPARSE)],
    ids=["parquet-dense", "jsonl-hybrid", "jsonl-sparse"],
)
def test_records_of_every_kind(server: Server, tmp_path: Path, write, records: list[dict]) -> None:
    """Scenario: records of each kind with every type of metadata come from a file over vecload and over the SDK.
    Guarantees: the SDK fetches the same from both namespaces: ids, bits, sparse values, metadata with types.
    """
    path = write(tmp_path / "records", records)
    loaded = load(path, host=f"http://{server.host}", namespace="by vecload", run_dir=tmp_path / "run")
    assert loaded.exit_code == 0, loaded.stderr
    server.index.upsert(vectors=handed(records), namespace="by sdk")
    expected = {record["id"]: of_json(record) for record in records}
    for namespace in ("by vecload", "by sdk"):
        assert listed(server.index, namespace) == sorted(expected)
        assert fetch(server.index, list(expected), namespace) == expected
