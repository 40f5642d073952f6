"""Object stores on loopback: S3 and Google's XML API by moto, Azure by azurite, a web server that knows ranges.

Each `Store` holds the files of a directory and says by which arguments and environment vecload finds them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
from azure.storage.blob import BlobServiceClient

SUITE = Path(__file__).resolve().parent

# Far above what any step takes, so that a hang fails instead of holding up CI.
PATIENCE_SECONDS = 120

BUCKET = "corpora"

# Of the emulator; everybody knows it.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass
class Store:
    """Files in a store: their URLs, the URL of what they all are below, and how vecload gets at them."""

    urls: list[str]
    prefix: str | None
    environment: dict[str, str]


def keys(corpus: Path) -> dict[str, Path]:
    """The files below a directory by what they are called in a bucket."""
    files = sorted(path for path in corpus.rglob("*") if path.is_file())
    return {f"nightly/{path.relative_to(corpus)}": path for path in files}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(command: list[str], port: int, log: Path) -> Iterator[str]:
    """A server for as long as it is wanted; its address."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')}")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def moto(corpus: Path, scratch: Path) -> Iterator[str]:
    """An S3 that has the corpus in its bucket; its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server(command, port, scratch / "moto.log") as url:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="sesame",
        )
        client.create_bucket(Bucket=BUCKET)
        for key, path in keys(corpus).items():
            client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        yield url


def of_s3(url: str, corpus: Path) -> Store:
    return Store(
        urls=[f"s3://{BUCKET}/{key}" for key in keys(corpus)],
        prefix=f"s3://{BUCKET}/nightly",
        environment={
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "sesame",
        },
    )


def of_google(url: str, corpus: Path) -> Store:
    """The same server: what vecload speaks to Google is the XML API, which is S3's."""
    return Store(
        urls=[f"gs://{BUCKET}/{key}" for key in keys(corpus)],
        prefix=f"gs://{BUCKET}/nightly/",
        environment={"STORAGE_EMULATOR_HOST": url},
    )


@contextlib.contextmanager
def azurite(corpus: Path, scratch: Path) -> Iterator[Store]:
    port = free_port()
    modules = Path(os.environ.get("VECLOAD_AZURITE", SUITE / "node_modules"))
    node = shutil.which("node")
    assert node is not None, "the Azure emulator needs node"
    command = [
        *(node, str(modules / "azurite/dist/src/blob/main.js")),
        *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
    ]
    with server(command, port, scratch / "azurite.log") as url:
        url = f"{url}/{AZURITE_ACCOUNT}"
        with BlobServiceClient(url, credential=AZURITE_KEY) as client:
            container = client.create_container(BUCKET)
            for key, path in keys(corpus).items():
                container.upload_blob(key, path.read_bytes())
        yield Store(
            urls=[f"az://{BUCKET}/{key}" for key in keys(corpus)],
            prefix=f"abfs://{BUCKET}/nightly",
            environment={
                "AZURE_STORAGE_ENDPOINT": url,
                "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
            },
        )


@contextlib.contextmanager
def web(corpus: Path) -> Iterator[Store]:
    files = {f"/{key}": path.read_bytes() for key, path in keys(corpus).items()}
    etags = {key: f'"{hashlib.sha256(content).hexdigest()}"' for key, content in files.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            key = urllib.parse.unquote(self.path)
            content = files.get(key)
            if content is None:
                self.send_error(404)
                return
            size = len(content)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted:
                first, last = int(wanted[1]), min(int(wanted[2]), size - 1)
                part = content[first : last + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            else:
                part = content
                self.send_response(200)
            self.send_header("ETag", etags[key])
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if self.command == "GET":
                # A load that ends does not wait for what it asked for ahead.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(part)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield Store(
            urls=[f"http://127.0.0.1:{serving.server_address[1]}{urllib.parse.quote(path)}" for path in files],
            prefix=None,
            environment={},
        )
        serving.shutdown()
        thread.join()
