"""Images reach the model as its own preprocessing, or the user, made them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from small_models import small_model  # noqa: E402
from sparcade.errors import ConfigError  # noqa: E402
from sparcade_workloads.images import read_images  # noqa: E402

ARRAY = np.random.default_rng(1).normal(size=(2, 3, 12, 12)).astype(np.float32)


def processor():
    return transformers.ViTImageProcessorPil(size={"height": 12, "width": 12})


def refuse():
    raise AssertionError("pixel values need no preprocessing")


def test_pixel_values_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "two.npy", ARRAY)
    np.save(tmp_path / "one.npy", ARRAY[1].astype(np.float64))
    files = [tmp_path / "two.npy", tmp_path / "one.npy"]
    images = read_images(small_model("vit"), refuse, files, 10)
    assert [image.text for image in images] == ["two.npy[0]", "two.npy[1]", "one.npy"]
    for image, expected in zip(images, (ARRAY[0], ARRAY[1], ARRAY[1]), strict=True):
        np.testing.assert_array_equal(image.pixels(), expected)
        assert image.pixels().dtype == np.float32
    assert len({image.digest for image in images}) == 3


def test_pictures_go_through_the_preprocessing(tmp_path):
    levels = np.random.default_rng(2).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "small.png")
    Image.fromarray(levels).convert("L").resize((40, 30)).save(tmp_path / "grey.png")
    small, grey = read_images(small_model("vit"), processor, [tmp_path / "small.png", tmp_path / "grey.png"], 10)
    expected = (levels.astype(np.float32) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(small.pixels(), expected.transpose(2, 0, 1), atol=1e-6)
    assert grey.pixels().shape == (3, 12, 12)


@pytest.mark.parametrize(("family", "front"), [("vit", ("[CLS]",)), ("deit", ("[CLS]", "[DIST]"))])
def test_tokens_are_named_by_their_place(tmp_path, family, front):
    np.save(tmp_path / "one.npy", ARRAY[0])
    (image,) = read_images(small_model(family), refuse, [tmp_path / "one.npy"], 9 + len(front))
    assert image.tokens == (*front, "0,0 ", "0,1 ", "0,2 ", "1,0 ", "1,1 ", "1,2 ", "2,0 ", "2,1 ", "2,2 ")


@pytest.mark.parametrize(
    ("name", "array", "got"),
    [
        ("none.npy", None, "no such file"),
        ("text.npy", b"text", "allow_pickle"),
        ("text.png", b"text", "cannot identify"),
        ("shape.npy", ARRAY[:, :, :, :11], "[2, 3, 12, 11]"),
        ("empty.npy", ARRAY[:0], "[0, 3, 12, 12]"),
        ("flat.npy", ARRAY[0, 0], "[12, 12]"),
        ("bytes.npy", ARRAY.astype(np.uint8), "uint8"),
        ("nan.npy", np.full_like(ARRAY, np.nan), "NaN"),
    ],
)
def test_bad_images_are_refused(tmp_path, name, array, got):
    path = tmp_path / name
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is not None:
        np.save(path, array)
    with pytest.raises(ConfigError, match="image can't be used") as caught:
        read_images(small_model("vit"), processor, [path], 10)
    assert got in caught.value.got


def test_a_picture_of_another_size_than_the_model_reads_is_refused(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    other = transformers.ViTImageProcessorPil(size={"height": 16, "width": 16})
    with pytest.raises(ConfigError, match="can't be used") as caught:
        read_images(small_model("vit"), lambda: other, [tmp_path / "one.png"], 10)
    assert "16, 16" in caught.value.got


def test_a_model_without_one_token_per_patch_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="one sequence of patches"):
        read_images(small_model("vit"), refuse, [tmp_path / "one.npy"], 8)
