"""Films to write: files of several formats, with the sound of the original, and folders of numbered pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from stylecore.errors import DataError, ParameterError
from stylecore.files import replacing
from stylecore.pictures.arrays import quantise
from stylecore.pictures.writing import check_output, write_image
from stylecore.video.sources import pyav

if TYPE_CHECKING:
    import av

# FFmpeg's numbers of the colours of television: matrix, primaries and transfer function; and values from 16 to 235.
BT709, LIMITED = 1, 1

PaintedFrame = tuple[Fraction, np.ndarray]
"""When a frame is shown, in seconds, and its picture, (H, W, 3) sRGB in [0, 1]."""


@dataclass(frozen=True)
class Format:
    """How a film is stored.

    Attributes
    ----------
    muxer, codec, pixels : str
        FFmpeg's names of the container, the encoder and the pixel format.
    tick : Fraction
        Unit of time stamps, in seconds.
    even : bool
        Whether width and height must be even.
    sound : str or None
        Encoder of sound that the container cannot hold unchanged; None for a container without sound.
    longest : int
        Longest side in pixels.
    options, container_options : dict of str to str
        Of the encoder and of the container.
    """

    muxer: str
    codec: str
    pixels: str
    tick: Fraction = Fraction(1, 90000)
    even: bool = False
    sound: str | None = None
    longest: int = 16384
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


FORMATS = {
    ".mp4": Format("mp4", "libx264", "yuv420p", even=True, sound="aac", options={"crf": "17", "preset": "medium"}),
    ".webm": Format(
        "webm",
        "libvpx-vp9",
        "yuv420p",
        Fraction(1, 1000),
        even=True,
        sound="libopus",
        options={"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    ),
    # Lossless at 8 bits per channel.
    ".mkv": Format("matroska", "ffv1", "bgr0", Fraction(1, 1000), sound="aac", options={"level": "3", "slicecrc": "1"}),
    ".gif": Format("gif", "gif", "pal8", Fraction(1, 100), longest=65535, container_options={"loop": "0"}),
    ".webp": Format(
        "webp",
        "libwebp_anim",
        "bgra",
        Fraction(1, 1000),
        longest=16383,
        options={"quality": "90"},
        container_options={"loop": "0"},
    ),
    ".png": Format("apng", "apng", "rgb24", Fraction(1, 1000), container_options={"plays": "0"}),
}
"""The formats by the suffixes of their files; a name without a suffix is a folder of pictures."""


@dataclass(frozen=True)
class Sound:
    """Sound to copy from a film.

    Attributes
    ----------
    path : str
        The film.
    start, stop : Fraction
        The part of it, in seconds of the film's own time stamps.
    """

    path: str
    start: Fraction
    stop: Fraction


def format_of(output: str | os.PathLike) -> Format | None:
    """Format of a film by its suffix.

    Parameters
    ----------
    output : str or path

    Returns
    -------
    Format or None
        None for a folder of pictures.

    Raises
    ------
    ParameterError
        If the suffix is not one of `FORMATS`.
    """
    suffix = Path(output).suffix.lower()
    if suffix and suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise ParameterError(f"{output} has no suffix of a known film format; use one of {known}, or name a folder.")
    return FORMATS.get(suffix)


def check_film_output(output: str | os.PathLike, shape: Sequence[int]) -> None:
    """Check that a film can be written, before the work of painting it.

    Parameters
    ----------
    output : str or path
    shape : tuple of int
        (H, W, ...) of its frames.

    Raises
    ------
    ImageError, ParameterError
        If the format is unknown or cannot hold frames of that size, or nothing can be written there.
    """
    if (format := format_of(output)) is None:
        parent = Path(output).absolute().parent
        if os.path.exists(output) and not os.path.isdir(output):
            raise ParameterError(f"{output} is a file; name a folder, or a film with one of {', '.join(FORMATS)}.")
        check_output(Path(output) / "0.png" if os.path.isdir(output) else parent / "0.png")
        return
    # The suffix is not one of a picture, so the format is one that `check_output` knows.
    check_output(output, format="png")
    if max(shape[:2]) > format.longest:
        raise ParameterError(
            f"{output} cannot be written: its format holds at most {format.longest} pixels a side; name a folder."
        )


def write_folder(folder: str | os.PathLike, names: Sequence[str], frames: Iterable[PaintedFrame]) -> None:
    """Write the frames of a film as pictures.

    Parameters
    ----------
    folder : str or path
        Created if it does not exist.
    names : sequence of str
        File name of each frame.
    frames : iterable of (Fraction, ndarray)

    Raises
    ------
    DataError, ImageError
        If a picture cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be created ({error.strerror}); choose another folder.") from error
    for name, (_, picture) in zip(names, frames, strict=True):
        write_image(Path(folder) / name, picture)


