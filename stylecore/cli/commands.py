"""The command line: ``stylecore transfer``, ``resume``, ``demo`` and ``stylecore weights``.

The exit status is 0 when all is done; 2 when something given cannot be worked with, which one sentence on
standard error explains; and 130 when Ctrl-C or a request to terminate ended the run early, whether or not a
picture was reached that could be saved.
"""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from stylecore import weights
from stylecore._transfer import resume, transfer
from stylecore.cli import options, training
from stylecore.errors import ImageError, ParameterError, StylecoreError, WeightsError
from stylecore.kernels import devices
from stylecore.objective import LAYER_WEIGHTS
from stylecore.pictures.geometry import shape_for
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import check_output, write_image
from stylecore.regions import NOT, WORDS
from stylecore.runs import checkpoint as checkpoints
from stylecore.runs.checkpoint import Checkpoint
from stylecore.runs.history import check_plot, plot
from stylecore.runs.watching import Preview, RunSheet, Snapshots, together
from stylecore.samples import PHOTOGRAPH
from stylecore.studies.comparisons import compare
from stylecore.studies.demo import demo
from stylecore.studies.experiments import EXPERIMENTS, experiments
from stylecore.studies.presets import load_presets, preset_sheet

STOPPED = 130


def main(arguments=None):
    """Run the program.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without, those of the process.

    Returns
    -------
    int
        The exit status.
    """
    # Both are None if the caller closed them.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *place: _say(f"stylecore: warning: {message}")
            try:
                return _run(options.parse(arguments))
            finally:
                sys.stdout.flush()
    except StylecoreError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("the memory is used up; choose a smaller --size, or close other programs.")
    except KeyboardInterrupt:
        return _stopped()
    except BrokenPipeError:  # Whoever read the output has had enough of it.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}.")
    except Exception as error:
        fault = devices.fault(error)
        if fault is None:  # A defect of the program, whose traceback is wanted.
            raise
        return _fail(fault)


def _run(given):
    with _Watch(given.quiet) as watch:
        return _COMMANDS[given.command](given, watch)


def _transfer(given, watch):
    settings = {name: getattr(given, name) for name in options.SETTINGS}
    settings["layer_weights"] = _layer_weights(given.layer_weights)
    for name in ("content_layers", "style_layers"):
        settings[name] = _layers(name, settings[name])
    inputs = list(_files([given.content, given.style, given.regions, given.labels, given.init]))
    check_output(given.output, shape_for(given.size, read_image(given.content)[0].shape))
    views = _views(given, inputs)
    _fetch_once(given.network, inputs, watch)
    checkpoint = None
    if given.checkpoint:
        checkpoint = Checkpoint(given.checkpoint, given.checkpoint_every, given.output)
    callback = together(watch, *views.values())
    result = transfer(
        given.content, given.style, **settings, callback=callback, progress=watch.bar, checkpoint=checkpoint
    )
    return _finish(result, given, views)


def _resume(given, watch):
    arguments, checkpoint = checkpoints.read(given.checkpoint)
    given.output = given.output or checkpoint.output
    if not given.output:
        raise ParameterError(f"{given.checkpoint} does not tell where the picture is to go; name it with --output.")
    check_output(given.output)
    given.iterations = arguments["iterations"]
    views = _views(given, list(_files(arguments[name] for name in checkpoints.INPUTS)))
    result = resume(given.checkpoint, callback=together(watch, *views.values()), progress=watch.bar)
    return _finish(result, given, views)


def _finish(result, given, views):
    """Write the picture and what was to be seen of the run, and remove the checkpoint if there is no more to do."""
    result.save(given.output)
    if given.checkpoint and not result.stopped:
        os.remove(given.checkpoint)
    status = _report(result, given.output)
    if given.checkpoint and result.stopped and os.path.exists(given.checkpoint):
        _say(f"stylecore: `stylecore resume {given.checkpoint}` goes on with it.")
    if given.sheet:
        write_image(given.sheet, views["sheet"].sheet(result), settings=result.settings)
    if given.plot:
        write_image(given.plot, plot(result.history), settings=result.settings)
    return status


def _views(given, inputs):
    """Callbacks for what is to be seen of the run, once it is clear that all that is to be written can be."""
    written = [given.output, given.preview, given.sheet, given.plot, given.checkpoint]
    written = [path for path in written if path is not None]
    _keep_apart(inputs, written)
    views = {}
    if given.save_every is not None:
        views["snapshots"] = Snapshots(given.output, given.save_every)
        for path in filter(views["snapshots"].may_write, (*inputs, *written)):
            raise ImageError(f"{path} may be replaced by a picture that --save-every writes; choose another --output.")
    if given.preview:
        check_output(given.preview)
        views["preview"] = Preview(given.preview)
    if given.sheet:
        check_output(given.sheet)
        views["sheet"] = RunSheet(sum(given.iterations) if isinstance(given.iterations, list) else given.iterations)
    if given.plot:
        check_output(given.plot)
        check_plot()
    return views


