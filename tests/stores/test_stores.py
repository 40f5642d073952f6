"""The same corpus from disk and from every kind of store: the same index and the same books."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from loads import Loaded, load
from stores import AZURITE_KEY, Store

LISTING = ["s3", "google", "azure"]
VERIFIED = ("--verify", "--verify-sample", "all")


def outcome(loaded: Loaded) -> dict[str, Any]:
    """What must not depend on where a corpus is; that the index holds it, the load has verified."""
    assert loaded.exit_code == 0, loaded.stderr
    report = loaded.report
    inputs = [
        {name: value for name, value in books.items() if name not in ("path", "fingerprint")}
        | {"file": Path(unquote(books["path"])).name}
        for books in report["inputs"]
    ]
    names = ["content_digest", "namespaces", "metadata_changes", "rejected_by_reason"]
    names += [f"records_{state}" for state in ("read", "loaded", "superseded", "rejected", "remaining")]
    kept = {name: report[name] for name in names}
    for namespace in kept["namespaces"].values():
        # What was sent, in requests of whatever size.
        for name in ("bytes", "requests", "max_lsn"):
            namespace.pop(name, None)
    return kept | {"inputs": inputs}


@pytest.fixture(scope="session")
def from_disk(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("disk")
    found = outcome(load(str(corpus), folder=folder, given={}, flags=VERIFIED))
    # 2,500 of the Parquet file, and 2,000 twice, of which the second half of one is the first of the other.
    assert (found["records_read"], found["records_superseded"]) == (6_500, 1_000)
    return found


@pytest.mark.parametrize("store", LISTING, indirect=True)
def test_a_prefix_is_a_directory(store: Store, from_disk: dict[str, Any], tmp_path: Path) -> None:
    """Scenario: the prefix that the corpus is below is loaded from each kind of bucket.
    Guarantees: the same files in the same order, the same records in the index and the same books as from disk.
    """
    assert store.prefix is not None
    loaded = load(store.prefix, folder=tmp_path, given=store.environment, flags=VERIFIED)
    assert outcome(loaded) == from_disk


@pytest.mark.parametrize("store", [*LISTING, "web"], indirect=True)
def test_objects_by_name(store: Store, from_disk: dict[str, Any], tmp_path: Path) -> None:
    """Scenario: the objects are listed one by one in a file, as a web server lists none.
    Guarantees: the same records in the index and the same books as from disk.
    """
    data = [url for url in store.urls if "_" not in url and not url.endswith(".md")]
    names = tmp_path / "names"
    names.write_text("\n".join(data))
    loaded = load(folder=tmp_path, given=store.environment, flags=("--files-from", str(names), *VERIFIED))
    assert outcome(loaded) == from_disk


@pytest.mark.parametrize("store", LISTING, indirect=True)
def test_patterns(store: Store, tmp_path: Path) -> None:
    """Scenario: a pattern over keys, with files left out by name; then one that matches nothing.
    Guarantees: what it matches is loaded, in order, and nothing else; the second is refused by name.
    """
    root = store.urls[0].split("/nightly")[0]
    flags = ("--exclude", "*.parquet")
    loaded = load(f"{root}/night*/20*/*.*", folder=tmp_path, given=store.environment, flags=flags)
    assert loaded.exit_code == 0, loaded.stderr
    names = [Path(books["path"]).name for books in loaded.report["inputs"]]
    assert names == ["part-1.jsonl", "part 2.jsonl.gz"]
    nothing = load(f"{root}/nightly/*.csv", folder=tmp_path / "2", given=store.environment)
    assert nothing.exit_code == 3 and "/nightly/*.csv" in nothing.stderr, nothing.stderr


@pytest.mark.parametrize("store", [*LISTING, "web"], indirect=True)
def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    """Scenario: an object that is not there, in a bucket that is.
    Guarantees: exit code 3 with its URL, and no secret is printed.
    """
    missing = store.urls[0] + ".not-there.parquet"
    loaded = load(missing, folder=tmp_path, given=store.environment)
    assert loaded.exit_code == 3 and missing in loaded.stderr, loaded.stderr
    assert "sesame" not in loaded.stderr and AZURITE_KEY not in loaded.stderr


def test_the_same_command_continues_and_notices_a_change(s3: Store, tmp_path: Path) -> None:
    """Scenario: a run of an object that is complete, then the same command; then the object is written again.
    Guarantees: the second command does nothing, the third is refused with the object named.
    """
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3.environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="sesame",
    )
    client.create_bucket(Bucket="changing")
    line = '{"id": "a", "values": [1, %d]}\n'
    url = "s3://changing/a.jsonl"
    exit_codes = []
    for value in (2, 2, 3):
        client.put_object(Bucket="changing", Key="a.jsonl", Body=(line % value).encode())
        loaded = load(url, folder=tmp_path, given=s3.environment)
        exit_codes.append(loaded.exit_code)
    assert exit_codes == [0, 0, 3]
    assert f"{url} has another content" in loaded.stderr
