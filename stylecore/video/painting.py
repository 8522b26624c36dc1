"""Painting the shots of a film: each frame from those before it, so that the film does not flicker.

The first frame of a shot is painted as a picture. Each later frame starts from the result for the frames before it,
warped along the optical flow, and its loss has a further term that keeps it there wherever the flow is reliable. It
therefore needs a fraction of the evaluations.

References
----------
Ruder, Dosovitskiy and Brox (2016), "Artistic style transfer for videos".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from stylecore._transfer import objective_at, paint
from stylecore.errors import DataError
from stylecore.inputs import Inputs
from stylecore.losses import TemporalLoss
from stylecore.network import load_network
from stylecore.objective import Objective
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures import colour as colours
from stylecore.pictures.arrays import quantise
from stylecore.pictures.geometry import crop, resize
from stylecore.pictures.tones import suited_style_weight
from stylecore.regions import NOT, Region, area_average, crop_regions, read_regions
from stylecore.settings import Settings
from stylecore.video.flow import compose, consistency, optical_flow, read_flow, resize_flow, warp
from stylecore.video.frames import Frames, Shots
from stylecore.video.settings import FilmSettings

Done = Callable[[int, int], Any]
"""Called as ``done(frame, run)``; see `paint_shot`."""

# A frame starts near its result, so that its first step must be far shorter than that of a picture.
FIRST_STEP = 0.001

# Evaluations at half the size, which paint what no earlier frame shows, relative to those at the full size; and the
# share of the picture below which they are left out.
HALF_SIZE_SHARE = 1.6
UNSEEN_SHARE = 0.002

# A frame much of which no earlier frame shows needs more evaluations: this many times as many for each share of the
# picture beyond the first, but at most `MOST_TIMES` as many. In a pair of frames with a share of 0.16 that was new, 3.6
# times as many reached the loss of a picture, and with 0.05, 1.2 times.
MUCH_UNSEEN, TIMES_PER_SHARE, MOST_TIMES = 0.04, 22.0, 4.0

# A pixel is still if its colour changes by less than the first limit, in [0, 1], and its flow is below the second, in
# pixels of the result; up to twice these, it is partly still. Both are smoothed with these standard deviations, since
# films have noise, and flows of surfaces without texture do. Still pixels keep their colour: otherwise, the
# optimisation of every frame adds to a drift, which changed the background of a film by 10 of 255 in 75 frames.
STILL_CHANGE, STILL_FLOW = 6 / 255, 0.75
CHANGE_SIGMA, FLOW_SIGMA = 1.5, 4.0

# In later runs over the film, the weight of the neighbour's result in the start, against that of the run before.
NEIGHBOUR_SHARE = 0.5


class MaskFilm(NamedTuple):
    """A mask that changes with the frames, in place of the path of a mask.

    Attributes
    ----------
    number : int
        Of the mask film in the working folder.
    inverse : bool
        Whether the mask is inverted.
    """

    number: int
    inverse: bool


@dataclass(frozen=True)
class Look:
    """What the frames of a film are painted with.

    Attributes
    ----------
    settings : Settings
        With layers; its regions are not used.
    film : FilmSettings
    styles : list of ndarray, (h, w, 3)
    opacities : list of ndarray, (h, w), or None
    regions : list or None
        As the setting, with a `MaskFilm` where the content's mask is a film.
    shape : tuple of int
        (height, width) of the painted frames.
    """

    settings: Settings
    film: FilmSettings
    styles: list[np.ndarray]
    opacities: list[np.ndarray | None]
    regions: list | None
    shape: tuple[int, int]


def paint_shot(frames: Frames, shots: Shots, shot: tuple[int, int], look: Look, done: Done | None = None) -> None:
    """Paint a shot; shots do not depend on each other.

    Parameters
    ----------
    frames : Frames
    shots : Shots
    shot : (int, int)
        Index of its first frame, and the index after its last.
    look : Look
    done : callable, optional
        Called as ``done(frame, run)`` after each frame that was not painted yet, with its index and the number of the
        run over the shot; a true value ends the work.

    Raises
    ------
    StylecoreError
        As in `transfer_video`.
    """
    painter = _ShotPainter(frames, shots, shot, look)
    for run in range(1, look.film.passes + 1):
        step = 1 if run % 2 else -1
        for i in range(*shot)[::step]:
            if frames.is_painted(i, run):
                continue
            frames.save(i, run, painter.paint(i, run, step))
            if done is not None and done(i, run):
                return


def paint_alone(frames: Frames, shots: Shots, i: int, look: Look) -> np.ndarray:
    """Paint one frame of a film as a picture.

    Parameters
    ----------
    frames : Frames
    shots : Shots
    i : int
        Index of the frame.
    look : Look

    Returns
    -------
    ndarray, (H, W, 3)
        sRGB in [0, 1].
    """
    picture = _ShotPainter(frames, shots, (i, i + 1), look).paint(i, 1, 1)
    return colours.restore(look.settings.colour, picture, resize(frames.source(i), look.shape))


class _Earlier(NamedTuple):
    """The results for earlier frames, warped to a frame.

    Attributes
    ----------
    target : ndarray, (H, W, 3)
        Their mean.
    weights : ndarray, (H, W)
        How reliably each pixel is seen in one of them, in [0, 1].
    still : ndarray, (H, W)
        How still the film is there, in [0, 1].
    """

    target: np.ndarray
    weights: np.ndarray
    still: np.ndarray


class _ShotPainter:
    """Paints the frames of a shot, one by one; see `paint_shot`."""

    def __init__(self, frames: Frames, shots: Shots, shot: tuple[int, int], look: Look) -> None:
        self._frames, self._shots, self._shot, self._look = frames, shots, shot, look
        # A frame is needed with each of the others; more than these are not kept.
        self._source = lru_cache(maxsize=1 + len(look.film.long_term))(frames.source)
        self._flows = Flows(self._source, shots.numbers, look.shape, look.film.flow)
        settings = look.settings
        network = load_network(settings.network, settings.device, settings.pooling, settings.dtype, settings.layers)
        first = self._film(shot[0])
        # Once for the whole shot, since a palette that follows each frame would flicker.
        seen, self._styles = colours.prepare(settings.colour, first, look.styles, style_alphas=look.opacities)
        self._grey = all(colours.is_grey(picture) for picture in (seen, *self._styles))
        weight = suited_style_weight(settings.style_weight, self._styles, look.opacities)
        # The film's colours are restored in the end, not in the frames that later ones start from.
        self._settings = replace(settings, network=network, style_weight=weight, colour="style")
        self._static_regions = None if self._masks_move() else self._read_regions(shot[0])
        self._objectives: dict[tuple[int, int], Objective] = {}

    def paint(self, i: int, run: int, step: int) -> np.ndarray:
        """Paint a frame, whose neighbours in the direction of the run, `step`, have been painted."""
        earlier = self._earlier(i, run, step)
        if run > 1:
            before = self._frames.painted(i, run - 1)
            if earlier is None:
                return before
            return self._follow(i, earlier, _mixed(earlier.target, before, NEIGHBOUR_SHARE * earlier.weights))
        if earlier is None:
            return paint(self._inputs(i), self._settings).array
        return self._follow(i, earlier, _mixed(earlier.target, self._filling(i, earlier), earlier.weights))

    def _follow(self, i: int, earlier: _Earlier, start: np.ndarray) -> np.ndarray:
        unseen = 1 - float(earlier.weights.mean())
        times = min(1 + TIMES_PER_SHARE * max(unseen - MUCH_UNSEEN, 0), MOST_TIMES)
        count = round(times * self._look.film.frame_iterations)
        temporal = TemporalLoss(earlier.target, earlier.weights)
        picture = self._minimize(i, self._regions(i), temporal, start, count)
        return _mixed(earlier.target, picture, earlier.still)

    def _filling(self, i: int, earlier: _Earlier) -> np.ndarray:
        """A picture for what no earlier frame shows: the frame itself, painted at half the size if that is possible.

        The style is compared there only. In the whole picture, most of which has the style already, such a part would
        have hardly any effect on the Gram matrices, and would stay as it is in the film.
        """
        seen, unseen = self._seen(i), 1 - earlier.weights
        half = max(1, seen.shape[0] // 2), max(1, seen.shape[1] // 2)
        regions = _within(self._regions(i), unseen)
        if not regions or min(half) < 4 * self._settings.network.smallest_size(self._settings.layers):
            return seen
        temporal = TemporalLoss(resize(earlier.target, half), resize(earlier.weights, half))
        start = resize(_mixed(earlier.target, seen, earlier.weights), half)
        count = round(HALF_SIZE_SHARE * self._look.film.frame_iterations)
        return resize(self._minimize(i, regions, temporal, start, count), seen.shape)

    def _minimize(
        self, i: int, regions: list[Region], temporal: TemporalLoss, start: np.ndarray, evaluations: int
    ) -> np.ndarray:
        shape = start.shape[:2]
        if shape not in self._objectives:
            self._objectives[shape] = objective_at(shape, self._inputs(i), self._settings, self._settings.network)
        weight = self._look.film.temporal_weight
        objective = self._objectives[shape].for_frame(self._seen(i), regions, temporal, weight)
        optimizer = OPTIMIZERS[self._settings.optimizer](start, evaluations, first_step=FIRST_STEP)
        optimizer.run(objective)
        return optimizer.image

    def _earlier(self, i: int, run: int, step: int) -> _Earlier | None:
        """The results for earlier frames, as frame i sees them; None for the first frame of a run.

        Each pixel is taken from the nearest frame that sees it: the weight of a frame is what the nearer ones leave of
        its consistency (Ruder et al., equation 10). The sum of the squared distances from the warped results, each with
        its weight, is that from their mean with the sum of the weights, up to a constant.
        """
        target = np.zeros((*self._look.shape, 3), np.float32)
        total, still = np.zeros((2, *self._look.shape), np.float32)
        known = np.ones(self._look.shape, np.float32)
        others = [i - step * j for j in self._look.film.long_term if self._shot[0] <= i - step * j < self._shot[1]]
        for k in others:
            flow, back = self._flows.between(i, k), self._flows.between(k, i)
            seen = resize(consistency(flow, back), total.shape)
            flow = resize_flow(flow, total.shape)
            part = self._stillness(i, k, flow)
            seen = np.maximum(seen, part)
            known *= seen
            weight = np.maximum(seen - total, 0)
            # Without the small errors of the flow, by which a still picture would be blurred a little in every frame.
            warped = warp(self._frames.painted(k, run), flow * (1 - part)[:, :, None], order=3)
            target += weight[:, :, None] * warped.clip(0, 1)
            total += weight
            still += weight * part
        if not others:
            return None
        # What appeared lately is not finished, so it must not be kept as it is.
        return _Earlier(target / np.maximum(total, 1e-6)[:, :, None], total, still * known)

    def _stillness(self, i: int, k: int, flow: np.ndarray) -> np.ndarray:
        """How still each pixel is between frames i and k, (H, W) in [0, 1]."""
        change = scipy.ndimage.gaussian_filter(np.abs(self._film(i) - self._film(k)).max(axis=2), CHANGE_SIGMA)
        x, y = (scipy.ndimage.gaussian_filter(flow[:, :, c], FLOW_SIGMA) for c in (0, 1))
        return (2 - change / STILL_CHANGE).clip(0, 1) * (2 - np.hypot(x, y) / STILL_FLOW).clip(0, 1)

    def _film(self, i: int) -> np.ndarray:
        """Frame i of the film, at the size of the result."""
        return resize(self._source(i), self._look.shape)

    def _seen(self, i: int) -> np.ndarray:
        """Frame i as the network is given it, at the size of the result."""
        return colours.prepare(self._look.settings.colour, self._film(i), [])[0]

    def _inputs(self, i: int) -> Inputs:
        seen = self._seen(i)
        start = None if isinstance(self._settings.init, str) and self._settings.init == "noise" else seen
        return Inputs(
            shape=self._look.shape,
            content=seen,
            alpha=None,
            seen=seen,
            styles=self._styles,
            opacities=self._look.opacities,
            regions=self._regions(i),
            start=start,
            start_alpha=None,
            grey=self._grey,
            sources={"content": seen, "style": self._styles},
            names={"content": f"frame {i + 1}", "style": [f"style {k + 1}" for k in range(len(self._styles))]},
        )

    def _masks_move(self) -> bool:
        return any(isinstance(region[0], MaskFilm) for region in self._look.regions or ())

    def _regions(self, i: int) -> list[Region]:
        return self._read_regions(i) if self._static_regions is None else self._static_regions

    def _read_regions(self, i: int) -> list[Region]:
        given = self._look.regions
        if given is not None:
            given = [[self._mask(region[0], i), *region[1:]] for region in given]
        film = np.broadcast_to(np.float32(0), (*self._shots.shape, 3))
        regions = read_regions(given, self._settings.labels, film, self._styles, self._look.opacities)
        return crop_regions(regions, self._look.shape)

    def _mask(self, mask: Any, i: int) -> Any:
        """The mask of a region in frame i."""
        if not isinstance(mask, MaskFilm):
            return mask
        return NOT * mask.inverse + str(self._frames.mask_path(i, mask.number))


def _within(regions: list[Region], part: np.ndarray) -> list[Region]:
    """The regions that have some of a part of the picture, (H, W), reduced to it."""
    masks = [part if each.mask is None else part * area_average(each.mask, part.shape) for each in regions]
    return [each._replace(mask=mask) for each, mask in zip(regions, masks, strict=True) if mask.mean() > UNSEEN_SHARE]


def _mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`share` times a, and the rest of b."""
    return b + share[:, :, None] * (a - b)