def _presets(given, watch):
    if given.sheet is None:
        for name, look in load_presets(given.presets).items():
            _print(f"{name:<12} {look.description}")
        return 0
    check_output(given.sheet)
    inputs = [given.content, given.style]
    _keep_apart(inputs, [given.sheet])
    _fetch_once(options.SETTINGS["network"], inputs, watch)
    settings = {"size": given.size, "iterations": given.iterations}
    sheet = preset_sheet(*inputs, given.presets, watch.begin, **settings)
    if sheet is None:
        return _stopped()
    write_image(given.sheet, sheet)
    _print(given.sheet)
    return 0


def _experiments(given, watch):
    inputs = [path for path in (given.content, given.style, given.dark_style) if path is not None]
    _fetch_once(options.SETTINGS["network"], inputs, watch)
    made = 0
    settings = {"size": given.size, "iterations": given.iterations, "watch": watch.begin}
    for sheet in experiments(given.folder, given.content, given.style, given.dark_style, **settings):
        _print(sheet)
        made += 1
    if made < len(EXPERIMENTS):
        _say(f"stylecore: stopped; {made} of {len(EXPERIMENTS)} experiments have been written.")
        return STOPPED
    return 0


def _demo(given, watch):
    check_output(given.output, shape_for(given.size, read_image(PHOTOGRAPH)[0].shape))
    check_output(given.sheet)
    settings = {"size": given.size, "iterations": given.iterations}
    try:
        _fetch_once(options.SETTINGS["network"], [], watch)
    except WeightsError as error:
        watch.say(f"stylecore: {error}\nThe demonstration goes on with the network small, which needs no download.")
        settings["network"] = "small"
    result = demo(given.output, given.sheet, **settings, callback=watch, progress=watch.bar)
    return _report(result, f"{given.output} and {given.sheet}")


def _networks(given, watch):
    inputs = [given.content, given.style]
    check_output(given.sheet)
    _keep_apart(inputs, [given.sheet])
    for network in given.networks:
        _fetch_once(network, inputs, watch)
    settings = {"size": given.size, "iterations": given.iterations}
    results = compare(
        given.content, given.style, given.sheet, given.networks, **settings, callback=watch, progress=watch.bar
    )
    return _report(results[-1], given.sheet)


def _weights_list(given, watch):
    for row in weights.catalogue_rows():
        state = f"in {row.path}" if row.path else f"not fetched yet, {row.download_megabytes} MB"
        if row.is_damaged:
            state += f", damaged; `stylecore weights fetch {row.network}` fetches it again"
        _print(f"{row.network:<8} {row.description}; {state}")
    return 0


def _weights_fetch(given, watch):
    # Before anything that may take long, such as waiting for a network that does not answer.
    if (
        given.source is None
        and given.network in weights.CATALOGUE
        and (given.force or not os.path.isfile(weights.cached_file(given.network)))
    ):
        watch.say(f"Fetching {given.network}, {weights.CATALOGUE[given.network].megabytes} MB.")
    _print(weights.fetch(given.network, source=given.source, force=given.force, progress=watch.bar))
    return 0


def _weights_convert(given, watch):
    weights.convert(given.file, given.network, given.output, preprocessing=given.preprocessing)
    _print(given.output)
    return 0


def _weights_info(given, watch):
    _print(weights.describe(given.network))
    return 0


def _train(given, watch):
    chosen = {name: getattr(given, name) for name in training.settings(given.network) if name != "architecture"}
    if given.architecture is not None:
        chosen["architecture"] = training.read_architecture(given.architecture)

    def tell(epoch):
        watch.say(", ".join(f"{name} {value:.4g}" for name, value in epoch.items()))

    try:
        done = training.NETWORKS[given.network](given.data, given.output, **chosen, callback=tell, progress=watch.bar)
    except KeyboardInterrupt:
        _say("stylecore: stopped; --resume goes on from the last whole epoch, if there is one.")
        return STOPPED
    _print(f"{given.output}: {done.score} {done.result:.4g} on what was held out, after {len(done.history)} epochs")
    return 0


def _devices(given, watch):
    for row in devices.rows():
        _print(row)
    return 0


_COMMANDS = {
    "transfer": _transfer,
    "resume": _resume,
    "presets": _presets,
    "experiments": _experiments,
    "demo": _demo,
    "devices": _devices,
    "networks": _networks,
    "train autoencoder": _train,
    "train cnn": _train,
    "weights list": _weights_list,
    "weights fetch": _weights_fetch,
    "weights convert": _weights_convert,
    "weights info": _weights_info,
}


def _layer_weights(words):
    """Turn --layer-weights into what `transfer` takes: a word, or a dict from NAME=NUMBER pairs."""
    if not isinstance(words, list):  # It is a default, or from a preset.
        return words
    words = [str(word) for word in words]
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    try:
        return {name: float(number) for name, _, number in (word.partition("=") for word in words)}
    except ValueError:
        raise ParameterError(
            f'--layer-weights is "{" ".join(words)}"; it must be one of {", ".join(LAYER_WEIGHTS)}, or pairs such as '
            "relu1_1=2."
        ) from None


