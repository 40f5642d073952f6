"""The official Python SDK at its fastest documented use: gRPC, `upsert_async`, 16 requests in flight.

    python official_sdk.py [--numpy] URL FILE RECORDS

Vectors are given as lists, as the SDK's documentation has them; with --numpy as rows of numpy arrays, which it
takes too. What it prints counts CPU time from after the imports.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow.parquet as parquet
from pinecone.grpc import GrpcIndex

BATCH = 200
IN_FLIGHT = 16
PATIENCE_SECONDS = 60


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def of_jsonl(file: str) -> Iterator[list]:
    with open(file, "rb") as lines:
        while chunk := list(islice(lines, BATCH)):
            records = (json.loads(line) for line in chunk)
            yield [(record["id"], record["values"], record["metadata"]) for record in records]


def of_parquet(file: str, as_numpy: bool) -> Iterator[list]:
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=BATCH):
        values = batch.column("values").flatten().to_numpy(zero_copy_only=False)
        rows: np.ndarray = values.reshape(batch.num_rows, -1)
        metadata = (json.loads(text) for text in batch.column("metadata").to_pylist())
        yield list(zip(batch.column("id").to_pylist(), rows if as_numpy else rows.tolist(), metadata))


def main(url: str, file: str, records: int, as_numpy: bool) -> None:
    before = cpu_seconds()
    index = GrpcIndex(host=url.removeprefix("http://"), api_key="any", grpc_scheme="http")
    batches = of_jsonl(file) if file.endswith(".jsonl") else of_parquet(file, as_numpy)
    acknowledged = 0
    in_flight: deque = deque()
    for batch in islice(batches, -(-records // BATCH)):
        if len(in_flight) == IN_FLIGHT:
            acknowledged += in_flight.popleft().result(timeout=PATIENCE_SECONDS).upserted_count
        in_flight.append(index.upsert_async(vectors=batch))
    for future in in_flight:
        acknowledged += future.result(timeout=PATIENCE_SECONDS).upserted_count
    print(json.dumps({"records": acknowledged, "own_cpu_seconds": cpu_seconds() - before}))


if __name__ == "__main__":
    *flags, url, file, records = sys.argv[1:]
    main(url, file, int(records), flags == ["--numpy"])
