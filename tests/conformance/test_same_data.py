"""The same records, written once by vecload and once by the official SDK, are the same data."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import fetch, listed, of_json, write_jsonl, write_parquet
from samples import DENSE, HYBRID
from vecload import Server, load

# The SDK takes a decimal over float64 to float32, vecload goes there at once. The two can differ only
# where a decimal is all but in the middle of two float32, which none of these is.
RECORDS = DENSE + HYBRID


def assert_same(server: Server, path: Path, records: list[dict], run_dir: Path) -> None:
    """Writes the records by vecload and by the SDK and compares what is then there."""
    loaded = load(path, host=f"http://{server.host}", namespace="by vecload", run_dir=run_dir)
    assert loaded.exit_code == 0, loaded.stderr
    assert loaded.report["records_loaded"] == len(records)
    server.index.upsert(vectors=records, namespace="by sdk")

    ids = sorted(record["id"] for record in records)
    assert listed(server.index, "by vecload") == listed(server.index, "by sdk") == ids
    by_vecload = fetch(server.index, ids, "by vecload")
    assert by_vecload == fetch(server.index, ids, "by sdk")
    assert by_vecload == {record["id"]: of_json(record) for record in records}


@pytest.mark.parametrize(
    ("write", "records"),
    [(write_jsonl, DENSE), (write_parquet, DENSE), (write_jsonl, RECORDS)],
    ids=["jsonl", "parquet", "jsonl-with-sparse"],
)
def test_records_of_every_kind(server: Server, tmp_path: Path, write, records: list[dict]) -> None:
    """Scenario: records with every type of metadata come from a file over vecload and over the SDK.
    Guarantees: the SDK fetches the same from both namespaces: ids, bits, sparse values, metadata with types.
    """
    assert_same(server, write(tmp_path / "records", records), records, tmp_path / "run")


def test_the_sample_of_the_corpus(server: Server, tmp_path: Path, sample: list[dict]) -> None:
    """Scenario: the JSONL excerpt of the example corpus goes both ways into one server.
    Guarantees: the namespaces are equal, and so are the answers to a query, scores included.
    """
    assert_same(server, write_jsonl(tmp_path / "sample.jsonl", sample), sample, tmp_path / "run")
    by_vecload, by_sdk = (
        server.index.query(
            vector=sample[0]["values"], top_k=10, namespace=namespace, include_values=True, include_metadata=True
        ).matches
        for namespace in ("by vecload", "by sdk")
    )
    assert len(by_vecload) == 10
    assert by_vecload == by_sdk


def test_a_namespace_that_vecload_loads_over_the_sdk(server: Server, tmp_path: Path, sample: list[dict]) -> None:
    """Scenario: the SDK writes a record with an id of the file and one of its own, then vecload loads the file.
    Guarantees: the file's record replaces the SDK's one as a whole, the other record stays.
    """
    old = {"id": sample[0]["id"], "values": [1.0] * 384, "metadata": {"old": True}}
    own = {"id": "own", "values": [2.0] * 384, "metadata": {"kept": "yes"}}
    server.index.upsert(vectors=[old, own])
    path = write_jsonl(tmp_path / "sample.jsonl", sample)
    loaded = load(path, host=f"http://{server.host}", run_dir=tmp_path / "run")
    assert loaded.exit_code == 0, loaded.stderr
    expected = {record["id"]: of_json(record) for record in [*sample, own]}
    assert fetch(server.index, list(expected)) == expected
