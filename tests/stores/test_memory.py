"""INV-6 with objects: what is read ahead is within the bound, however long it has to wait."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import stores
from loads import binary, environment, load

# About 100 MB of either form, more than what a load may take.
FORMS = {
    "corpus.jsonl": ("--records", "12000"),
    "corpus.parquet": ("--records", "33000", "--row-group", "2000", "--codec", "none"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_target_that_is_much_slower_than_the_store(name: str, tmp_path: Path) -> None:
    """Scenario: an index that takes a request of 2 MB in three seconds, one at a time, while the store on loopback gives
    hundreds of MB in a second; the load is ended after a while.
    Guarantees: what was read waited in bounded memory: the peak is within the stated bound, which is less than the corpus.
    """
    folder = tmp_path / "corpus"
    folder.mkdir()
    subprocess.run([str(binary().parent / "corpus"), *FORMS[name], str(folder / name)], check=True, capture_output=True)
    faults = tmp_path / "faults.toml"
    faults.write_text('delay = 1.0\ndelay_for = "3s"\n')
    serving = subprocess.Popen(
        [str(binary()), "serve", "--discard", "--port", "0", "--faults", str(faults)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert serving.stdout is not None
        host = json.loads(serving.stdout.readline())["host"]
        with stores.web(folder) as store:
            flags = ["--host", f"http://{host}", "--max-duration", "15s", "--duplicates", "any"]
            flags += ["--workers", "1", "--memory", "8MiB", "--in-flight", "1"]
            loaded = load(*store.urls, folder=tmp_path, given={"PINECONE_API_KEY": "local"}, flags=tuple(flags))
    finally:
        serving.kill()
        serving.wait()
        serving.stdout.close()
    assert loaded.exit_code == 6, loaded.stderr
    report = loaded.report
    assert report["records_loaded"] > 0 and report["limited_by"] in ("latency", "in_flight")
    peak, bound = report["peak_rss_bytes"], report["memory_bound_bytes"]
    assert 1_000_000 < peak <= bound < (folder / name).stat().st_size, (peak, bound)
