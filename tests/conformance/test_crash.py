"""A server that is killed keeps what it acknowledged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pinecone import RetryConfig
from pinecone.errors.exceptions import PineconeError
from records import listed
from sdk import connect
from vecload import Server


@pytest.mark.parametrize("after", [1, 7, 40], ids=lambda after: f"after-{after}")
def test_a_kill_in_mid_load_loses_nothing_acknowledged(tmp_path: Path, after: int) -> None:
    """Scenario: four clients upsert batches until the server is killed (SIGKILL), after so many acknowledgements.
    Guarantees: every id of every acknowledged batch is there after a restart, and every batch as a whole.
    """
    acknowledged: list[str] = []
    enough = threading.Event()
    size = 50

    def write(client: int, host: str) -> None:
        with connect(host, "local", retry_config=RetryConfig(max_retries=0)) as index:
            for batch in range(100_000):
                ids = [f"{client}-{batch}-{row}" for row in range(size)]
                try:
                    index.upsert(vectors=[{"id": name, "values": [1.0, 2.0]} for name in ids], timeout=2)
                except PineconeError:
                    return
                acknowledged.extend(ids)
                if len(acknowledged) >= after * size:
                    enough.set()

    with Server(tmp_path / "index") as server:
        clients = [threading.Thread(target=write, args=(client, server.host)) for client in range(4)]
        for client in clients:
            client.start()
        assert enough.wait(60)
        server.kill()
        for client in clients:
            client.join()
    with Server(tmp_path / "index") as server:
        kept = listed(server.index)
        assert set(acknowledged) <= set(kept)
        assert len(acknowledged) >= after * size
        batches = {name.rsplit("-", 1)[0] for name in kept}
        assert len(kept) == size * len(batches)
