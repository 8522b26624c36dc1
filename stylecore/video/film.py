"""Style transfer for films: a film with the content of one film and the style of one image, or of several."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import pairwise
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stylecore.errors import DataError, ParameterError
from stylecore.files import InUseError, locked
from stylecore.network import load_network
from stylecore.pictures import colour as colours
from stylecore.pictures.geometry import crop, fit, resize, shape_for
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import check_output, write_image
from stylecore.regions import NOT, read_styles
from stylecore.settings import Settings, describe
from stylecore.video import shots as cuts
from stylecore.video.flow import opencv
from stylecore.video.frames import Frames, Shots, numbers
from stylecore.video.outputs import Sound, check_film_output, format_of, write_film, write_folder
from stylecore.video.painting import (
    Look,
    MaskFilm,
    check_flows,
    paint_alone,
    paint_shot,
)
from stylecore.video.settings import FilmSettings
from stylecore.video.sources import FilmError, FilmFile, Frame, FrameFolder, Source, open_source, selected

SHEET_FRAMES = 12
"""Largest number of frames on the sheet of a film."""

PREVIEW_FRAMES = 24
"""Largest number of frames on the preview of a film."""

# Suffixes of the masks of regions that are films, and not pictures.
_FILMS = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".gif")


@dataclass(frozen=True)
class PaintedFrame:
    """Progress of a film, which callbacks are given after each frame.

    Attributes
    ----------
    number : int
        Of the frames painted so far, in all runs; from 1.
    count : int
        Frames to paint in all runs.
    frame : int
        Index of the frame, from 0.
    seconds : float
        Since the start of the painting.
    seconds_left : float
        Predicted from the frames that were painted since then.
    """

    number: int
    count: int
    frame: int
    seconds: float
    seconds_left: float


Callback = Callable[[PaintedFrame, np.ndarray], Any]
"""Called as ``callback(painted, picture)`` after each frame; a true value ends the work."""


@dataclass(frozen=True)
class FilmResult:
    """A painted film.

    Attributes
    ----------
    path : Path
        The film or the folder of pictures.
    folder : Path
        The working folder, which is left only if the work was stopped.
    frames : int
        Number of frames in it.
    shots : list of (int, int)
        Index of the first frame of each shot, and the index after its last.
    seconds : float
        Time that the whole work took.
    settings : dict
        The record of the run: version, inputs and all settings.
    stopped : bool
        Whether the callback ended the work early; there is no film then, and the painted frames are kept.
    """

    path: Path
    folder: Path
    frames: int
    shots: list[tuple[int, int]]
    seconds: float
    settings: dict[str, Any]
    stopped: bool = False


def transfer_video(
    source: str | os.PathLike,
    style: Any,
    output: str | os.PathLike,
    *,
    callback: Callback | None = None,
    progress: bool = False,
    sheet: str | os.PathLike | None = None,
    preview: str | os.PathLike | None = None,
    client: Any = None,
    **settings: Any,
) -> FilmResult:
    """Paint a film in the style of an image, or of several, without flicker.

    The frames are painted into the folder `output` with ``.frames`` appended, which is deleted when the film is
    complete. If the work is interrupted, the same call continues it, and the film is bit for bit that of an
    uninterrupted run.

    Parameters
    ----------
    source : str or path
        A film of any format that FFmpeg decodes, or a folder of numbered pictures.
    style : path, binary stream, PIL image or array, or list or tuple of these
        As in `stylecore.transfer`.
    output : str or path
        A film that ends in .mp4 (H.264), .webm (VP9), .mkv (FFV1, lossless), .gif, .webp or .png (animated), with the
        sound of the source if the format has sound; or, without a suffix, a folder for numbered pictures.
    callback : callable, optional
        Called as ``callback(painted, picture)`` after each frame, with a `PaintedFrame` and its picture (H, W, 3). The
        work ends early when it returns a true value.
    progress : bool
        Whether to show progress bars.
    sheet : str or path, optional
        Picture to write: a dozen frames of the result beside those of the source.
    preview : str or path, optional
        Picture to write before the film is painted: one frame per second, each painted alone.
    client : object, optional
        Has ``submit(function, *arguments)``, which returns a future, such as a `dask.distributed.Client` or a
        `concurrent.futures.ProcessPoolExecutor` that spawns its processes. The shots are then painted by its workers,
        which must see the same files.
    **settings
        The fields of `stylecore.settings.Settings`, except `init` other than "content" and "noise"; and those of
        `stylecore.video.settings.FilmSettings`. In `regions`, the mask of the source may be a film itself, or a folder
        of numbered pictures, with a frame for each frame of the source. ``iterations`` are those of the first frame of
        each shot.

    Returns
    -------
    FilmResult

    Raises
    ------
    DataError
        If the film cannot be read or written, or the folder of frames belongs to another run.
    ImageError
        If a style image or a mask cannot be read.
    ParameterError
        If a setting is not known or out of its range, or a package is not installed.
    StylecoreError
        As in `stylecore.transfer`.

    References
    ----------
    Ruder, Dosovitskiy and Brox (2016), "Artistic style transfer for videos", GCPR.
    """
    begin = time.monotonic()
    chosen, film_settings = _split(settings)
    opencv()
    film = open_source(source)
    output = Path(output)
    styles, opacities = read_styles(style)
    chosen.blend(len(styles))
    first = next(iter(selected(film, film_settings.start, film_settings.stop, 1)), None)
    if first is None:
        raise DataError(f"{film.name} has no frame after {film_settings.start:g} s; start earlier.")
    shape = shape_for(chosen.size, first.pixels.shape)
    _check_outputs(film, output, shape, sheet, preview)
    regions, masks = _mask_films(chosen.regions)
    look = Look(chosen, film_settings, styles, opacities, regions, shape)
    loaded = _loaded(look)
    record = _record(film, masks, style, look)
    folder = output.with_name(output.name + ".frames")
    frames = Frames(folder, record)
    try:
        with locked(folder), _removing_unless_begun(frames):
            known = frames.shots or _read(frames, film, masks, look, progress)
            if preview is not None and not frames.are_begun:
                write_image(preview, _preview(frames, known, loaded))
            with _Watch(frames, known, look, callback, progress) as watch:
                _paint(frames, known, loaded if client is None else look, watch, client)
            if not watch.stopped:
                with frames.keeping():
                    _write(frames, known, look, film, output)
                    if sheet is not None:
                        write_image(sheet, _sheet(frames, known, look))
    except InUseError as error:
        raise DataError(f"{output} is being painted by another process ({error.strerror}); wait for it.") from error
    if not watch.stopped:
        frames.remove()
    return FilmResult(output, folder, len(known.times), known.shots, time.monotonic() - begin, record, watch.stopped)


def _loaded(look: Look) -> Look:
    """The same with its network loaded, once for all shots, after checking that the frames are large enough for it."""
    chosen = look.settings
    network = load_network(chosen.network, chosen.device, chosen.pooling, chosen.dtype, chosen.layers)
    network.check_layers(chosen.layers)
    network.check_size(*look.shape, chosen.layers)
    return replace(look, settings=replace(chosen, network=network))


@contextmanager
def _removing_unless_begun(frames: Frames) -> Iterator[None]:
    """Delete the working folder if the work fails, or is interrupted, before a frame has been painted."""
    try:
        yield
    except BaseException:
        if not frames.are_begun:
            frames.remove()
        raise


def _record(film: Source, masks: list[Source], style: Any, look: Look) -> dict[str, Any]:
    """What determines the frames: settings and inputs."""
    return {
        **describe(film.name, style, look.settings),
        **look.film.to_json(),
        "film": _identity(film.paths),
        "masks": [_identity(mask.paths) for mask in masks],
        "styles": [hashlib.sha256(each.tobytes()).hexdigest()[:16] for each in look.styles],
    }


def _split(given: dict[str, Any]) -> tuple[Settings, FilmSettings]:
    """Settings of the pictures and of the film, from keywords."""
    own = {each.name for each in fields(FilmSettings)}
    pictures = {name: value for name, value in given.items() if name not in own}
    if "init" in pictures and not (isinstance(pictures["init"], str) and pictures["init"] in ("content", "noise")):
        raise ParameterError(
            'init of a film must be "content" or "noise"; each later frame starts from those before it.'
        )
    if pictures.get("method", Settings.method) != Settings.method:
        raise ParameterError(f'a film is painted by method "{Settings.method}" only; leave method out.')
    chosen = Settings.of(pictures).with_layers()
    return chosen, FilmSettings(**{name: value for name, value in given.items() if name in own})


def _check_outputs(
    film: Source,
    output: Path,
    shape: tuple[int, int],
    sheet: str | os.PathLike | None,
    preview: str | os.PathLike | None,
) -> None:
    check_film_output(output, shape)
    for picture in (sheet, preview):
        if picture is not None:
            check_output(picture)
    written = [os.path.realpath(each) for each in (output, sheet, preview) if each is not None]
    if os.path.realpath(film.name) in written:
        raise ParameterError(f"{film.name} is the film to read; choose another name for the output.")
    for i, path in enumerate(written):
        if path in written[:i]:
            raise ParameterError(f"{path} would be written twice; choose different names for film, sheet and preview.")


def _identity(paths: Iterable[Path]) -> str:
    """What changes when one of some files is replaced: their names, sizes and times."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


