"""Encoded images as arrays: what is made of each mode, depth, orientation and transparency, and what is refused.

    1, L               as they are                       16-bit grey      scaled to 8 bits, 65535 to 255
    P                  the palette's colours             16-bit colour    the upper 8 bits
    RGB                as it is                          CMYK             Pillow's conversion
    LA, RGBA, tRNS     on white                          EXIF orientation turned upright
    grey of colour     luma of ITU-R 601                 colour profiles  not applied

With a size, an image is cut at its centre to a square and resized by Pillow's bicubic filter. Everything else (32-bit
and floating-point pixels, Lab, several frames, damaged files) is refused by name. An image is decoded only where its
header says a known format and a bounded size, so that a hostile file cannot take all memory.

Shape letters: C H W image.
"""

import io
import warnings
from typing import NamedTuple

import numpy as np

from attribution.errors import StudyError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
LARGEST = 1 << 20  # pixels of an image, 1024 x 1024
LARGEST_RESIZED = 1 << 26
MODES = {"grey": "L", "rgb": "RGB"}
PLAIN = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr")


class Decoded(NamedTuple):
    """pixels [C, H, W] uint8, and in words what was done beyond reading them."""

    pixels: np.ndarray
    treated: tuple[str, ...]


def decode(blob: bytes, mode: str, where: str, size: int | None = None) -> Decoded:
    """An image in grey or rgb (`mode`), of `size` x `size` where one is given. Raises StudyError naming `where`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    largest = LARGEST if size is None else LARGEST_RESIZED
    try:
        # What Pillow only warns of is not read as it is meant.
        with (
            warnings.catch_warnings(action="error", category=UserWarning),
            Image.open(io.BytesIO(blob), formats=FORMATS) as image,
        ):
            if image.width * image.height > largest:
                raise StudyError(f"{where}: {image.width} x {image.height} pixels are more than {largest}; refused")
            if getattr(image, "n_frames", 1) > 1:
                raise StudyError(f"{where}: {image.n_frames} frames or pages; split it into images of one")
            upright = ImageOps.exif_transpose(image)
            treated = ["turned upright"] if image.getexif().get(0x0112, 1) not in (0, 1) else []
            upright, more = _eight_bits(upright, where)
            if size is not None and upright.size != (size, size):
                more += ["resized"]
                side = min(upright.size)
                left, top = ((length - side) // 2 for length in upright.size)
                square = upright.crop((left, top, left + side, top + side))
                upright = square.resize((size, size), Image.Resampling.BICUBIC)
            pixels = np.asarray(upright.convert(MODES[mode]))
    except UnidentifiedImageError as error:
        raise StudyError(f"{where}: no image of {', '.join(FORMATS)}") from error
    except StudyError:
        raise
    except Exception as error:  # damaged bytes lead decoders to exceptions of every kind
        reason = " ".join(str(error).split()) if "BytesIO" not in str(error) else ""
        raise StudyError(f"{where}: truncated or damaged ({reason or type(error).__name__})") from error
    pixels = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return Decoded(pixels, (*treated, *more))


def to_unit(images: np.ndarray) -> np.ndarray:
    """0..255 -> [-1, 1], float32."""
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _eight_bits(image, where: str):
    """The image in mode L or RGB, and what that took."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        if "transparency" in image.info:
            raise StudyError(f"{where}: 16-bit grey with a transparent value; convert it to 8 bits")
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)), ["16-bit grey scaled to 8 bits"]
    if image.mode not in PLAIN:
        raise StudyError(
            f"{where}: pixels of Pillow's mode {image.mode} have no declared meaning in 8 bits; convert it"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] == 255:
            return image.convert("RGB"), []
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"), ["put on white"]
    return image.convert("L" if image.mode in ("1", "L") else "RGB"), []
