"""What vecload loaded from a file on disk is what the official SDK finds in the served directory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from records import Corpus, assert_nearest, fetch, listed
from vecload import EXAMPLES, PATIENCE_SECONDS, Loaded, Server, environment

QUESTIONS = [
    json.loads(line) for line in (EXAMPLES / "queries.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_the_load_says_that_it_lost_nothing(loaded: Loaded, corpus: Corpus) -> None:
    """Scenario: the example corpus is loaded into a local index.
    Guarantees: exit 0, the summary line is the last one, and the report has the same books.
    """
    count = len(corpus.ids)
    assert loaded.exit_code == 0, loaded.stderr
    assert loaded.summary.startswith(f"loaded {count} records, rejected 0, remaining 0 (superseded 0) in ")
    books = {name: loaded.report[f"records_{name}"] for name in ("read", "loaded", "rejected", "remaining")}
    assert books == {"read": count, "loaded": count, "rejected": 0, "remaining": 0}


def test_stats_count_every_record(corpus_server: Server, corpus: Corpus) -> None:
    """Scenario: the SDK asks for the statistics of the served directory.
    Guarantees: it sees every record of the file, and the file's dimension.
    """
    stats = corpus_server.index.describe_index_stats()
    assert stats.total_vector_count == len(corpus.ids) >= 2_000
    assert stats.dimension == corpus.vectors.shape[1]


def test_every_record_comes_back_bit_for_bit(corpus_server: Server, corpus: Corpus) -> None:
    """Scenario: the SDK fetches all ids of the file in pages.
    Guarantees: every vector has the bits of the Parquet file, and all metadata their values and types.
    """
    fetched = fetch(corpus_server.index, corpus.ids)
    expected = corpus.expected()
    assert fetched.keys() == expected.keys()
    assert [name for name in expected if fetched[name] != expected[name]] == []


def test_list_walks_all_ids_and_those_with_a_prefix(corpus_server: Server, corpus: Corpus) -> None:
    """Scenario: the SDK lists all ids, those with a prefix, and those with a prefix that none has.
    Guarantees: the pages join to exactly these ids of the file, none twice.
    """
    assert listed(corpus_server.index) == sorted(corpus.ids)
    with_prefix = sorted(name for name in corpus.ids if name.startswith("json."))
    assert len(with_prefix) > 1
    assert listed(corpus_server.index, prefix="json.") == with_prefix
    assert listed(corpus_server.index, prefix="no such module") == []


def test_a_record_is_nearest_to_itself(corpus_server: Server, corpus: Corpus) -> None:
    """Scenario: the SDK queries with the vector of every 100th record, then with its id.
    Guarantees: the record itself is the best match both ways, with its metadata.
    """
    for row in range(0, len(corpus.ids), 100):
        name = corpus.ids[row]
        values = corpus.vectors[row].tolist()
        by_vector = corpus_server.index.query(vector=values, top_k=1, include_metadata=True)
        by_id = corpus_server.index.query(id=name, top_k=1)
        assert [match.id for match in by_vector.matches] == [name]
        assert [match.id for match in by_id.matches] == [name]
        assert by_vector.matches[0].metadata["module"] == corpus.metadata[row]["module"]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["expect"])
def test_a_query_is_an_exact_search(corpus_server: Server, corpus: Corpus, question: dict) -> None:
    """Scenario: the SDK asks a question that is no record, with its embedding.
    Guarantees: the answer is that of brute force in numpy, and the record that answers is among the first five.
    """
    asked = np.asarray(question["values"], dtype=np.float32)
    scores = corpus.vectors.astype(np.float64) @ asked.astype(np.float64)
    found = corpus_server.index.query(vector=asked.tolist(), top_k=20, include_values=True)
    assert_nearest(found.matches, corpus.ids, scores, 20)
    assert question["expect"] in [match.id for match in found.matches[:5]]
    for match in found.matches:
        stored = corpus.vectors[corpus.ids.index(match.id)]
        assert np.asarray(match.values, dtype=np.float32).tobytes() == stored.tobytes()


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"kind": {"$eq": "class"}}, lambda m: m["kind"] == "class"),
        ({"doc_lines": {"$gte": 40}}, lambda m: m["doc_lines"] >= 40),
        ({"compiled": True}, lambda m: m["compiled"] is True),
        ({"parameters": {"$in": ["encoding"]}}, lambda m: "encoding" in m.get("parameters", [])),
        (
            {"$or": [{"module": "json"}, {"kind": {"$nin": ["function", "method", "class"]}}]},
            lambda m: m["module"] == "json" or m["kind"] == "module",
        ),
    ],
    ids=["equal", "at-least", "boolean", "in-list", "or"],
)
def test_a_filter_keeps_what_it_says(corpus_server: Server, corpus: Corpus, condition: dict, holds) -> None:
    """Scenario: the SDK queries with a filter on metadata that came from a file.
    Guarantees: the answer is that of brute force among the records for which the condition holds.
    """
    kept = [row for row, metadata in enumerate(corpus.metadata) if holds(metadata)]
    assert 10 < len(kept) < len(corpus.ids)
    asked = np.asarray(QUESTIONS[0]["values"], dtype=np.float32)
    scores = corpus.vectors[kept].astype(np.float64) @ asked.astype(np.float64)
    found = corpus_server.index.query(vector=asked.tolist(), top_k=10, filter=condition)
    assert_nearest(found.matches, [corpus.ids[row] for row in kept], scores, 10)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["expect"])
def test_the_example_script_answers(corpus_server: Server, corpus: Corpus, question: dict) -> None:
    """Scenario: examples/query.py asks the served directory a question.
    Guarantees: it prints the question and the five nearest records, best first.
    """
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "query.py"), corpus_server.host, question["question"]],
        env=environment() | {"PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asked, *hits = done.stdout.splitlines()
    assert asked == question["question"]
    scores = corpus.vectors.astype(np.float64) @ np.asarray(question["values"], dtype=np.float64)
    printed = [line.split()[1] for line in hits]
    assert printed == [corpus.ids[row] for row in np.argsort(-scores, kind="stable")[:5]]
    assert question["expect"] in printed
