"""Makes the pictures of ../photos.rs and prints what Pillow makes of them (Pillow 13)."""

import io
import math
from pathlib import Path

from PIL import Image

here = Path(__file__).resolve().parent


def scene(width, height):
    """Smooth colours, so that JPEG decoders agree closely."""
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            r = 128 + 100 * math.sin(x / 7) * math.cos(y / 9)
            g = 255 * x / width
            b = 255 * y / height
            image.putpixel((x, y), (int(r), int(g), int(b)))
    return image


def save():
    image = scene(60, 40)
    image.save(here / "rgb.jpg", quality=95, subsampling=0)
    image.save(here / "progressive.jpg", quality=95, progressive=True)
    image.save(here / "rgb.png")
    image.convert("L").save(here / "grey.jpg", quality=95)
    image.convert("L").save(here / "grey.png")
    image.convert("CMYK").save(here / "cmyk.jpg", quality=95)
    rgba = image.copy()
    rgba.putalpha(77)
    rgba.save(here / "rgba.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(here / "palette.png")
    image.save(here / "rgb.webp", quality=90)
    rgba.save(here / "rgba.webp", lossless=True, exact=True)
    image.save(here / "rgb.bmp")
    image.quantize(16).save(here / "palette.bmp")
    other = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    frames = [other.quantize(64)]
    image.quantize(64).save(here / "moving.gif", save_all=True, append_images=frames, transparency=7)
    image.save(here / "moving.webp", quality=90, save_all=True, append_images=[other])
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    image.save(here / "turned.jpg", quality=95, subsampling=0, exif=exif)
    image.save(here / "turned.webp", lossless=True, exif=exif)


def center_crop(image, side):
    """torchvision.transforms.CenterCrop on a PIL image, zero padding."""
    w, h = image.size
    if w < side or h < side:
        left, top = max((side - w) // 2, 0), max((side - h) // 2, 0)
        padded = Image.new("RGB", (max(w, side), max(h, side)))
        padded.paste(image, (left, top))
        image, (w, h) = padded, padded.size
    left, top = int(round((w - side) / 2.0)), int(round((h - side) / 2.0))
    return image.crop((left, top, left + side, top + side))


def fit(image, how, side):
    w, h = image.size
    if how == "Center":
        return center_crop(image, side)
    if how == "Squash":
        return image.resize((side, side), Image.Resampling.BILINEAR)
    short, long = min(w, h), max(w, h)
    base = short if how == "Crop" else long
    size = [side if v == base else side * v // base for v in (w, h)]
    return center_crop(image.resize(size, Image.Resampling.BILINEAR), side)


def main():
    save()
    print("// Made by make_pictures.py with Pillow", __import__("PIL").__version__)
    print("\n/// (file, fit, size, mean of each plane, pixels at (3, 5), (8, 15), (15, 2) as (y, x))")
    print("type Case = (&'static str, Framing, usize, [f64; 3], [[u8; 3]; 3]);\n")
    print("const PILLOW: &[Case] = &[")
    cases = [(f, "Crop", 16) for f in ("rgb.jpg", "rgb.png", "grey.jpg", "grey.png", "cmyk.jpg", "rgba.png", "palette.png", "turned.jpg")]
    cases += [(f, "Crop", 16) for f in ("rgb.webp", "rgba.webp", "rgb.bmp", "palette.bmp", "moving.gif", "moving.webp", "turned.webp")]
    cases += [("rgb.png", "Squash", 20), ("rgb.png", "Letterbox", 20), ("rgb.png", "Center", 16), ("rgb.png", "Center", 51), ("rgb.png", "Crop", 75)]
    for name, how, side in cases:
        out = fit(Image.open(here / name).convert("RGB"), how, side)
        pixels = list(out.getdata())
        means = [sum(p[c] for p in pixels) / len(pixels) for c in range(3)]
        at = [list(out.getpixel((x, y))) for y, x in ((3, 5), (8, 15), (15, 2))]
        print(f'    ("{name}", Framing::{how}, {side}, {[round(m, 3) for m in means]}, {at}),')
    print("];")


if __name__ == "__main__":
    main()