def write_film(
    output: str | os.PathLike,
    frames: Iterable[PaintedFrame],
    rate: Fraction,
    shape: tuple[int, int],
    sound: Sound | None = None,
) -> None:
    """Encode a film; the file is written whole or not at all.

    Parameters
    ----------
    output : str or path
        With one of the suffixes in `FORMATS`.
    frames : iterable of (Fraction, ndarray)
    rate : Fraction
        Average number of frames per second; each frame is shown at its own time.
    shape : tuple of int
        (height, width) of the frames; an odd side is extended by a pixel where the format needs an even one.
    sound : Sound, optional
        Copied, or encoded again if the format cannot hold it.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    format = FORMATS[Path(output).suffix.lower()]
    av = pyav()
    try:
        with (
            replacing(output) as file,
            av.open(file.name, "w", format=format.muxer, container_options=format.container_options) as container,
        ):
            _encode(container, format, frames, rate, shape, sound)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{output} cannot be written ({getattr(error, 'strerror', None) or error}).") from error


def _encode(
    container: av.container.OutputContainer,
    format: Format,
    frames: Iterable[PaintedFrame],
    rate: Fraction,
    shape: tuple[int, int],
    sound: Sound | None,
) -> None:
    stream = cast("av.VideoStream", container.add_stream(format.codec, rate=rate, options=format.options))
    height, width = (side + (side % 2 if format.even else 0) for side in shape)
    stream.width, stream.height, stream.pix_fmt = width, height, format.pixels
    stream.codec_context.time_base = format.tick
    if format.pixels.startswith("yuv"):
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
    with _Track(container, format, sound) as track:
        last = -1
        for time, picture in frames:
            frame = _frame(picture, format, (height, width))
            # Two frames must not fall on one tick.
            last = max(round(time / format.tick), last + 1)
            frame.pts, frame.time_base = last, format.tick
            container.mux(stream.encode(frame))
            track.mux_until(time)
        container.mux(stream.encode(None))
        track.mux_until(None)


def _frame(picture: np.ndarray, format: Format, shape: tuple[int, int]) -> av.VideoFrame:
    """A frame in the pixel format of the encoder."""
    av = pyav()
    pixels = quantise(picture, np.uint8)
    missing = [(0, side - had) for side, had in zip(shape, pixels.shape, strict=False)]
    pixels = np.pad(pixels, [*missing, (0, 0)], mode="edge")
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    if format.pixels == "pal8":
        return _with_palette(frame)
    if format.pixels.startswith("yuv"):
        # The conversion chooses the matrix of BT.709, which is what the stream states.
        return frame.reformat(format=format.pixels, dst_colorspace=BT709, dst_color_range=LIMITED)
    return frame.reformat(format=format.pixels)


def _with_palette(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame with a palette of its own, and error diffusion."""
    av = pyav()
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 100))
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use, sink = graph.add("paletteuse", "new=1:dither=sierra2_4a"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    frame.pts = 0
    graph.push(frame)
    graph.push(None)
    return graph.pull()


class _Track:
    """The sound of a film, muxed as the frames are."""

    def __init__(self, container: av.container.OutputContainer, format: Format, sound: Sound | None) -> None:
        self._container = container
        self._sound = sound
        self._source: av.container.InputContainer | None = None
        self._packets: Iterator[tuple[Fraction, av.Packet]] = iter(())
        self._next: tuple[Fraction, av.Packet] | None = None
        if sound is None or format.sound is None:
            return
        self._source = pyav().open(sound.path)
        if self._source.streams.audio:
            self._packets = self._copied() if self._can_copy() else self._encoded(format.sound)
            self._next = next(self._packets, None)

    def __enter__(self) -> _Track:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._source is not None:
            self._source.close()

    def mux_until(self, time: Fraction | None) -> None:
        """Mux the sound up to a time of the output; all of it if the time is None."""
        while self._next is not None and (time is None or self._next[0] <= time):
            self._container.mux(self._next[1])
            self._next = next(self._packets, None)

    def _can_copy(self) -> bool:
        assert self._source is not None
        name = self._source.streams.audio[0].codec_context.codec.canonical_name
        muxer = self._container.format.name
        # Muxers accept more in a file than players do.
        return name in {"mp4": ("aac", "mp3", "alac"), "webm": ("opus", "vorbis")}.get(muxer, (name,))

    def _copied(self) -> Iterator[tuple[Fraction, av.Packet]]:
        """The packets of the part, moved to the start."""
        assert self._source is not None and self._sound is not None
        stream = self._source.streams.audio[0]
        target = self._container.add_stream_from_template(stream)
        for packet in self._source.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            time = packet.pts * packet.time_base
            if self._sound.start <= time < self._sound.stop:
                shift = round(self._sound.start / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                packet.stream = target
                yield time - self._sound.start, packet

    def _encoded(self, codec: str) -> Iterator[tuple[Fraction, av.Packet]]:
        """The sound of the part, encoded again."""
        assert self._source is not None and self._sound is not None
        stream = self._source.streams.audio[0]
        rate = 48000
        target = cast("av.AudioStream", self._container.add_stream(codec, rate=rate))
        resampler = pyav().AudioResampler(format=target.format, layout="stereo", rate=rate)
        position = 0
        for decoded in self._source.decode(stream):
            if decoded.time is None or not self._sound.start <= decoded.time < self._sound.stop:
                continue
            for frame in resampler.resample(decoded):
                frame.pts, frame.time_base = position, Fraction(1, rate)
                position += frame.samples
                for packet in target.encode(frame):
                    yield Fraction(position, rate), packet
        for packet in target.encode(None):
            yield Fraction(position, rate), packet
