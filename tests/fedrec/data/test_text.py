import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrec.config import DataConfig
from fedrec.data.sentences import SentenceEncoder
from fedrec.data.text import TEXT_ENCODERS, HashingEncoder
from fedrec.errors import ConfigError

TITLES = ["Star Wars", "Star Trek", "Golden Garden", "garden of gold", "Unique"]


def test_texts_of_shared_words_are_alike_and_those_of_none_are_not():
    vectors = HashingEncoder().encode(TITLES)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5
    assert likeness[2, 3] > 0.5
    assert abs(likeness[0, 2]) < 0.1


def test_words_that_no_other_text_has_say_nothing():
    vectors = HashingEncoder().encode(TITLES)
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 1, 1, 1, 0])


@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=8), width=st.integers(1, 40))
def test_hashed_vectors_are_unit_or_zero_and_follow_their_texts(texts, width):
    vectors = HashingEncoder(width).encode(texts)
    assert vectors.shape == (len(texts), width)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-5) | (lengths == 0))
    np.testing.assert_array_equal(HashingEncoder(width).encode(texts[::-1]), vectors[::-1])


def test_rare_words_weigh_more():
    vectors = HashingEncoder().encode(["the river", "the river", "the road", "the sea", "the"])
    assert vectors[0] @ vectors[2] < 0.1


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedrec\[text\]'"):
        TEXT_ENCODERS[DataConfig(text=True, text_encoder="minilm").text_encoder]()


@pytest.mark.slow
def test_the_sentence_encoder_finds_a_sequel_nearer_than_another_film():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    encoder = SentenceEncoder()
    vectors = encoder.encode(["Star Wars", "The Empire Strikes Back", "Toy Story 2", "a"])
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[1] @ vectors[2] + 0.2
    np.testing.assert_array_equal(encoder.encode(["Toy Story 2"])[0], vectors[2])
