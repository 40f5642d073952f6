"""Records of every kind that the service takes, at the edges of each."""

# Every type of value that the service knows, and the edges of each.
METADATA = {
    "text": "naïve ☃ \U0001f600",
    "quoted": '"quotes", a \\ and\ttabs\n',
    "empty text": "",
    "integer": 7,
    "zero": 0,
    "negative": -2.5,
    "largest exact integer": 2**53,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "yes": True,
    "no": False,
    "list": ["a", "", "ß"],
    "empty list": [],
    "": "an empty name",
    "ключ": "a name that is not ASCII",
    "_underscore": 1,
}

DENSE = [
    {"id": "all-types", "values": [0.1, -0.2, 3.0], "metadata": METADATA},
    {"id": "no-metadata", "values": [1.0, 0.0, -0.0]},
    {"id": "extreme-floats", "values": [1.17549435e-38, 1e-45, 3.4028235e38]},
    {"id": "!~ any ASCII / id", "values": [0.0, 0.0, 1.0], "metadata": {"n": 1}},
    {"id": "x" * 512, "values": [0.0, 1.0, 0.0], "metadata": {"n": 2}},
]

HYBRID = [
    {
        "id": "unsorted",
        "values": [1.0, 2.0, 3.0],
        "sparse_values": {"indices": [14, 4294967295, 0], "values": [0.5, -1.25, 3.0]},
    },
    {
        "id": "widest",
        "values": [1.0, 0.0, 0.0],
        "sparse_values": {"indices": list(range(2_048)), "values": [0.5] * 2_048},
    },
]

# An index takes its kind from the first record, so these are for an index of their own.
SPARSE = [
    {
        "id": "unsorted",
        "sparse_values": {"indices": [14, 4294967295, 0], "values": [0.5, -1.25, 3.0]},
        "metadata": METADATA,
    },
    {"id": "one", "sparse_values": {"indices": [14], "values": [2.0**-149]}},
    {"id": "widest", "sparse_values": {"indices": list(range(2_048)), "values": [0.5] * 2_048}},
]