class Flows:
    """Flows between the frames of a film: estimated, or from a folder.

    Parameters
    ----------
    source : callable
        Returns a frame, (H, W, 3) sRGB in [0, 1], given its index.
    numbers : sequence of int
        Number of each frame in the film.
    shape : tuple of int
        (height, width) to whose aspect ratio the frames are cropped.
    folder : str or path, optional
        As `FilmSettings.flow`.
    """

    def __init__(
        self,
        source: Callable[[int], np.ndarray],
        numbers: Sequence[int],
        shape: tuple[int, int],
        folder: str | os.PathLike | None = None,
    ) -> None:
        self._source, self._numbers, self._shape = source, numbers, shape
        self._files = {} if folder is None else flow_files(folder)

    def between(self, i: int, k: int) -> np.ndarray:
        """Flow from frame i to frame k, (H, W, 2), at the size of the stored frames or of the files."""
        if not self._files:
            return optical_flow(*(quantise(self._source(each), np.uint8) for each in (i, k)))
        return crop(self._read(self._numbers[i], self._numbers[k]), self._shape)

    def _read(self, first: int, second: int) -> np.ndarray:
        if (first, second) in self._files or abs(second - first) == 1:
            return read_flow(self._files[first, second])
        nearer = second - (1 if second > first else -1)
        return compose(self._read(first, nearer), self._read(nearer, second))


