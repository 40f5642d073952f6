"""What differs between the SDKs in how a client is made and how it lists ids."""

from __future__ import annotations

import copy

from counting import Counted
from pinecone import Pinecone
from pinecone.grpc import GRPCClientConfig, PineconeGRPC
from pinecone.grpc import GRPCIndex as Index


def connect(host: str, api_key: str) -> Index:
    # A host that is given is used as it is: nothing is asked of a control plane.
    client = PineconeGRPC(api_key=api_key)
    return Counted(client.Index(host=host, grpc_config=GRPCClientConfig(secure=False)))


def control(host: str, api_key: str, **options: object) -> Pinecone:
    """A client of the control plane, whose indexes speak REST."""
    return Counted(Pinecone(host=f"http://{host}", api_key=api_key, **options))


def ids_of_page(page: list[str]) -> list[str]:
    return page


def handed(records: list[dict]) -> list[dict]:
    """Records to upsert: the SDK puts its own message for the metadata into the dicts that it is given."""
    return copy.deepcopy(records)
