"""Films to read: files of any format that FFmpeg decodes, and folders of numbered pictures."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stylecore.errors import DataError
from stylecore.extras import optional
from stylecore.pictures.arrays import quantise
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.video.hdr import HDR_TRANSFERS, WIDE_PRIMARIES, to_srgb

if TYPE_CHECKING:
    import av

FOLDER_RATE = Fraction(25)
"""Frames per second of a folder of pictures."""

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")


@dataclass(frozen=True)
class Frame:
    """A frame of a film.

    Attributes
    ----------
    number : int
        In the film, from 1; or that of its picture.
    time : Fraction
        When it is shown, in seconds from the start of the film.
    pixels : ndarray, (H, W, 3) uint8
        sRGB, upright.
    """

    number: int
    time: Fraction
    pixels: np.ndarray


class FilmError(DataError):
    """A frame of a film cannot be decoded; those before it can."""


class Source(Protocol):
    """A film to read.

    Attributes
    ----------
    name : str
        As the user gave it.
    rate : Fraction
        Average number of frames per second.
    count : int or None
        Number of frames, if it is known before they are decoded.
    paths : list of Path
        The files.
    """

    name: str
    rate: Fraction
    count: int | None
    paths: list[Path]

    def frames(self) -> Iterator[Frame]:
        """Decode the frames, in order of time; raises `FilmError` if one cannot be decoded."""
        ...


def open_source(path: str | os.PathLike) -> Source:
    """Open a film.

    Parameters
    ----------
    path : str or path
        A film, or a folder of numbered pictures.

    Returns
    -------
    Source

    Raises
    ------
    DataError
        If it does not exist or is not a film, or the pictures of a folder are not numbered from one on without a gap.
    ParameterError
        If a package that it needs is not installed.
    """
    return FrameFolder(path) if os.path.isdir(path) else FilmFile(path)


def pyav() -> Any:
    """PyAV's module; raises ParameterError if it is not installed."""
    return optional("av", "av", "films")


class FilmFile:
    """A film in a file that FFmpeg decodes.

    Parameters
    ----------
    path : str or path

    Attributes
    ----------
    name, rate, count, paths
        As in `Source`; the count is that of the header.
    has_sound : bool
    begin : Fraction
        Time stamp of the start, in seconds.

    Raises
    ------
    DataError
        If the file cannot be read, or has no video track.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.name, self.paths = os.fspath(path), [Path(path)]
        with self._opened() as (container, stream):
            # The average is wrong where time stamps are missing.
            self.rate = stream.guessed_rate or stream.average_rate or FOLDER_RATE
            self.count = stream.frames or None
            self.has_sound = bool(container.streams.audio)
            self.begin = (stream.start_time or 0) * (stream.time_base or Fraction(1))

    @contextmanager
    def _opened(self) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """The opened file and its video track."""
        av = pyav()
        try:
            container = av.open(self.name)
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{self.name} cannot be opened as a film ({error.strerror}); check the path.") from error
        with container:
            streams = [each for each in container.streams.video if not _is_cover(each)]
            if not streams:
                raise DataError(f"{self.name} has no video track; choose a film.")
            yield container, streams[0]

    def frames(self) -> Iterator[Frame]:
        """As `Source.frames`."""
        with self._opened() as (container, stream):
            stream.thread_type = "AUTO"
            number, last = 0, -1 / self.rate
            for decoded in self._decoded(container, stream):
                # Time stamps that are missing or do not increase occur in damaged files; no output format takes them.
                time = last if decoded.pts is None else decoded.pts * (decoded.time_base or Fraction(1)) - self.begin
                last = time if time > last else last + 1 / self.rate
                number += 1
                yield Frame(number, last, _pixels(decoded, stream))
            if number == 0:
                raise DataError(f"{self.name} has no frame that can be decoded.")
            self._check_length(_duration(container, stream), last)

    def _decoded(self, container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """The frames as FFmpeg decodes them; its errors become those of the package."""
        try:
            for decoded in container.decode(stream):
                if decoded.is_corrupt:
                    raise FilmError(f"{self.name} is damaged.")
                yield decoded
        except pyav().FFmpegError as error:
            raise FilmError(f"{self.name} is damaged ({error.strerror}).") from error

    def _check_length(self, expected: Fraction, last: Fraction) -> None:
        """Raise FilmError if the last frame is long before the duration in the file's header."""
        if last + max(2 / self.rate, Fraction(1, 2)) < expected:
            raise FilmError(f"{self.name} is truncated: it ends after {float(last):.2f} s of {float(expected):.2f} s.")


