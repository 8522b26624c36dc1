"""The commands of ``stylecore``: from the parsed command line to files and exit status."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from stylecore import weights
from stylecore._transfer import Result, paint, resume
from stylecore.cli import STOPPED, batch, options, painting, serve, sketch, texture, training, video
from stylecore.cli.settings import DEFAULTS, given_settings, named
from stylecore.cli.terminal import Watch, discard_output, fail, print_result, say, stopped
from stylecore.cli.workers import client_of
from stylecore.errors import ImageError, ParameterError, StylecoreError, WeightsError
from stylecore.inputs import read_inputs
from stylecore.kernels import devices
from stylecore.kernels.compilation import on_compile
from stylecore.painter.settings import PainterSettings
from stylecore.pictures.geometry import shape_for
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import check_output, write_image
from stylecore.regions import NOT, WORDS
from stylecore.runs import checkpoint as checkpoints
from stylecore.runs.checkpoint import Checkpoint
from stylecore.runs.history import check_plot, plot
from stylecore.runs.watching import Preview, RunSheet, Snapshots, together
from stylecore.samples import PHOTOGRAPH
from stylecore.settings import Settings
from stylecore.studies.comparisons import compare, demo, preset_sheet
from stylecore.studies.experiments import EXPERIMENTS, experiments
from stylecore.studies.presets import load_presets
from stylecore.video.film import PaintedFrame
from stylecore.video.sources import open_source
from stylecore.warming import compiling

if TYPE_CHECKING:
    pass

STREAM = "-"
"""Standard input or output in place of a file."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and report errors as one sentence and an exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status.
    """
    try:
        with warnings.catch_warnings():
            try:
                given = options.parse(arguments)
                with Watch(given.quiet) as watch, _saying_when_compiling(given, watch):
                    warnings.showwarning = lambda message, *place: watch.warn(str(message))
                    return _COMMANDS[given.command](given, watch)
            finally:
                sys.stdout.flush()
    except StylecoreError as error:
        return fail(str(error))
    except MemoryError:
        return fail("out of memory; choose a smaller --size, or close other programs.")
    except KeyboardInterrupt:
        return stopped()
    except BrokenPipeError:  # The reader of the output has closed it.
        discard_output()
        return 0
    except OSError as error:
        discard_output()
        place = f"{error.filename}: " if error.filename else ""
        return fail(f"{place}{error.strerror or error}.")
    except Exception as error:
        fault = devices.fault(error)
        if fault is None:  # A defect of the program, for which the traceback is needed.
            raise
        return fail(fault)


def _saying_when_compiling(given: Namespace, watch: Watch) -> AbstractContextManager:
    """Report when kernels are compiled, unless the progress bar of a transfer does."""
    has_bar = watch.bar and not given.command.startswith(("train", "paint"))
    return nullcontext() if has_bar else on_compile(watch.say)


def _transfer(given: Namespace, watch: Watch) -> int:
    settings = Settings.of(given_settings(given)).with_layers()
    _check_streams(given)
    _check_output(given)
    watch.introduce(_roles(given.content, given.style))
    files = list(_files([given.content, given.style, settings.regions, settings.labels, settings.init]))
    inputs = read_inputs(_opened(given.content), [_opened(style) for style in given.style], settings)
    _check_output(given, inputs.shape)
    views = _views(given, files, settings.iterations)
    _fetch_once(settings.network, watch, settings.device, settings.dtype)
    checkpoint = None
    if given.checkpoint:
        output = None if given.output == STREAM else given.output
        checkpoint = Checkpoint(given.checkpoint, given.checkpoint_every, output)
    with serve.watched(given, inputs, settings, watch) as page, client_of(given) as client:
        result = paint(
            inputs,
            settings,
            optimizer_named=hasattr(given, "optimizer"),
            callback=together(page, watch, *views.values()),
            progress=watch.bar,
            checkpoint=checkpoint,
            client=client,
        )
        status = _finish(result, given, views)
        if page is not None:
            page.finish(result, given.output)
        return status


def _roles(content: str, styles: Sequence[str]) -> str:
    """A line that names the photograph and the paintings, in case the user has exchanged them."""
    return f"photograph {content}; {_paintings(styles)}"


def _paintings(styles: Sequence[str]) -> str:
    return f"painting{'s' * (len(styles) > 1)} {', '.join(styles)}"


def _opened(path: str) -> Any:
    return sys.stdin.buffer if path == STREAM else path


def _check_streams(given: Namespace) -> None:
    """Refuse arguments that standard input or output cannot support."""
    if [given.content, *given.style].count(STREAM) > 1:
        raise ParameterError('"-" is given for more than one picture; standard input can be read only once.')
    if given.output == STREAM and given.format is None:
        raise ParameterError("--output - needs --format, such as --format png.")
    if given.output == STREAM and given.save_every is not None:
        raise ParameterError("--save-every names its pictures after --output; give --output a file name.")


def _check_output(given: Namespace, shape: tuple[int, int] | None = None) -> None:
    if given.output != STREAM:
        check_output(given.output, shape, format=given.format)


def _resume(given: Namespace, watch: Watch) -> int:
    arguments, checkpoint = checkpoints.read(given.checkpoint)
    given.output = given.output or checkpoint.output
    if not given.output:
        raise ParameterError(f"{given.checkpoint} does not name an output file; name one with --output.")
    if given.output == STREAM and given.format is None:
        raise ParameterError("--output - needs --format, such as --format png.")
    _check_output(given)
    files = list(_files(arguments[name] for name in checkpoints.INPUTS))
    views = _views(given, files, arguments["iterations"])
    result = resume(given.checkpoint, callback=together(watch, *views.values()), progress=watch.bar)
    return _finish(result, given, views)


def _finish(result: Result, given: Namespace, views: Mapping[str, Any]) -> int:
    """Write the picture and the views of the run, and delete the checkpoint if the run is complete."""
    output = sys.stdout.buffer if given.output == STREAM else given.output
    result.save(output, format=given.format, metadata=given.metadata)
    if given.checkpoint and not result.stopped:
        os.remove(given.checkpoint)
    status = _report(result, given.output)
    if given.checkpoint and result.stopped and os.path.exists(given.checkpoint):
        say(f"stylecore: `stylecore resume {given.checkpoint}` continues the run.")
    if given.sheet:
        write_image(given.sheet, views["sheet"].sheet(result), settings=result.metadata(given.metadata))
    if given.plot:
        write_image(given.plot, plot(result.history), settings=result.metadata(given.metadata))
    return status


def _views(given: Namespace, inputs: Sequence[str], iterations: int | Sequence[int]) -> dict[str, Any]:
    """Callbacks for the views of a run, after checking that all files can be written."""
    written = [given.output, given.preview, given.sheet, given.plot, given.checkpoint]
    written = [path for path in written if path not in (None, STREAM)]
    _keep_apart(inputs, written)
    views: dict[str, Any] = {}
    if given.save_every is not None:
        views["snapshots"] = Snapshots(given.output, given.save_every)
        for path in filter(views["snapshots"].may_write, (*inputs, *written)):
            raise ImageError(f"{path} might be overwritten by --save-every; choose another --output.")
    if given.preview:
        check_output(given.preview)
        views["preview"] = Preview(given.preview)
    if given.sheet:
        check_output(given.sheet)
        views["sheet"] = RunSheet(iterations if isinstance(iterations, int) else sum(iterations))
    if given.plot:
        check_output(given.plot)
        check_plot()
    return views


def _video(given: Namespace, watch: Watch) -> int:
    watch.introduce(f"film {given.film}; {_paintings(given.style)}")
    settings = {**DEFAULTS, **given_settings(given)}
    open_source(given.film)
    _check_readable(given.style)
    _fetch_once(settings["network"], watch, settings["device"], settings["dtype"])

    def report(painted: PaintedFrame, picture: np.ndarray) -> bool:
        return watch.count(painted.number, painted.count, painted.seconds, painted.seconds_left)

    try:
        done = video.paint_film(given, report, watch.bar)
        is_stopped = done.stopped
    except KeyboardInterrupt:
        is_stopped = True
    if is_stopped:
        say("stylecore: stopped; the frames painted so far are kept, and the same command continues with them.")
        return STOPPED
    shots = f"{len(done.shots)} shot{'s' * (len(done.shots) > 1)}"
    print_result(f"{done.path}: {done.frames} frames, {shots}, in {done.seconds:.0f} s")
    return 0


def _presets(given: Namespace, watch: Watch) -> int:
    if given.sheet is None:
        for name, preset in load_presets(given.presets).items():
            print_result(f"{name:<12} {preset.description}")
        return 0
    check_output(given.sheet)
    inputs = [given.content, given.style]
    _keep_apart(inputs, [given.sheet])
    _check_readable(inputs)
    _fetch_once(DEFAULTS["network"], watch)
    settings = {"size": given.size, "iterations": given.iterations}
    sheet = preset_sheet(given.content, given.style, given.presets, watch.begin, **settings)
    if sheet is None:
        return stopped()
    write_image(given.sheet, sheet)
    print_result(given.sheet)
    return 0


def _experiments(given: Namespace, watch: Watch) -> int:
    _check_readable(path for path in (given.content, given.style, given.dark_style) if path is not None)
    _fetch_once(DEFAULTS["network"], watch)
    made = 0
    settings = {"size": given.size, "watch": watch.begin, **named(given, "iterations")}
    for sheet in experiments(given.folder, given.content, given.style, given.dark_style, **settings):
        print_result(sheet)
        made += 1
    if made < len(EXPERIMENTS):
        say(f"stylecore: stopped; {made} of {len(EXPERIMENTS)} experiments have been written.")
        return STOPPED
    return 0


def _demo(given: Namespace, watch: Watch) -> int:
    settings = named(given, "size", "iterations")
    size = settings.get("size", DEFAULTS["size"])
    check_output(given.output, shape_for(size, read_image(PHOTOGRAPH)[0].shape))
    check_output(given.sheet)
    try:
        _fetch_once(DEFAULTS["network"], watch)
    except WeightsError as error:
        watch.say(f"stylecore: {error}\nThe demo continues with the network small, which needs no download.")
        settings["network"] = "small"
    result = demo(given.output, given.sheet, **settings, callback=watch, progress=watch.bar)
    return _report(result, f"{given.output} and {given.sheet}")


def _networks(given: Namespace, watch: Watch) -> int:
    content, style = given.content, given.style
    check_output(given.sheet)
    _keep_apart([content, style], [given.sheet])
    _check_readable([content, style])
    for network in given.networks:
        _fetch_once(network, watch)
    settings = named(given, "size", "iterations")
    results = compare(content, style, given.sheet, given.networks, **settings, callback=watch, progress=watch.bar)
    return _report(results[-1], given.sheet)


def _weights_list(given: Namespace, watch: Watch) -> int:
    for row in weights.catalogue_rows():
        state = f"in {row.path}" if row.path else f"not fetched yet, {row.download_megabytes} MB"
        if row.is_damaged:
            state += f", damaged; `stylecore weights fetch {row.network}` fetches it again"
        print_result(f"{row.network:<8} {row.description}; {state}")
    return 0


def _weights_fetch(given: Namespace, watch: Watch) -> int:
    # First, since the rest may take long, for example if the server does not respond.
    if (
        given.source is None
        and given.network in weights.CATALOGUE
        and (given.force or not os.path.isfile(weights.cached_file(given.network)))
    ):
        watch.say(f"Fetching {given.network}, {weights.CATALOGUE[given.network].megabytes} MB.")
    print_result(weights.fetch(given.network, source=given.source, force=given.force, progress=watch.bar))
    return 0


def _weights_convert(given: Namespace, watch: Watch) -> int:
    weights.convert(given.file, given.network, given.output, preprocessing=given.preprocessing)
    print_result(given.output)
    return 0


def _weights_info(given: Namespace, watch: Watch) -> int:
    print_result(weights.describe(given.network))
    return 0


def _train(given: Namespace, watch: Watch) -> int:
    done = _trained(training.train, given, watch)
    if done is None:
        return STOPPED
    epochs = f"{len(done.history)} epoch{'s' * (len(done.history) > 1)}"
    print_result(f"{given.output}: {done.score} {done.result:.4g} on the test set, after {epochs}")
    return 0


def _train_styles(given: Namespace, watch: Watch) -> int:
    _fetch_once(getattr(given, "network", PainterSettings.defaults()["network"]), watch)
    done = _trained(training.train_painter, given, watch)
    if done is None:
        return STOPPED
    loss = done.history[-1]["test loss"]
    print_result(f"{given.output}: {', '.join(done.weights.styles)}; loss {loss:.4g} on held-out photographs")
    return 0


def _trained(function: Callable[..., Any], given: Namespace, watch: Watch) -> Any:
    """The result of a training; None if it was interrupted."""

    def report(epoch: Mapping[str, float]) -> None:
        watch.say(", ".join(f"{name} {value:.4g}" for name, value in epoch.items()))

    try:
        return function(given, report, watch.bar)
    except KeyboardInterrupt:
        say("stylecore: stopped; --resume continues from the last checkpoint, if there is one.")
        return None


def _paint(given: Namespace, watch: Watch) -> int:
    return painting.paint(given, watch)


def _serve(given: Namespace, watch: Watch) -> int:
    serve.serve(given, print_result)
    return 0


def _sketch(given: Namespace, watch: Watch) -> int:
    return sketch.sketch(given, watch, lambda: _fetch_once(DEFAULTS["network"], watch))


def _batch(given: Namespace, watch: Watch) -> int:
    return batch.batch(given, watch, lambda network: _fetch_once(network, watch))


def _texture(given: Namespace, watch: Watch) -> int:
    return texture.texture(given, watch, lambda network: _fetch_once(network, watch))


def _devices(given: Namespace, watch: Watch) -> int:
    for row in devices.rows():
        print_result(row)
    return 0


_COMMANDS: dict[str, Callable[[Namespace, Watch], int]] = {
    "transfer": _transfer,
    "resume": _resume,
    "presets": _presets,
    "experiments": _experiments,
    "demo": _demo,
    "devices": _devices,
    "networks": _networks,
    "serve": _serve,
    "video": _video,
    "sketch": _sketch,
    "texture": _texture,
    "paint": _paint,
    "batch": _batch,
    "train autoencoder": _train,
    "train cnn": _train,
    "train styles": _train_styles,
    "weights list": _weights_list,
    "weights fetch": _weights_fetch,
    "weights convert": _weights_convert,
    "weights info": _weights_info,
}


def _files(value: Any) -> Iterator[str]:
    """The paths in an argument, which may be a path, a word such as "noise", an array or a nested list of these."""
    if isinstance(value, str):
        if value not in ("content", "noise", "painter", STREAM, *WORDS):
            yield value.removeprefix(NOT)
    elif isinstance(value, Iterable) and not isinstance(value, np.ndarray):
        for each in value:
            yield from _files(each)


def _keep_apart(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse to overwrite an input picture, or to write two pictures to one file."""
    for i, output in enumerate(outputs):
        for path in inputs:
            with suppress(OSError):  # A missing file is reported when it is read.
                if os.path.samefile(path, output):
                    raise ImageError(f"{output} is one of the input pictures; choose another name for the output.")
        if os.path.realpath(output) in map(os.path.realpath, outputs[:i]):
            raise ImageError(f"{output} would be written twice; choose another name for one of the pictures.")


