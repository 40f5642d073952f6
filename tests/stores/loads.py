"""The `vecload` binary as the suite runs it: with no setting and no credential but those that a test gives."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FOREIGN = ("AWS_", "AZURE_", "GOOGLE_", "PINECONE_", "STORAGE_", "VECLOAD_", "HTTP", "http", "ALL_PROXY", "all_proxy")
PATIENCE_SECONDS = 300


@dataclass
class Loaded:
    """What a load that ended left behind."""

    exit_code: int
    stdout: str
    stderr: str
    run_dir: Path

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.run_dir / "report.json").read_text(encoding="utf-8"))


def binary() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(os.environ.get("VECLOAD_BIN", target / "debug" / "vecload"))
    if not path.is_file():
        raise RuntimeError(f"{path} is not there; run: cargo build -p vecload-cli")
    return path.resolve()


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def load(*arguments: str, folder: Path, given: dict[str, str], flags: tuple[str, ...] = ()) -> Loaded:
    """Runs `vecload load` into an index of its own."""
    run_dir = folder / "run"
    command = [str(binary()), "load", *arguments, "--run-dir", str(run_dir), *flags]
    if "--host" not in flags:
        command += ["--local", str(folder / "index")]
    done = subprocess.run(
        command,
        env=environment() | given,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Loaded(done.returncode, done.stdout, done.stderr, run_dir)
