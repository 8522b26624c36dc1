"""What kind of file a picture is, from its first bytes."""

from __future__ import annotations

HEADER_BYTES = 4096
"""How much of a file `recognise` needs."""

# Signatures at the start of a file.
_SIGNATURES = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"\xff\xd8\xff": "JPEG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"%PDF-": "PDF",
    b"gimp xcf": "XCF",
    b"FUJIFILMCCD-RAW": "camera raw",
}

# Brands of the ISO base media file format (ISO/IEC 14496-12), which follow "ftyp" at byte 4.
_BRANDS = {
    **dict.fromkeys([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"], "HEIF"),
    **dict.fromkeys([b"avif", b"avis"], "AVIF"),
    b"crx ": "camera raw",
}

_ADVICE = {
    "TIFF": "is a TIFF of an unusual kind; install imagecodecs, which decodes more of them, with: "
    "pip install imagecodecs, or save it with 8 or 16 bits per channel and Deflate.",
    "HEIF": "is a HEIF (HEIC) picture; install pillow-heif with: pip install pillow-heif, or export it as JPEG.",
    "AVIF": "is an AVIF picture; install Pillow 11.3 or later, which reads it, or export it as PNG.",
    "JPEG XL": "is a JPEG XL picture, which is not supported; export it as PNG.",
    "SVG": "is an SVG drawing, which has no pixels; export it as PNG at the size that you need.",
    "PDF": "is a PDF document; export the page as PNG.",
    "XCF": "is a GIMP project; export it as PNG.",
    "camera raw": "is a camera's raw file; develop it and export it as TIFF or JPEG.",
    "video": "is a video; export a frame of it as PNG.",
}


def recognise(header: bytes) -> str | None:
    """Name the format of a file, as far as this package treats it in a way of its own.

    Parameters
    ----------
    header : bytes
        The first `HEADER_BYTES` bytes of the file, or all of a shorter one.

    Returns
    -------
    str or None
        "TIFF", "JPEG", "WebP" (of the lossy kind), "HEIF", "AVIF", "JPEG XL", "SVG", "PDF", "XCF", "camera raw" or
        "video"; None for any other format.
    """
    for signature, kind in _SIGNATURES.items():
        if header.startswith(signature):
            return kind
    if header[4:8] == b"ftyp":
        return _BRANDS.get(header[8:12], "video")
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP" and b"VP8 " in header:
        return "WebP"
    if header.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<svg" in header.lower():
        return "SVG"
    return None


def advice(header: bytes) -> str:
    """Say what a file is that Pillow could not identify, and what to do about it.

    Parameters
    ----------
    header : bytes
        As for `recognise`.

    Returns
    -------
    str
        A sentence without its subject, which is the file's name.
    """
    return _ADVICE.get(recognise(header) or "", "is not a picture that Pillow can read; convert it to PNG.")