def _duration(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Duration of a video track according to the header; 0 if that does not tell."""
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    # That of the container is the duration of its longest track.
    return Fraction(container.duration or 0, 1_000_000) if len(container.streams) == 1 else Fraction(0)


def _is_cover(stream: av.VideoStream) -> bool:
    """Whether a video track is the picture on the cover of a piece of music."""
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _pixels(decoded: av.VideoFrame, stream: av.VideoStream) -> np.ndarray:
    """sRGB values of a decoded frame, upright and with square pixels."""
    transfer, primaries = stream.codec_context.color_trc, stream.codec_context.color_primaries
    if transfer in HDR_TRANSFERS or primaries in WIDE_PRIMARIES:
        wide = decoded.to_ndarray(format="rgb48le")
        pixels = quantise(to_srgb(wide / np.float32(65535), transfer, primaries), np.uint8)
    else:
        pixels = decoded.to_ndarray(format="rgb24")
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        height, width = pixels.shape[:2]
        square = height, max(1, round(width * aspect))
        pixels = quantise(resize(pixels / np.float32(255), square), np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, round(decoded.rotation / 90)))


class FrameFolder:
    """A folder of numbered pictures, such as frame_0001.png, frame_0002.png.

    Parameters
    ----------
    path : str or path

    Attributes
    ----------
    name, rate, count, paths
        As in `Source`.
    files : dict of int to Path
        The pictures by their numbers, in order.

    Raises
    ------
    DataError
        If it has no numbered picture, a number is missing or occurs twice, or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.name = os.fspath(path)
        self.rate = FOLDER_RATE
        self.files = self._numbered()
        self.paths = list(self.files.values())
        self.count: int | None = len(self.paths)

    def _numbered(self) -> dict[int, Path]:
        try:
            pictures = [each for each in Path(self.name).iterdir() if each.suffix.lower() in _PICTURES]
        except OSError as error:
            raise DataError(f"{self.name} cannot be read ({error.strerror}).") from error
        numbers: dict[int, Path] = {}
        for picture in sorted(pictures):
            digits = re.findall(r"\d+", picture.stem)
            if not digits:
                raise DataError(f"{picture} has no number; name the frames such as frame_0001.png.")
            if (number := int(digits[-1])) in numbers:
                raise DataError(f"{picture} and {numbers[number]} have the same number; keep one of them.")
            numbers[number] = picture
        if not numbers:
            raise DataError(f"{self.name} has no pictures; give a film, or a folder of numbered pictures.")
        for number in range(min(numbers), max(numbers)):
            if number not in numbers:
                raise DataError(f"{self.name} has no frame {number}; its frames must be numbered without a gap.")
        return dict(sorted(numbers.items()))

    def frames(self) -> Iterator[Frame]:
        """As `Source.frames`."""
        shape, first = None, next(iter(self.files.values()))
        for i, (number, file) in enumerate(self.files.items()):
            rgb, alpha = read_image(file)
            if alpha is not None and alpha.min() < 1:
                warnings.warn(
                    f"{file} is partly transparent, which a film cannot be; it is shown on white.", stacklevel=2
                )
                rgb = 1 - alpha[:, :, None] * (1 - rgb)
            shape = shape or rgb.shape
            if rgb.shape != shape:
                size, other = (f"{each[1]} x {each[0]}" for each in (rgb.shape, shape))
                raise DataError(f"{file} has {size} pixels and {first} has {other}; all must have one size.")
            yield Frame(number, i / self.rate, quantise(rgb, np.uint8))


def selected(source: Source, start: float, stop: float | None, every: int) -> Iterator[Frame]:
    """Frames of a part of a film.

    Parameters
    ----------
    source : Source
    start, stop : float
        In seconds; the end is not included, and None is the end of the film.
    every : int
        Of the frames in that part, only every such one is yielded.

    Yields
    ------
    Frame
    """
    chosen = 0
    for frame in source.frames():
        time = float(frame.time)
        if stop is not None and time >= stop:
            return
        if time >= start:
            if chosen % every == 0:
                yield frame
            chosen += 1
