"""One image file, decoded as every training sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nas.dataset import Images

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def decode_image(path: Path, image_size: int) -> Images:
    """An image as RGB, turned as its EXIF data say; the square in its centre resized, antialiased.

    Args:
        path: of a file that Pillow reads.
        image_size: height and width of the result in pixels.

    Returns:
        uint8, image_size x image_size x 3.

    Raises:
        Exception: what decoders raise on broken files; and ValueError for more than 8 bits a channel.
    """
    with Image.open(path) as image:
        # lets JPEG decode at 1/2, 1/4 or 1/8; twice the size is left for the better filter below
        image.draft("RGB", (2 * image_size, 2 * image_size))
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    # cropping first is the same picture, without a wide intermediate; Pillow's BILINEAR is antialiased
    square = rgb.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((image_size, image_size), Image.Resampling.BILINEAR), np.uint8)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # Pillow would clip 16 and 32 bits instead of scaling them
        raise ValueError(f"more than 8 bits a channel, mode {image.mode}; convert it to 8 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB warns about a palette's transparency
    return image.convert("RGB")
