"""Asks a running local index one of the questions of queries.jsonl, over Pinecone's official Python SDK.

Load `stdlib.parquet` first. Needs only the SDK, no model:

    pip install pinecone==10.2.0
    python query.py localhost:PORT                    # the first question
    python query.py localhost:PORT "directory tree"   # the question that contains these words
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pinecone.errors.exceptions import PineconeError
from pinecone.grpc import GrpcIndex

QUERIES = Path(__file__).parent / "queries.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a local index about the Python standard library.")
    parser.add_argument("host", help="where the local index listens, such as localhost:5080")
    parser.add_argument(
        "words", nargs="?", default="", help="words of the question to ask (default: the first question)"
    )
    parser.add_argument("--namespace", default="", help="namespace that the corpus was loaded into")
    arguments = parser.parse_args()

    queries = [json.loads(line) for line in QUERIES.read_text(encoding="utf-8").splitlines()]
    asked = next((q for q in queries if arguments.words.lower() in q["question"].lower()), None)
    if asked is None:
        questions = "\n".join(f"  {q['question']}" for q in queries)
        sys.exit(f"no question contains {arguments.words!r}; there are:\n{questions}")

    # The local index speaks plaintext and takes any key.
    with GrpcIndex(host=arguments.host, api_key="local", grpc_scheme="http") as index:
        try:
            answer = index.query(vector=asked["values"], top_k=5, namespace=arguments.namespace, include_metadata=True)
        except PineconeError as error:
            sys.exit(f"query to {arguments.host} failed: {error}")

    print(asked["question"])
    for match in answer.matches:
        summary = (match.metadata or {}).get("summary", "")
        print(f"  {match.score:.3f}  {match.id:32}  {summary}")


if __name__ == "__main__":
    main()
