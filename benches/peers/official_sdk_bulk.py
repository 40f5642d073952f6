"""The official Python SDK's bulk mode, without an end: `upsert` in batches over gRPC, what failed once more.

    python official_sdk_bulk.py URL FILE

Batching, concurrency, retries and the limiter that adapts to refusals are the SDK's own.
"""

from __future__ import annotations

import sys

import pyarrow.parquet as parquet
from pinecone.grpc import GrpcIndex

CHUNK = 50_000
BATCH = 300
CONCURRENCY = 16


def main(url: str, file: str) -> None:
    index = GrpcIndex(host=url.removeprefix("http://"), api_key="any", grpc_scheme="http")
    while True:
        for chunk in parquet.ParquetFile(file).iter_batches(batch_size=CHUNK, columns=["id", "values"]):
            values = chunk.column("values").flatten().to_numpy(zero_copy_only=False)
            left = list(zip(chunk.column("id").to_pylist(), values.reshape(chunk.num_rows, -1)))
            while left:
                done = index.upsert(
                    vectors=left, batch_size=BATCH, max_concurrency=CONCURRENCY, show_progress=False
                )
                left = done.failed_items


if __name__ == "__main__":
    main(*sys.argv[1:])