# Reading


def _mask_films(regions: Any) -> tuple[list | None, list[Source]]:
    """The regions with a `MaskFilm` for each mask that is a film; and these films."""
    if regions is None:
        return None, []
    films: list[Source] = []
    changed = []
    for region in regions:
        region = list(region)
        mask = region[0] if region else None
        if isinstance(mask, str | os.PathLike):
            path = os.fspath(mask)
            inverse = path.startswith(NOT)
            path = path.removeprefix(NOT)
            if os.path.isdir(path) or (os.path.isfile(path) and Path(path).suffix.lower() in _FILMS):
                region[0] = MaskFilm(len(films), inverse)
                films.append(open_source(path))
        changed.append(region)
    return changed, films


def _read(frames: Frames, film: Source, masks: list[Source], look: Look, progress: bool) -> Shots:
    """Read a film into the working folder, and check that it can be painted."""
    known = _read_frames(frames, film, masks, look.film, look.shape, progress)
    if look.film.flow is not None:
        check_flows(look.film.flow, known.numbers, known.shape)
    _check_space(frames.folder, len(known.times), look.shape)
    frames.finish_reading(known)
    return known


def _read_frames(
    frames: Frames, film: Source, masks: list[Source], settings: FilmSettings, shape: tuple[int, int], progress: bool
) -> Shots:
    """Read the selected frames into the working folder, and find the shots."""
    times: list[Fraction] = []
    chosen: list[int] = []
    begins: list[int] = []
    size, previous = (0, 0), None
    mask_frames = [selected(mask, settings.start, settings.stop, settings.every) for mask in masks]
    part = settings.start or settings.stop is not None or settings.every > 1
    try:
        with tqdm(desc="reading", unit=" frames", total=None if part else film.count, disable=not progress) as bar:
            for i, frame in enumerate(selected(film, settings.start, settings.stop, settings.every)):
                picture = frame.pixels / np.float32(255)
                small = cuts.small(picture)
                if previous is None or cuts.is_cut(previous, small):
                    begins.append(i)
                size, previous = picture.shape[:2], small
                frames.add(i, _stored(picture, shape))
                for number, (mask, source) in enumerate(zip(mask_frames, masks, strict=True)):
                    frames.add(i, _mask_frame(mask, source, i), number)
                times.append(frame.time)
                chosen.append(frame.number)
                bar.update()
    except FilmError as error:
        if len(times) < 2:
            raise
        if not settings.keep_going:
            raise DataError(f"{error} Its first {len(times)} frames can be read; keep_going paints them.") from error
        warnings.warn(f"{error} The {len(times)} frames before are painted.", stacklevel=4)
    if len(times) < 2:
        raise DataError(f"{film.name} has only one frame there; paint it as a picture, with `stylecore transfer`.")
    return Shots(times, chosen, list(pairwise([*begins, len(times)])), size)


