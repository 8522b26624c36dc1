"""Small films for the tests of this folder."""

from fractions import Fraction

import av
import numpy as np

from stylecore.pictures.arrays import quantise
from stylecore.video.flow import warp


def scene(count=6, shape=(48, 64), seed=0, step=1):
    """Frames of a camera that moves over a texture, (H, W, 3) float32."""
    height, width = shape
    rng = np.random.default_rng(seed)
    noise = np.kron(rng.random((height // 8 + 2, (width + step * count) // 8 + 2, 3)), np.ones((8, 8, 1)))
    texture = warp(noise, np.full((*noise.shape[:2], 2), 0.5), order=3).clip(0, 1).astype(np.float32)
    return [texture[4 : 4 + height, step * i : step * i + width] for i in range(count)]


def write_film(path, frames, *, times=None, codec="libx264", pixels="yuv444p", options=None, sound=None, **stream):
    """Encode a film with PyAV itself; `stream` are attributes of its video stream."""
    options = {"crf": "4"} if options is None and codec == "libx264" else options or {}
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=10, options=options)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = pixels
        video.codec_context.time_base = Fraction(1, 1000)
        for name, value in stream.items():
            setattr(video if hasattr(type(video), name) else video.codec_context, name, value)
        audio = container.add_stream(sound, rate=48000) if sound else None
        for i, picture in enumerate(frames):
            pixels8 = picture if picture.dtype != np.float32 else quantise(picture, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels8, format="rgb24" if pixels8.dtype == np.uint8 else "rgb48le")
            frame = frame.reformat(format=pixels, dst_colorspace=stream.get("colorspace", 5))
            frame.pts, frame.time_base = round(1000 * (i / 10 if times is None else times[i])), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            length = len(frames) / 10 if times is None else times[-1] + 0.1
            _add_tone(container, audio, round(48000 * length))


def _add_tone(container, audio, samples):
    tone = (0.3 * np.sin(np.arange(samples) * 2 * np.pi * 440 / 48000)).astype(np.float32)
    for begin in range(0, samples, 1024):
        frame = av.AudioFrame.from_ndarray(
            tone[None, begin : begin + 1024].repeat(2, 0), format="fltp", layout="stereo"
        )
        frame.rate, frame.pts, frame.time_base = 48000, begin, Fraction(1, 48000)
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def read_film(path):
    """Times and pixels (H, W, 3) uint8 of the frames of a film."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]