def _layers(name, words):
    """Turn --content-layers or --style-layers into what `transfer` takes: names, or a dict from NAME=NUMBER pairs."""
    if not (isinstance(words, list | tuple) and all(isinstance(word, str) for word in words)):
        return words  # From a preset; `transfer` checks it.
    pairs = [word.partition("=") for word in words]
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names) or not any(equals for _, equals, _ in pairs):
        return names  # It refuses a list that names one twice.
    try:
        return {name: float(number) if equals else 1.0 for name, equals, number in pairs}
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise ParameterError(
            f'{option} is "{" ".join(words)}"; name layers, and numbers where wanted, as in relu1_1=2.'
        ) from None


def _files(value):
    """The files that inputs are read from, which may be lists of such, names of other things, or arrays."""
    if isinstance(value, str):
        if value not in ("content", "noise", *WORDS):
            yield value.removeprefix(NOT)
    elif isinstance(value, Iterable) and not isinstance(value, np.ndarray):
        for each in value:
            yield from _files(each)


def _keep_apart(inputs, outputs):
    """Refuse to write anything over one of the pictures that it is made from, or two things to one file."""
    for i, output in enumerate(outputs):
        for path in inputs:
            with suppress(OSError):  # That a file is missing is told when it is read.
                if os.path.samefile(path, output):
                    raise ImageError(f"{output} is one of the pictures to work from; choose another name to write to.")
        if os.path.realpath(output) in map(os.path.realpath, outputs[:i]):
            raise ImageError(f"{output} is to be written twice; choose another name for one of the pictures.")


def _fetch_once(network, inputs, watch):
    """Fetch the network and tell so, if it is one of the catalogue and not here yet."""
    if network not in weights.CATALOGUE or weights.cached_file(network).is_file():
        return
    # `transfer` reads them again; but nobody should wait for a download to hear that a picture is missing.
    for path in inputs:
        read_image(path)
    size = weights.CATALOGUE[network].megabytes
    watch.say(f"The network {network} is fetched this once: {size} MB, kept in {weights.cache_folder()}.")
    weights.fetch(network, progress=watch.bar)


def _report(result, written):
    last = result.history[-1]
    loss = min(evaluation.loss for evaluation in result.history if evaluation.size == last.size)
    height, width = result.array.shape[:2]
    steps = f"{'stopped early, ' * result.stopped}{last.number} step{'s' * (last.number > 1)}"
    _print(f"{written}: {width} x {height} pixels, {steps} in {last.seconds:.0f} s, loss {loss:.4g}")
    return STOPPED if result.stopped else 0


class _Watch:
    """Follows a transfer as its callback, and ends it early when a signal asks for it.

    The first signal lets the evaluation under way finish, so that the picture reached so far can be saved; the
    second, or one that comes before there is a picture, ends the program at once.

    Parameters
    ----------
    quiet : bool
        Whether to show no progress.

    Attributes
    ----------
    bar : bool
        Whether a progress bar is wanted and can be drawn; where it cannot, a line now and then stands for it.
    """

    def __init__(self, quiet):
        self.bar = not quiet and sys.stderr.isatty()
        self._quiet = quiet
        self._reached = False
        self._asked = False
        self._ending = "saving the picture reached so far"
        self._next_report = 0
        self._former_handlers = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception):
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)

    def __call__(self, evaluation, image):
        self._reached = True
        if not self.bar and evaluation.seconds >= self._next_report:
            self._next_report = evaluation.seconds + 10
            height, width = evaluation.size
            self.say(f"step {evaluation.number}, {width} x {height} pixels, loss {evaluation.loss:.4g}")
        return self._asked

    def begin(self, name):
        """Tell which of several transfers begins; gives the arguments with which it is followed."""
        self._next_report = 0
        self._ending = "ending with this step"
        self.say(f"{name}:")
        return {"callback": self, "progress": self.bar}

    def say(self, text):
        """Tell how the work goes, unless the user wants quiet."""
        if not self._quiet:
            _say(text)

    def _on_signal(self, number, frame):
        if self._asked or not self._reached:
            raise KeyboardInterrupt
        self._asked = True
        # By print it might be the second at a time, which Python's streams do not allow.
        with suppress(OSError):
            os.write(2, f"\nstylecore: {self._ending}; once more ends at once.\n".encode())


def _stopped():
    _say("stylecore: stopped; no picture has been written.")
    return STOPPED


def _fail(message):
    _say(f"stylecore: error: {message}")
    return 2


def _say(text):
    """Tell the user something on standard error; that nobody hears it is no reason to end the work."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _print(text):
    """Write a result on standard output, whose encoding may lack letters that a file's name has."""
    encoding = sys.stdout.encoding or "utf-8"
    print(str(text).encode(encoding, "backslashreplace").decode(encoding))


def _discard_output():
    """Keep the interpreter from trying once more, as it ends, to write what could not be written."""
    with open(os.devnull, "w") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
