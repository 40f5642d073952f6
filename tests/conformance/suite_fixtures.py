"""What the tests of each SDK share: the example corpus, loaded once, and servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from records import Corpus
from vecload import EXAMPLES, Loaded, Server, load


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return Corpus(EXAMPLES / "stdlib.parquet")


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="session")
def loaded(corpus_dir: Path) -> Loaded:
    """The example corpus, loaded as the README does it."""
    return load(
        EXAMPLES / "stdlib.parquet",
        local=corpus_dir / "index",
        run_dir=corpus_dir / "run",
    )


@pytest.fixture(scope="session")
def corpus_server(corpus_dir: Path, loaded: Loaded) -> Iterator[Server]:
    """A server of what `loaded` wrote. Tests only read from it."""
    assert loaded.exit_code == 0, loaded.stderr
    with Server(corpus_dir / "index") as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of an empty directory, for one test."""
    with Server(tmp_path / "index") as server:
        yield server


@pytest.fixture(scope="session")
def sample() -> list[dict]:
    lines = (EXAMPLES / "stdlib-sample.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
