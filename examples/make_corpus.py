"""Makes the example corpus: docstrings of the Python standard library with their text embeddings.

Writes, next to itself, `stdlib.parquet` (all records), `stdlib-sample.jsonl` (every 50th of them) and
`queries.jsonl` (questions with their embeddings). Needs CPython 3.13.0 on Linux and the packages of
requirements.txt; README.md has the commands. Takes about a minute of one CPU.

Records, texts and metadata come out the same every time. So do the vectors on one machine; another CPU may
differ in the last bits, since BLAS orders its sums by the vector width. The run ends by reading the files back and
checking them, and by asking every question: a corpus that cannot answer its own questions is an error.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import platform
import re
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from minilm import DIMENSION, Floats, MiniLm

HERE = Path(__file__).parent
PARQUET = HERE / "stdlib.parquet"
SAMPLE = HERE / "stdlib-sample.jsonl"
QUERIES = HERE / "queries.jsonl"

# Docstrings change with every version, so the version is part of the recipe.
PYTHON = "3.13.0"
# The size that keeps all of examples/ under 5 MB; the vectors are nearly all of it.
MAX_RECORDS = 2500
ROW_GROUP = 500
SAMPLE_EVERY = 50
TEXT_CHARS = 300
# Shorter docstrings say no more than the name does.
MIN_DOC_CHARS = 24

# Not for readers (tests, tables, jokes, programs), or not built everywhere.
NOT_DOCUMENTATION = (
    "__hello__", "__phello__", "antigravity", "curses", "dbm.gnu", "dbm.ndbm", "encodings", "ensurepip", "genericpath",
    "idlelib", "lib2to3", "nt", "ntpath", "nturl2path", "posix", "posixpath", "pydoc_data", "readline", "sre_compile",
    "sre_constants", "sre_parse", "test", "this", "tkinter", "turtle", "turtledemo",
)  # fmt: skip
# Names whose source (Python or C) carries a notice or terms of its own beside the PSF licence.
OTHER_TERMS = (
    "asyncio.constants", "asyncio.events", "asyncio.sslproto", "builtins.str", "codecs", "ctypes", "decimal",
    "http.cookies", "logging", "optparse", "platform", "profile", "pstats", "re", "sqlite3", "syslog", "tarfile",
    "tomllib", "trace", "unittest", "urllib.robotparser", "venv", "wsgiref.validate", "xml.etree", "xmlrpc",
)  # fmt: skip
# Words that such a notice contains; a module that has them and is not listed above stops the run.
NOTICE = re.compile(
    r"SPDX-License|Permission (is hereby|to use)|Redistribution and use|redistributed under"
    r"|Licensed under the|provided 'as-is'|choose between two licenses"
)

# Each question and the record that has to be among its best FIND_WITHIN answers.
QUESTIONS = {
    "turn a JSON document into Python objects": "json.loads",
    "copy a whole directory tree": "shutil.copytree",
    "run a command and capture its output": "subprocess.check_output",
    "wait for a coroutine, but give up after a timeout": "asyncio.wait_for",
    "generate a secure random token for a URL": "secrets.token_urlsafe",
    "compare two text files and show the lines that differ": "difflib.unified_diff",
    "cache the results of an expensive function": "functools.lru_cache",
    "make a temporary directory that removes itself": "tempfile.TemporaryDirectory",
    "keep the n largest values": "heapq.nlargest",
}
FIND_WITHIN = 5

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("values", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
    ]
)

type MetadataValue = str | float | bool | list[str]


@dataclass(frozen=True)
class Entry:
    """One documented thing of the standard library."""

    name: str
    kind: str
    module: str
    doc: str
    parameters: list[str] | None
    compiled: bool

    @property
    def text(self) -> str:
        """The head of the docstring: its paragraphs up to the first doctest, at most `TEXT_CHARS` characters."""
        prose = self.doc.split(">>>")[0]
        text = " ".join(prose.split())
        if len(text) <= TEXT_CHARS:
            return text
        return text[: TEXT_CHARS - 3].rsplit(" ", 1)[0] + "..."

    @property
    def summary(self) -> str:
        """The first paragraph that is not a signature, on one line, at most `TEXT_CHARS` characters."""
        paragraphs = [" ".join(p.split()) for p in self.doc.split(">>>")[0].split("\n\n")]
        prose = [p for p in paragraphs if p and not is_signature(p, self.name)]
        return (prose or paragraphs)[0][:TEXT_CHARS]

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        """What is stored beside the vector: every type that Pinecone's metadata knows."""
        metadata: dict[str, MetadataValue] = {
            "text": self.text,
            "summary": self.summary,
            "module": self.module,
            "kind": self.kind,
            "doc_lines": len(self.doc.splitlines()),
            "compiled": self.compiled,
        }
        # Modules have no parameters, and some C functions do not tell theirs.
        if self.parameters is not None:
            metadata["parameters"] = self.parameters
        return metadata


