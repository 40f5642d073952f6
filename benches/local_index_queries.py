"""Asks a served index filtered questions, one after the other, and prints how long the answers took.

    pip install pinecone
    python benches/local_index_queries.py HOST:PORT DIMENSION RECORDS

For an index that holds a corpus of `cargo run -p vecload-benches --bin corpus`: each question's filter keeps a tenth of
the records. The vectors are seeded; answers are checked to keep what their filter says.
"""

import random
import statistics
import sys
import time

from pinecone.grpc import GrpcIndex

QUESTIONS, TOP_K = 100, 10
# Where the field `number` of the corpus begins.
FIRST = 100_000_000


def main() -> None:
    host, dimension, records = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(1)
    seconds = []
    with GrpcIndex(host=host, api_key="local", grpc_scheme="http") as index:
        for _ in range(QUESTIONS):
            low = FIRST + dice.randrange(records * 9 // 10)
            kept = {"number": {"$gte": low, "$lt": low + records // 10}}
            vector = [dice.gauss(0, 1) for _ in range(dimension)]
            began = time.perf_counter()
            found = index.query(vector=vector, top_k=TOP_K, filter=kept, include_metadata=True, timeout=120)
            seconds.append(time.perf_counter() - began)
            numbers = [match.metadata["number"] for match in found.matches]
            assert len(numbers) == TOP_K and all(low <= number < low + records // 10 for number in numbers)
    seconds.sort()
    print(
        f"{QUESTIONS} questions: best {seconds[0]:.3f} s, median {statistics.median(seconds):.3f} s, "
        f"95th percentile {seconds[QUESTIONS * 95 // 100]:.3f} s, longest {seconds[-1]:.3f} s"
    )


if __name__ == "__main__":
    main()
