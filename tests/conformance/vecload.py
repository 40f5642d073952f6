"""The `vecload` binary as the suite drives it: a load that ends, a server that runs.

Both see no setting from the environment of whoever runs the suite, so a result is the files' and
the flags' alone. The binary is VECLOAD_BIN or the one that `cargo build -p vecload-cli` makes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

from sdk import Index, connect, control

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

# Far above what any step takes, so that a hang fails instead of holding up CI.
PATIENCE_SECONDS = 120


def binary() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("VECLOAD_BIN", target / "debug" / "vecload"))
    if not path.is_file():
        raise RuntimeError(f"{path} is not there; run: cargo build -p vecload-cli")
    return path.resolve()


def environment() -> dict[str, str]:
    ours = ("PINECONE_", "VECLOAD_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Loaded:
    """What a load that ended left behind."""

    def __init__(self, exit_code: int, stderr: str, run_dir: Path) -> None:
        self.exit_code = exit_code
        self.stderr = stderr
        self.report: dict[str, Any] = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))

    @property
    def summary(self) -> str:
        return self.stderr.strip().splitlines()[-1]


def as_flags(flags: dict[str, object]) -> list[str]:
    """A keyword such as `local="DIR"` is the flag `--local DIR`."""
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in flags.items()]
    return [word for pair in pairs for word in pair]


def load(*inputs: Path, run_dir: Path, api_key: str = "local", **flags: object) -> Loaded:
    """Runs `vecload load` with these flags."""
    done = subprocess.run(
        [str(binary()), "load", *map(str, inputs), *as_flags({"run_dir": run_dir, **flags})],
        env=environment() | {"PINECONE_API_KEY": api_key},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Loaded(done.returncode, done.stderr, run_dir)


class Server:
    """`vecload serve` on a directory, ready when it is constructed, and a client of the SDK to it."""

    def __init__(self, data_dir: Path, **flags: object) -> None:
        self._process = subprocess.Popen(
            [str(binary()), "serve", *as_flags({"data_dir": data_dir, "port": 0, **flags})],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            if not ready:
                self._process.kill()
            self._process.stdout.close()
            exit_code = self._process.wait(PATIENCE_SECONDS)
            raise RuntimeError(f"vecload serve ended or hung before it was ready: exit {exit_code}")
        self.host: str = json.loads(line)["host"]
        self.index = self.client("local")
        self._clients: list[Any] = []

    def client(self, api_key: str) -> Index:
        return connect(self.host, api_key)

    def control(self, api_key: str = "local", **options: object) -> Any:
        """A client of the control plane; it is closed with the server."""
        client = control(self.host, api_key, **options)
        self._clients.append(client)
        return client

    def _close(self) -> None:
        for client in [self.index, *self._clients]:
            client.close()

    def stop(self) -> None:
        """Ends it as an operator does; it must end well."""
        self._close()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_SECONDS) == 0, "the server did not end well"

    def kill(self) -> None:
        """Ends it as a power cut does."""
        self._close()
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self._process.returncode is None:
            self.stop()