# === finding entries ===


def public_modules() -> Iterator[types.ModuleType]:
    """Import the public modules of the standard library, sorted by name."""

    def walk(name: str) -> Iterator[types.ModuleType]:
        if under(name, NOT_DOCUMENTATION + OTHER_TERMS):
            return
        try:
            module = importlib.import_module(name)
        except ImportError:
            return  # a module of another platform
        yield module
        for child in sorted(m.name for m in pkgutil.iter_modules(getattr(module, "__path__", []))):
            if not child.startswith("_"):
                yield from walk(f"{name}.{child}")

    for name in sorted({*sys.stdlib_module_names, "os.path"}):
        if not name.startswith("_"):
            yield from walk(name)


def entries() -> list[Entry]:
    """All documented public things, each under one name, sorted by it."""
    found: dict[int, tuple[object, Entry]] = {}

    def add(thing: object, owner: object, name: str, kind: str, module: str) -> None:
        doc = own_doc(thing)
        if len(doc) < MIN_DOC_CHARS or is_signature(doc, name) or under(name, OTHER_TERMS):
            return
        entry = Entry(name, kind, module, doc, parameters(thing, kind), not written_in_python(thing, owner))
        # A thing that several modules export keeps its shortest name: asyncio.gather, not asyncio.tasks.gather.
        _, other = found.get(id(thing), (thing, entry))
        found[id(thing)] = (thing, min(entry, other, key=lambda e: (e.name.count("."), len(e.name), e.name)))

    for module in public_modules():
        path = "os.path" if module is sys.modules["os.path"] else module.__name__
        refuse_unknown_terms(module)
        add(module, module, path, "module", path)
        for name, member in exports(module):
            if inspect.isclass(member):
                add(member, member, f"{path}.{name}", "class", path)
                for method, function in methods(member):
                    add(function, member, f"{path}.{name}.{method}", "method", path)
            elif inspect.isroutine(member):
                add(member, module, f"{path}.{name}", "function", path)

    # The same words twice (io.BytesIO and its base, say) teach a search nothing: the first name keeps them.
    unique: dict[str, Entry] = {}
    for _, entry in sorted(found.values(), key=lambda pair: pair[1].name):
        unique.setdefault(entry.text, entry)
    return list(unique.values())


def choose(candidates: Sequence[Entry]) -> list[Entry]:
    """The `MAX_RECORDS` entries kept, in order of their names.

    Modules, functions and classes go before methods, fuller docstrings before thin ones.
    """
    ranked = sorted(candidates, key=lambda e: (e.kind == "method", -len(e.text), e.name))
    return sorted(ranked[:MAX_RECORDS], key=lambda e: e.name)


def exports(module: types.ModuleType) -> list[tuple[str, object]]:
    """The public names of a module and what they stand for."""
    declared = getattr(module, "__all__", None)
    members: list[tuple[str, object]] = []
    for name in sorted(declared or vars(module)):
        member = getattr(module, name, None)
        home = getattr(member, "__module__", None)
        if name.startswith("_") or not isinstance(home, str) or under(home, OTHER_TERMS):
            continue
        # Without __all__ a module also shows what it merely imports.
        if declared or home == module.__name__:
            members.append((name, member))
    return members


def methods(cls: type) -> list[tuple[str, object]]:
    """The public methods that the class itself defines."""
    own: list[tuple[str, object]] = []
    for name in sorted(vars(cls)):
        member = inspect.unwrap(getattr(vars(cls)[name], "__func__", vars(cls)[name]))
        if not name.startswith("_") and inspect.isroutine(member):
            own.append((name, member))
    return own


def own_doc(thing: object) -> str:
    """The docstring that the thing itself has, cleaned; empty if it inherits one or has none."""
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", None)
    return inspect.cleandoc(doc).strip() if isinstance(doc, str) else ""


def parameters(thing: object, kind: str) -> list[str] | None:
    """The names of the parameters, without self; None where there is no signature."""
    if kind == "module" or not callable(thing):
        return None
    try:
        names = list(inspect.signature(thing).parameters)
    except (AttributeError, TypeError, ValueError):
        return None  # AttributeError: some C signatures name constants that inspect looks up in the wrong module
    return names[1:] if kind == "method" and names[:1] in (["self"], ["cls"]) else names


def written_in_python(thing: object, owner: object) -> bool:
    """Whether the thing is written in Python rather than in C."""
    if inspect.ismodule(thing):
        return str(getattr(thing, "__file__", "")).endswith(".py")
    if inspect.isclass(thing):
        return "__firstlineno__" in vars(thing)
    return isinstance(inspect.unwrap(thing), types.FunctionType) if callable(thing) else written_in_python(owner, owner)


