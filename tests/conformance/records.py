"""Records as plain values that compare exactly.

Floats compare by their bits: 0.0 is not -0.0, and a value that is no float32 is an error rather than
rounded. Metadata compares with its types, since Python holds True == 1 == 1.0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sdk import Index, ids_of_page

# The service's limit on the ids of a fetch is 1,000; a page below it makes the last page a short one.
PAGE = 900


def bits(values: Any) -> bytes:
    """The float32 bits of numbers that are float32 already."""
    exact = np.asarray(values, dtype=np.float64)
    single = exact.astype(np.float32)
    assert np.array_equal(single.astype(np.float64), exact), "a value is no float32"
    return single.tobytes()


def typed(value: Any) -> Any:
    """A metadata value, or a whole map of them, tagged with the types that the service knows."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, (int, float)):
        return ("number", float(value))
    if isinstance(value, str):
        return ("string", value)
    if isinstance(value, list):
        return ("list", [typed(item) for item in value])
    if isinstance(value, dict):
        return {name: typed(item) for name, item in value.items()}
    raise TypeError(f"{value!r} is no metadata")


def sparse(values: Any) -> Any:
    if not values:
        return None
    indices, weights = (
        (values["indices"], values["values"])
        if isinstance(values, dict)
        else (values.indices, values.values)
    )
    return (list(indices), bits(weights))


def of_json(record: dict[str, Any]) -> Any:
    """A record in the canonical JSON form, as it must come back."""
    return (
        bits(np.asarray(record.get("values", []), dtype=np.float32)),
        sparse(record.get("sparse_values")),
        typed(record.get("metadata") or {}),
    )


def of_sdk(vector: Any) -> Any:
    """A record that the SDK fetched."""
    return (bits(vector.values), sparse(vector.sparse_values), typed(vector.metadata or {}))


def fetch(index: Index, ids: list[str], namespace: str = "") -> dict[str, Any]:
    """Fetches records in pages."""
    fetched = {}
    for start in range(0, len(ids), PAGE):
        page = index.fetch(ids=ids[start : start + PAGE], namespace=namespace)
        assert not fetched.keys() & page.vectors.keys()
        fetched.update(page.vectors)
    assert all(name == vector.id for name, vector in fetched.items())
    return {name: of_sdk(vector) for name, vector in fetched.items()}


def listed(index: Index, namespace: str = "", prefix: str | None = None) -> list[str]:
    """All ids of a namespace, or those with a prefix, in the order in which they come."""
    pages = index.list(namespace=namespace, prefix=prefix)
    return [name for page in pages for name in ids_of_page(page)]


def write_jsonl(path: Path, records: list[dict]) -> Path:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, records: list[dict]) -> Path:
    table = pa.table(
        {
            "id": [record["id"] for record in records],
            "values": pa.array([record["values"] for record in records], pa.list_(pa.float32())),
            "metadata": [
                json.dumps(record["metadata"], ensure_ascii=False) if "metadata" in record else None
                for record in records
            ],
        }
    )
    pq.write_table(table, path, compression="zstd")
    return path


class Corpus:
    """A Parquet file as pyarrow, which shares no code with vecload, reads it."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        self.ids: list[str] = table["id"].to_pylist()
        lists = table["values"].combine_chunks()
        self.vectors = np.asarray(lists.flatten()).reshape(len(self.ids), -1)
        assert self.vectors.dtype == np.float32
        self.metadata: list[dict[str, Any]] = [json.loads(text) for text in table["metadata"].to_pylist()]

    def expected(self) -> dict[str, Any]:
        rows = zip(self.ids, self.vectors, self.metadata, strict=True)
        return {name: (vector.tobytes(), None, typed(metadata)) for name, vector, metadata in rows}


def assert_nearest(matches: Any, ids: list[str], scores: np.ndarray, top_k: int) -> None:
    """The matches are the best `top_k` by exact scores, best first.

    float32 sums differ in their last bits with the order of addition, so records whose scores are
    closer together than that may change places.
    """
    rounding = 1e-5
    best = np.sort(scores)[::-1][:top_k]
    exact = dict(zip(ids, scores, strict=True))
    assert len({match.id for match in matches}) == len(matches) == len(best)
    for match, score in zip(matches, best, strict=True):
        assert abs(match.score - exact[match.id]) < rounding
        assert abs(match.score - score) < rounding
