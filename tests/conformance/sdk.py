"""What differs between the SDKs in how a client is made and how it lists ids."""

from __future__ import annotations

from typing import Any

from counting import Counted
from pinecone import Pinecone
from pinecone.grpc import GrpcIndex as Index


def connect(host: str, api_key: str, **options: object) -> Index:
    return Counted(Index(host=host, api_key=api_key, grpc_scheme="http", **options))


def control(host: str, api_key: str, **options: object) -> Pinecone:
    """A client of the control plane, whose indexes speak REST."""
    return Counted(Pinecone(host=f"http://{host}", api_key=api_key, **options))


def ids_of_page(page: Any) -> list[str]:
    return [item.id for item in page.vectors]