def is_signature(text: str, name: str) -> bool:
    """Whether the text only repeats how to call the thing, as generated docstrings do."""
    return re.fullmatch(rf"(\w+\.)*{re.escape(name.rsplit('.', 1)[-1])}\(.*\)( *->.*)?", text, re.DOTALL) is not None


def under(name: str, roots: Sequence[str]) -> bool:
    """Whether a dotted name is one of `roots` or inside one."""
    return any(name == root or name.startswith(root + ".") for root in roots)


def refuse_unknown_terms(module: types.ModuleType) -> None:
    """Stop if a module's source has a licence notice of its own."""
    try:
        source = inspect.getsource(module)
    except (OSError, TypeError):
        return  # written in C; the few with own terms are in OTHER_TERMS
    if notice := NOTICE.search(source):
        raise RuntimeError(f"{module.__name__} has terms of its own ({notice[0]!r}): add it to OTHER_TERMS")


# === writing and checking ===


def write_parquet(chosen: Sequence[Entry], vectors: Floats) -> None:
    """Write all records in the columns of Pinecone's import format, metadata as JSON text."""
    table = pa.table(
        {
            "id": [e.name for e in chosen],
            "values": list(vectors),
            "metadata": [json.dumps(e.metadata, ensure_ascii=False) for e in chosen],
        },
        schema=SCHEMA,
    )
    # No dictionary: float vectors do not repeat, and plain pages are the packed floats themselves.
    pq.write_table(
        table, PARQUET, row_group_size=ROW_GROUP, compression="zstd", compression_level=19, use_dictionary=False
    )


def write_jsonl(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def floats(vector: Floats) -> list[float]:
    """The vector as the shortest decimals that read back to the same float32 values."""
    return [float(str(value)) for value in vector]


def check(chosen: Sequence[Entry]) -> None:
    """Read the files back and hold them to what README.md says."""
    table = pq.read_table(PARQUET)
    ids: list[str] = table["id"].to_pylist()
    vectors = np.stack(table["values"].to_numpy())
    metadata = [json.loads(text) for text in table["metadata"].to_pylist()]
    require(ids == [e.name for e in chosen] and metadata == [e.metadata for e in chosen], "what was written is read")
    require(ids == sorted(set(ids)) and len(ids) >= 2000, "ids are unique and sorted, 2,000 or more")
    require(all(i.isascii() and 0 < len(i) <= 512 for i in ids), "ids are ASCII of 1 to 512 characters")
    require(all(column.null_count == 0 for column in table.columns), "nothing is null")
    require(vectors.shape == (len(ids), DIMENSION) and vectors.dtype == np.float32, "vectors are 384 float32")
    require(bool(np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6), "vectors have unit length")

    sample = read_jsonl(SAMPLE)
    require([row["id"] for row in sample] == ids[::SAMPLE_EVERY], "the sample is every 50th record")
    require([row["metadata"] for row in sample] == metadata[::SAMPLE_EVERY], "the sample has the same metadata")
    exact = np.array([row["values"] for row in sample], dtype=np.float32)
    require(np.array_equal(exact, vectors[::SAMPLE_EVERY]), "the sample has the same vectors, bit for bit")

    for row in read_jsonl(QUERIES):
        scores = vectors @ np.array(row["values"], dtype=np.float32)
        best = [ids[i] for i in np.argsort(-scores)[:FIND_WITHIN]]
        print(f"{row['question']}\n    {', '.join(best)}")
        require(row["expect"] in best, f"{row['question']!r} finds {row['expect']}")


def require(holds: bool, claim: str) -> None:
    """Stop unless the claim holds."""
    if not holds:
        raise RuntimeError(f"does not hold: {claim}")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    if platform.python_version() != PYTHON or sys.platform != "linux":
        raise SystemExit(f"docstrings depend on the version and platform: run with CPython {PYTHON} on Linux")
    warnings.simplefilter("ignore", DeprecationWarning)  # importing deprecated modules is the point here

    candidates = entries()
    chosen = choose(candidates)
    print(f"{len(chosen)} records of {len(candidates)} candidates")

    model = MiniLm()
    vectors = model.encode([f"{e.name}: {e.summary}" for e in chosen])
    write_parquet(chosen, vectors)
    write_jsonl(
        SAMPLE,
        [
            {"id": e.name, "values": floats(v), "metadata": e.metadata}
            for e, v in list(zip(chosen, vectors, strict=True))[::SAMPLE_EVERY]
        ],
    )
    asked = model.encode(list(QUESTIONS))
    write_jsonl(
        QUERIES,
        [
            {"question": question, "expect": expect, "values": floats(v)}
            for (question, expect), v in zip(QUESTIONS.items(), asked, strict=True)
        ],
    )
    check(chosen)


if __name__ == "__main__":
    main()