def flow_files(folder: str | os.PathLike) -> dict[tuple[int, int], Path]:
    """The flows in a folder, by the numbers of the two frames.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    dict of (int, int) to Path

    Raises
    ------
    DataError
        If the folder cannot be read, or has no such file.
    """
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); name a folder of flows.") from error
    files = {}
    for path in paths:
        numbers = [int(digits) for digits in re.findall(r"\d+", path.stem)]
        if path.suffix.lower() == ".flo" and len(numbers) >= 2:
            files[numbers[-2], numbers[-1]] = path
    if not files:
        raise DataError(f"{folder} has no flows; they must be named such as flow_0001_to_0002.flo.")
    return files


def check_flows(folder: str | os.PathLike, numbers: Sequence[int], shape: tuple[int, int]) -> None:
    """Check that a folder has the flows between all consecutive frames, at the film's size, in both directions.

    Parameters
    ----------
    folder : str or path
    numbers : sequence of int
        Number of each painted frame in the film.
    shape : tuple of int
        (height, width) of the film.

    Raises
    ------
    DataError
        If a flow is missing, cannot be read, or has another size.
    """
    files = flow_files(folder)
    for number in range(min(numbers), max(numbers)):
        for pair in ((number, number + 1), (number + 1, number)):
            if pair not in files:
                raise DataError(f"{folder} has no flow from frame {pair[0]} to frame {pair[1]}; add it.")
            height, width = read_flow(files[pair]).shape[:2]
            if (height, width) != shape:
                raise DataError(
                    f"{files[pair]} is of {width} x {height} pixels, and the film of {shape[1]} x {shape[0]}; estimate "
                    "the flows on the film itself."
                )
