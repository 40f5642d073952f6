"""A store of texts, from creating its index to searching it with filters."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import pytest
from counting import Counted
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_pinecone import PineconeVectorStore
from pinecone import ServerlessSpec
from vecload import Server

WIDTH = 256


class Words(Embeddings):
    """Texts as bags of hashed words: near where they share words."""

    def embed_query(self, text: str) -> list[float]:
        values = [0.0] * WIDTH
        for word in re.findall(r"[a-z]+", text.lower()):
            values[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % WIDTH] += 1.0
        length = math.sqrt(sum(value * value for value in values)) or 1.0
        return [value / length for value in values]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


TEXTS = [
    Document(page_content="a robot learns to paint the sea", metadata={"genre": "science fiction", "year": 2019}),
    Document(page_content="two sailors cross the sea in winter", metadata={"genre": "drama", "year": 1987}),
    Document(page_content="a painter falls in love in winter", metadata={"genre": "drama", "year": 2003}),
    Document(page_content="robots cross the desert", metadata={"genre": "science fiction", "year": 1999}),
]


def test_a_store_from_its_index_to_its_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario: an index is created, LangChain's store finds it by its name, adds texts, searches with filters, and deletes.
    Guarantees: the best texts come first with their metadata and scores, filters hold, and what is deleted is gone.
    """
    with Server(tmp_path / "index") as server:
        pc = server.control()
        pc.create_index(
            name="films", dimension=WIDTH, metric="cosine", spec=ServerlessSpec(cloud="aws", region="us-east-1")
        )
        # The store makes a client of its own and asks the control plane for the name.
        monkeypatch.setenv("PINECONE_CONTROLLER_HOST", f"http://{server.host}")
        store = Counted(
            PineconeVectorStore(index_name="films", embedding=Words(), namespace="n", pinecone_api_key="local")
        )
        ids = store.add_documents(TEXTS, ids=[f"film-{number}" for number in range(len(TEXTS))], async_req=False)
        assert ids == ["film-0", "film-1", "film-2", "film-3"]
        assert pc.Index("films").describe_index_stats().namespaces["n"].vector_count == len(TEXTS)

        best, score = store.similarity_search_with_score("two sailors cross the sea in winter", k=1)[0]
        assert best.page_content == TEXTS[1].page_content
        assert best.metadata == {"genre": "drama", "year": 1987}
        assert abs(score - 1.0) < 1e-5
        dramas = store.similarity_search("a robot in winter", k=4, filter={"genre": {"$eq": "drama"}})
        assert {found.metadata["year"] for found in dramas} == {1987, 2003}
        late = store.similarity_search("robots", k=4, filter={"$and": [{"year": {"$gte": 1999}}, {"genre": "science fiction"}]})
        assert sorted(found.metadata["year"] for found in late) == [1999, 2019]

        store.delete(ids=["film-1"])
        left = store.similarity_search("two sailors cross the sea in winter", k=4)
        assert sorted(found.metadata["year"] for found in left) == [1999, 2003, 2019]
        store.delete(delete_all=True)
        assert store.similarity_search("robots", k=4) == []
        pc.delete_index("films")
        assert not pc.has_index("films")
