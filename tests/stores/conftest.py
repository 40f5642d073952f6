"""The corpus and the stores that have it, each started once."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import stores
from loads import EXAMPLES

DIMENSION = 384


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet, JSONL and gzipped JSONL in directories, with ids that are in two files, and what is no data."""
    folder = tmp_path_factory.mktemp("corpus")
    dice = random.Random(91)

    def lines(first: int, count: int) -> bytes:
        records = (
            {
                "id": f"record {number}",
                "values": [round(dice.uniform(-1, 1), 6) for _ in range(DIMENSION)],
                "metadata": {"number": number},
            }
            for number in range(first, first + count)
        )
        return b"".join(json.dumps(record).encode() + b"\n" for record in records)

    for name in ("2024", "2025", "_staging"):
        (folder / name).mkdir()
    shutil.copy(EXAMPLES / "stdlib.parquet", folder / "2024" / "stdlib.parquet")
    (folder / "2024" / "part-1.jsonl").write_bytes(lines(0, 2_000))
    (folder / "2025" / "part 2.jsonl.gz").write_bytes(gzip.compress(lines(1_000, 2_000), mtime=0))
    (folder / "2025" / "_SUCCESS").write_bytes(b"")
    (folder / "2025" / "README.md").write_text("not data")
    (folder / "_staging" / "part-9.jsonl").write_bytes(lines(9_000, 10))
    return folder


@pytest.fixture(scope="session")
def moto(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with stores.moto(corpus, tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture(scope="session")
def s3(moto: str, corpus: Path) -> stores.Store:
    return stores.of_s3(moto, corpus)


@pytest.fixture(scope="session")
def google(moto: str, corpus: Path) -> stores.Store:
    return stores.of_google(moto, corpus)


@pytest.fixture(scope="session")
def azure(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Store]:
    with stores.azurite(corpus, tmp_path_factory.mktemp("azurite")) as store:
        yield store


@pytest.fixture(scope="session")
def web(corpus: Path) -> Iterator[stores.Store]:
    with stores.web(corpus) as store:
        yield store


@pytest.fixture
def store(request: pytest.FixtureRequest) -> stores.Store:
    """The store of that name."""
    return request.getfixturevalue(request.param)
