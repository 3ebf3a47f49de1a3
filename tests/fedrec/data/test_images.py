import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from fedrec.data.images import read_images
from fedrec.errors import DataError

PIXELS = np.arange(2 * 1 * 2 * 3, dtype=np.uint8).reshape(2, 1, 2, 3)


def test_both_kinds_of_file_give_the_same_images_by_item(tmp_path):
    np.savez(tmp_path / "a.npz", item_ids=np.array(["x", "7"]), images=PIXELS)
    save_file({"images": PIXELS}, tmp_path / "a.safetensors", {"item_ids": json.dumps(["x", "7"])})
    for found in (read_images(tmp_path / "a.npz"), read_images(tmp_path / "a.safetensors")):
        assert list(found) == ["x", "7"]
        np.testing.assert_allclose(found["7"], PIXELS[1] / 255, rtol=1e-6)
        assert found["7"].dtype == np.float32


def test_floating_numbers_are_taken_as_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", item_ids=[3, 4], images=PIXELS.astype(np.float64))
    np.testing.assert_array_equal(read_images(tmp_path / "a.npz")["3"], PIXELS[0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS}, "must hold item_ids and images"),
        ({"item_ids": ["x"], "images": PIXELS}, r"must be \[1, channels"),
        ({"item_ids": ["x", "x"], "images": PIXELS}, "not unique"),
        ({"item_ids": ["x", "y"], "images": PIXELS[0]}, "channels"),
        ({"item_ids": ["x", "y"], "images": PIXELS * np.nan}, "not finite"),
        ({"item_ids": np.array(["x", None], dtype=object), "images": PIXELS}, "without pickled"),
    ],
)
def test_a_file_of_something_else_is_refused_by_name(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as refused:
        read_images(tmp_path / "bad.npz")
    assert "bad.npz" in str(refused.value)


@pytest.mark.parametrize("name", ["none.npz", "text.npz", "text.safetensors"])
def test_a_missing_or_damaged_file_is_refused(tmp_path, name):
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(DataError, match=name):
        read_images(tmp_path / name)
