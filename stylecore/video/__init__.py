"""Films painted frame by frame without flicker: `transfer_video` (paper, section 7.1)."""

from stylecore.video.film import FilmResult, transfer_video

__all__ = ["FilmResult", "transfer_video"]