def _stored(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A frame as it is kept: cropped, and at most twice as large as the result, which the flow is estimated from."""
    picture = crop(picture, shape)
    limit = 2 * max(shape)
    return resize(picture, fit(picture.shape, limit)) if max(picture.shape[:2]) > limit else picture


def _mask_frame(mask: Iterator[Frame], source: Source, i: int) -> np.ndarray:
    frame = next(mask, None)
    if frame is None:
        raise DataError(f"{source.name} ends before frame {i + 1}; a mask film needs a frame for each of the film.")
    return frame.pixels / np.float32(255)


def _check_space(folder: Path, count: int, shape: tuple[int, int]) -> None:
    """Refuse to begin if the painted frames, at 16 bits per channel, cannot fit onto the disk."""
    needed, free = 6 * count * shape[0] * shape[1], shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the frames need {needed / 2**30:.1f} GB in {folder}, and {free / 2**30:.1f} GB are free; free some "
            "space, or choose another output."
        )


# Painting


class _Watch:
    """Shows the progress of the painting, and calls the user's callback after each frame that was not painted yet."""

    def __init__(self, frames: Frames, known: Shots, look: Look, callback: Callback | None, progress: bool) -> None:
        self.stopped = False
        self._frames, self._look, self._callback = frames, look, callback
        runs = range(1, look.film.passes + 1)
        self._count = len(runs) * len(known.times)
        self._former = sum(frames.is_painted(i, run) for run in runs for i in range(len(known.times)))
        self._number = self._former
        self._begin = time.monotonic()
        bar = {"desc": "painting", "unit": " frames", "total": self._count, "initial": self._former}
        self._bar = tqdm(**bar, disable=not progress)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def __call__(self, i: int, run: int) -> bool:
        """Count a frame; True if the work is to end."""
        self._number += 1
        self._bar.update()
        if self._callback is not None:
            seconds = time.monotonic() - self._begin
            left = seconds / (self._number - self._former) * (self._count - self._number)
            painted = PaintedFrame(self._number, self._count, i, seconds, left)
            self.stopped = bool(self._callback(painted, _finished(self._frames, self._look, i, run)))
        return self.stopped


def _paint(frames: Frames, known: Shots, look: Look, watch: _Watch, client: Any) -> None:
    """Paint all shots, one after the other or by the workers of a client."""
    if client is None:
        for shot in known.shots:
            if not watch.stopped:
                paint_shot(frames, known, shot, look, watch)
        return
    runs = range(1, look.film.passes + 1)
    missing = [
        [(i, run) for run in runs for i in range(*shot) if not frames.is_painted(i, run)] for shot in known.shots
    ]
    result_of: Callable[[Any], Any] = methodcaller("result")
    submitting: AbstractContextManager = nullcontext()
    if hasattr(client, "scheduler_info"):  # Of Dask.
        from stylecore.cluster import prepare, reporting, result_of

        prepare(client)
        submitting = reporting()
    with submitting:
        futures = [client.submit(paint_shot, frames, known, shot, look) for shot in known.shots]
    try:
        for future, painted in zip(futures, missing, strict=True):
            result_of(future)
            stopping = [watch(i, run) for i, run in painted]  # All are counted.
            if any(stopping):
                return
    finally:
        for future in futures:
            with suppress(Exception):  # The cluster may be gone.
                future.cancel()


def _finished(frames: Frames, look: Look, i: int, run: int) -> np.ndarray:
    """A painted frame with the colours that it will have in the film."""
    content = resize(frames.source(i), look.shape)
    return colours.restore(look.settings.colour, frames.painted(i, run), content)


def _preview(frames: Frames, known: Shots, look: Look) -> np.ndarray:
    """A sheet with one frame per second, each painted alone."""
    seconds = {int(time - known.times[0]): i for i, time in reversed(list(enumerate(known.times)))}
    indices = [seconds[second] for second in sorted(seconds)]
    indices = [indices[k] for k in numbers(len(indices), PREVIEW_FRAMES)]
    pictures = [paint_alone(frames, known, i, look) for i in indices]
    return contact_sheet(pictures, [f"{float(known.times[i]):.1f} s" for i in indices], 256, columns=4)


# Writing


def _write(frames: Frames, known: Shots, look: Look, film: Source, output: Path) -> None:
    pictures = (_finished(frames, look, i, look.film.passes) for i in range(len(known.times)))
    write_painted(output, film, known.numbers, known.times, pictures, look.shape, film.rate / look.film.every)


def write_painted(
    output: str | os.PathLike[str],
    film: Source,
    frame_numbers: Sequence[int],
    times: Sequence[Fraction],
    pictures: Iterable[np.ndarray],
    shape: tuple[int, int],
    rate: Fraction,
) -> None:
    """Write painted frames as a film with the sound of the original, or as a folder of pictures.

    Parameters
    ----------
    output : str or path
        See `stylecore.video.outputs.format_of`.
    film : Source
        That the frames are of.
    frame_numbers : sequence of int
        Of the frames in the film.
    times : sequence of Fraction
        When they are shown there, in seconds.
    pictures : iterable of ndarray, (H, W, 3)
        The painted frames.
    shape : tuple of int
        (height, width) of the painted frames.
    rate : Fraction
        Average number of frames per second.

    Raises
    ------
    DataError, ImageError
        If they cannot be written.

    Warns
    -----
    UserWarning
        If the film has sound and the format does not.
    """
    painted = ((at - times[0], picture) for at, picture in zip(times, pictures, strict=True))
    format = format_of(output)
    if format is None:
        names = (
            [f"{film.files[number].stem}.png" for number in frame_numbers]
            if isinstance(film, FrameFolder)
            else [f"frame_{number:06d}.png" for number in frame_numbers]
        )
        write_folder(output, names, painted)
        return
    sound = None
    if isinstance(film, FilmFile) and film.has_sound:
        sound = Sound(film.name, film.begin + times[0], film.begin + times[-1] + 1 / rate)
        if format.sound is None:
            warnings.warn(f"{output} has no sound, which its format cannot hold; .mp4 can.", stacklevel=3)
    write_film(output, painted, rate, shape, sound)


def _sheet(frames: Frames, known: Shots, look: Look) -> np.ndarray:
    """A sheet of frames of the result beside those of the source."""
    pictures, labels = [], []
    for i in numbers(len(known.times), SHEET_FRAMES):
        content = resize(frames.source(i), look.shape)
        pictures += [content, _finished(frames, look, i, look.film.passes)]
        labels += [f"frame {i + 1}, {float(known.times[i]):.2f} s", "painted"]
    return contact_sheet(pictures, labels, 192, columns=4)
