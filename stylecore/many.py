"""Many pictures: a list of transfers, on this machine or on the workers of a Dask cluster."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stylecore._transfer import transfer
from stylecore.errors import ParameterError, StylecoreError
from stylecore.files import replacing
from stylecore.pictures.writing import check_output
from stylecore.settings import Settings
from stylecore.version import __version__

_JOB = ("content", "style", "output")


@dataclass(frozen=True)
class Made:
    """What became of one picture of `transfer_many`.

    Attributes
    ----------
    output : Path
    content, style : str or list of str
        The inputs' paths.
    settings : dict
        As given.
    state : {"made", "was there", "failed", "not begun"}
    error : str
        Why it failed; empty otherwise.
    seconds : float
        Time it took.
    loss : float or None
        Of the last evaluation.
    """

    output: Path
    content: Any
    style: Any
    settings: dict[str, Any]
    state: str = "not begun"
    error: str = ""
    seconds: float = 0.0
    loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields, with paths as strings."""
        return {
            "output": str(self.output),
            "content": _storable(self.content),
            "style": _storable(self.style),
            "settings": {name: _storable(value) for name, value in self.settings.items()},
            "state": self.state,
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "loss": self.loss,
        }


def transfer_many(
    jobs: Sequence[Mapping[str, Any]],
    *,
    client: Any = None,
    overwrite: bool = False,
    manifest: str | os.PathLike[str] | None = None,
    callback: Callable[[Made], Any] | None = None,
    progress: bool = False,
) -> list[Made]:
    """Make many pictures; one that fails does not end the others.

    Each is written whole or not at all, and those that are there already are skipped, so that the same call continues
    the work after it was interrupted.

    Parameters
    ----------
    jobs : sequence of mapping
        Each with the paths "content", "style" (or a list of paths) and "output"; and settings of `stylecore.transfer`.
    client : dask.distributed.Client, optional
        A Dask cluster, whose workers each make one picture at a time. They must see the same files.
    overwrite : bool
        Whether to make pictures whose output exists again.
    manifest : str or path, optional
        JSON file that records what was made with what, and what failed; it is replaced after each picture.
    callback : callable, optional
        Called as ``callback(made)`` after each picture; the work ends when it returns a true value.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of Made
        In the order of `jobs`.

    Raises
    ------
    ParameterError
        Before the work begins: if two jobs have the same output, a setting is not known or out of its range, or a job
        lacks one of its paths.
    ImageError
        Before the work begins: if an output cannot be written.
    StylecoreError
        If the cluster does not answer any more.

    Examples
    --------
    >>> import stylecore, tempfile
    >>> from stylecore.samples import PAINTING, PHOTOGRAPH
    >>> job = {"content": PHOTOGRAPH, "style": PAINTING, "size": 64, "iterations": 2, "network": "small"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = stylecore.transfer_many([{**job, "seed": i, "output": f"{folder}/{i}.png"} for i in range(2)])
    >>> [each.state for each in made]
    ['made', 'made']
    """
    made = [_checked(job) for job in jobs]
    _check_outputs(made)
    former = {} if manifest is None else _read_manifest(manifest)
    waiting = []
    for i, each in enumerate(made):
        if not overwrite and each.output.exists():
            known = former.get(str(each.output), {})
            made[i] = replace(each, state="was there", seconds=known.get("seconds", 0.0), loss=known.get("loss"))
        else:
            waiting.append(i)
    if manifest is not None:
        _write_manifest(manifest, made)
    run = _here(made, waiting) if client is None else _on_workers(client, made, waiting)
    with tqdm(total=len(made), initial=len(made) - len(waiting), unit="picture", disable=not progress) as bar:
        for i, result in run:
            made[i] = result
            bar.update()
            if manifest is not None:
                _write_manifest(manifest, made)
            if callback is not None and callback(result):
                break
    run.close()
    if manifest is not None:
        _write_manifest(manifest, made)
    return made


def _checked(job: Mapping[str, Any]) -> Made:
    for name in _JOB:
        if name not in job:
            raise ParameterError(f'a job has no "{name}"; give the paths of its content, style and output.')
    settings = {name: value for name, value in job.items() if name not in _JOB}
    Settings.of(settings)
    return Made(Path(job["output"]), job["content"], job["style"], settings)


def _check_outputs(made: Sequence[Made]) -> None:
    """Refuse outputs that are named twice, are inputs, or cannot be written."""
    seen: set[str] = set()
    inputs = {os.path.realpath(path) for each in made for path in _paths(each)}
    for each in made:
        place = os.path.realpath(each.output)
        if place in seen:
            raise ParameterError(f"{each.output} is the output of two jobs; give each its own.")
        if place in inputs:
            raise ParameterError(f"{each.output} is an input and an output; choose another name for the output.")
        seen.add(place)
        check_output(each.output)


def _paths(made: Made) -> Iterator[str]:
    for value in (made.content, *(made.style if isinstance(made.style, list | tuple) else [made.style])):
        if isinstance(value, str | os.PathLike):
            yield os.fspath(value)


def _here(made: Sequence[Made], waiting: Sequence[int]) -> Generator[tuple[int, Made], None, None]:
    for i in waiting:
        yield i, _make(made[i])


def _on_workers(client: Any, made: Sequence[Made], waiting: Sequence[int]) -> Generator[tuple[int, Made], None, None]:
    """Yield the pictures as the workers finish them; on closing, those under way are cancelled.

    A worker has one picture at a time, so that one whose worker is killed is not confused with others that wait there.
    """
    from distributed import as_completed

    from stylecore.cluster import KilledError, prepare, reporting, result_of

    prepare(client)
    left = list(reversed(waiting))
    under_way: dict[Any, int] = {}
    done = as_completed()
    try:
        while left or under_way:
            with reporting():
                while left and len(under_way) < max(1, len(client.nthreads())):
                    i = left.pop()
                    future = client.submit(_make, made[i], pure=False)
                    under_way[future] = i
                    done.add(future)
                future = next(done)
            i = under_way.pop(future)
            try:
                result = result_of(future)
            except KilledError as error:
                result = replace(made[i], state="failed", error=str(error))
            yield i, result
    finally:
        with suppress(Exception):  # The cluster may be gone.
            client.cancel(list(under_way))


def _make(made: Made) -> Made:
    """Make a picture; a failure is part of the result."""
    began = time.perf_counter()
    try:
        result = transfer(made.content, made.style, **made.settings)
        result.save(made.output)
    except StylecoreError as error:
        reason = str(error)
    except MemoryError:
        reason = "out of memory; choose a smaller size."
    except Exception as error:  # Of the system, or a defect of the program: the other pictures can be made.
        reason = f"{type(error).__name__}: {error}"
    else:
        loss = result.history[-1].loss if result.history else None
        return replace(made, state="made", seconds=time.perf_counter() - began, loss=loss)
    return replace(made, state="failed", error=reason, seconds=time.perf_counter() - began)


def _read_manifest(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """The entries of a manifest by their output; none if there is no file."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        return {each["output"]: each for each in record["pictures"]}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ParameterError(f"{path} cannot be read ({error.strerror}); name another manifest.") from error
    except (ValueError, TypeError, LookupError) as error:
        raise ParameterError(f"{path} is not a manifest of pictures; name another one, or delete it.") from error


def _write_manifest(path: str | os.PathLike[str], made: Sequence[Made]) -> None:
    record = {"stylecore": __version__, "pictures": [each.to_json() for each in made]}
    with replacing(os.fspath(path)) as file:
        file.write(json.dumps(record, indent=1).encode())


def _storable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else f"a {type(value).__name__}"
