"""What differs between the SDKs in how a client is made and how it lists ids."""

from __future__ import annotations

from typing import Any

from pinecone.grpc import GrpcIndex as Index


def connect(host: str, api_key: str) -> Index:
    return Index(host=host, api_key=api_key, grpc_scheme="http")


def ids_of_page(page: Any) -> list[str]:
    return [item.id for item in page.vectors]
