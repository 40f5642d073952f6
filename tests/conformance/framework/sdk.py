"""What differs between the SDKs in how a client is made."""

from __future__ import annotations

from typing import Any

from counting import Counted
from pinecone import Pinecone

Index = Any


def connect(host: str, api_key: str) -> Index:
    return control(host, api_key).Index(host=f"http://{host}")


def control(host: str, api_key: str, **options: object) -> Pinecone:
    return Counted(Pinecone(host=f"http://{host}", api_key=api_key, **options))