def _check_readable(paths: Iterable[str]) -> None:
    """Read pictures before a download, so that an error in them is reported immediately."""
    for path in paths:
        read_image(path)


def _fetch_once(network: Any, watch: Watch, device: str = DEFAULTS["device"], dtype: str = DEFAULTS["dtype"]) -> None:
    """Download the network, with a report, if it is in the catalogue and not yet in the cache.

    Meanwhile the kernels of the CPU are compiled, if they will be needed and have not been.
    """
    if network not in weights.CATALOGUE or os.path.isfile(weights.cached_file(network)):
        return
    size = weights.CATALOGUE[network].megabytes
    watch.say(f"Downloading the network {network} ({size} MB) to {weights.cache_folder()}, once.")
    with compiling(watch.bar, dtype) if device == "cpu" else nullcontext():
        weights.fetch(network, progress=watch.bar)


def _report(result: Result, written: str) -> int:
    last = result.history[-1]
    loss = min(evaluation.loss for evaluation in result.history if evaluation.size == last.size)
    height, width = result.array.shape[:2]
    steps = f"{'stopped early, ' * result.stopped}{last.number} step{'s' * (last.number > 1)}"
    text = f"{written}: {width} x {height} pixels, {steps} in {last.seconds:.0f} s, loss {loss:.4g}"
    if written == STREAM:  # Standard output is the picture.
        say(f"standard output{text.removeprefix(STREAM)}")
    else:
        print_result(text)
    return STOPPED if result.stopped else 0
