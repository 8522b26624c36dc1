"""The benchmark: ``python -m benchmarks`` from the top of the repository; ``--help`` lists the options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from benchmarks import (
    cuda,
    evaluation,
    layers,
    machine,
    machines,
    memory,
    painter,
    pictures,
    record,
    sketch,
    startup,
    threads,
    tiles,
    training,
    transfer,
    video,
    web,
)
from benchmarks.measuring import progress
from benchmarks.setting import STYLE_LAYERS, Setting, warm_up
from stylecore.errors import ParameterError, StylecoreError
from stylecore.kernels import devices
from stylecore.optimizers import OPTIMIZERS
from stylecore.samples import PAINTING, PHOTOGRAPH

SECTIONS = {
    "layers": layers,
    "evaluation": evaluation,
    "memory": memory,
    "startup": startup,
    "threads": threads,
    "tiles": tiles,
    "machines": machines,
    "cuda": cuda,
    "training": training,
    "painter": painter,
    "sketch": sketch,
    "pictures": pictures,
    "transfer": transfer,
    "video": video,
    "web": web,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or show a record.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status.
    """
    given = _parse(arguments)
    try:
        shown = record.read(given.show) if given.show else _run(given)
        for name, section in shown["sections"].items():
            for table in SECTIONS[name].tables(section):
                print(table, end="\n\n")
    except StylecoreError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"benchmarks: out of memory ({error}); choose smaller --sizes.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: stopped; the record holds the sections that were finished, if any.", file=sys.stderr)
        return 130
    return 0


def _run(given):
    missing = _missing(given)
    sections = given.only or [name for name in SECTIONS if name not in missing]
    for name in sections:
        if name in missing:
            raise ParameterError(f"{name} cannot be measured: {missing[name]}.")
    path = given.output or record.default_path(given.machine)
    record.check_writable(path)
    for name, why in missing.items():
        progress(f"without {name}: {why}")
    setting = _setting(given, with_peers="transfer" not in missing)
    made = {
        "date": str(date.today()),
        "machine": {"name": given.machine, **machine.describe()},
        "settings": {
            "content": Path(given.content).name,
            "style": Path(given.style).name,
            "repetitions": given.repetitions,
            "transfer evaluations": given.transfer_evaluations,
            "optimizers": given.optimizers,
            "training pictures": given.training_pictures,
            "films": [Path(path).name for path in given.films],
        },
        "sections": {},
    }
    for name in sections:
        made["sections"][name] = SECTIONS[name].measure(setting)
        # After each section, so that a run that is stopped after hours is not lost.
        record.write(made, path)
    progress(f"the record is {path}")
    return made


def _missing(given):
    """Sections that cannot be measured here, each with the reason."""
    missing = {}
    if given.no_peers or not find_spec("torch"):
        missing["transfer"] = "PyTorch is left out or not installed; `make bench-peers` installs it"
    if devices.problem():
        missing["cuda"] = devices.problem().rstrip(".")
    if not (find_spec("av") and find_spec("cv2")):
        missing["video"] = "PyAV or OpenCV is not installed"
    if not find_spec("uvicorn"):
        missing["web"] = "the page needs uvicorn and Starlette"
    if not find_spec("distributed"):
        missing["machines"] = "Dask is not installed"
    if sys.platform != "linux":
        missing["memory"] = missing["tiles"] = "only Linux reports the peak memory of a process"
    if given.sketches is None or given.photographs is None:
        missing["sketch"] = "--sketches and --photographs name no folders"
    if not given.picture_pairs or given.pictures_folder is None:
        missing["pictures"] = "--picture-pairs and --pictures-folder are not given"
    elif not find_spec("skimage"):
        missing["pictures"] = "scikit-image is not installed"
    return missing


def _setting(given, with_peers):
    progress("loading the network and the compiled kernels")
    warm_up(given.content, given.style)
    peers = None
    if with_peers:
        from benchmarks import peers
    setting = Setting(
        content=given.content,
        style=given.style,
        sizes=given.sizes,
        threads=given.threads,
        repetitions=given.repetitions,
        optimizers=given.optimizers,
        peers=peers,
        transfer_size=given.transfer_size,
        transfer_evaluations=given.transfer_evaluations,
        transfer_repetitions=given.transfer_repetitions,
        transfer_starts=given.transfer_starts,
        transfer_peers=given.transfer_peers,
        training_pictures=given.training_pictures,
        films=given.films,
        film_pairs=given.film_pairs,
        sketches=given.sketches,
        photographs=given.photographs,
        photo_index=given.photo_index,
        coloured_sketches=given.coloured_sketches,
        picture_pairs=given.picture_pairs,
        pictures_folder=given.pictures_folder,
        picture_size=given.picture_size,
        presets=given.presets,
    )
    for size in (*given.sizes, given.transfer_size):
        setting.network.steps(size, size, STYLE_LAYERS)  # Raises if the size is too small.
    return setting


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition(":")[0])
    add = parser.add_argument
    add("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"sections to run: {', '.join(SECTIONS)}")
    add("--sizes", nargs="+", type=_count, default=[256, 512, 1024], metavar="PX", help="side lengths of the pictures")
    add("--threads", nargs="+", type=_threads, default=sorted({1, machine.ALL_THREADS}), metavar="N")
    add("--repetitions", type=_count, default=5, metavar="N", help="of each measurement, except transfers")
    add(
        "--optimizers",
        nargs="+",
        choices=OPTIMIZERS,
        default=[next(iter(OPTIMIZERS))],
        metavar="NAME",
        help=f"optimisers of stylecore to compare: {', '.join(OPTIMIZERS)}; memory and cuda take the first",
    )
    add("--transfer-size", type=_count, default=512, metavar="PX", help="side length of the picture of a transfer")
    add("--transfer-evaluations", type=_count, default=300, metavar="N", help="evaluations of the peers")
    add("--transfer-repetitions", type=_count, default=3, metavar="N")
    add("--transfer-starts", nargs="+", choices=transfer.STARTS, default=list(transfer.STARTS), metavar="START")
    add("--transfer-peers", nargs="+", choices=transfer.PEERS, default=list(transfer.PEERS), metavar="NAME")
    add("--training-pictures", type=_count, default=50_000, metavar="N", help="pictures of an epoch of training")
    add("--films", nargs="+", default=[], metavar="FILM", help="films that the section video paints whole")
    add(
        "--film-pairs",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="scenes of MPI Sintel: final_0002.png, final_0003.png, flow_0002_to_0003.flo and occlusions_0002.png",
    )
    add("--sketches", metavar="FOLDER", help="sketches to colour, in a subfolder for each class")
    add("--photographs", metavar="FOLDER", help="photographs to colour them from, in subfolders of the same names")
    add("--photo-index", metavar="FILE", help="file of the index of the photographs (default: beside the folder)")
    add("--coloured-sketches", type=_count, default=20, metavar="N", help="number of sketches to colour")
    add(
        "--picture-pairs",
        nargs="+",
        default=[],
        metavar="PAIR",
        help=f"photographs and paintings to show side by side, as PHOTOGRAPH{os.pathsep}PAINTING",
    )
    add("--pictures-folder", metavar="FOLDER", help="where the pictures and sheets of these pairs are written")
    add("--picture-size", type=_count, default=512, metavar="PX", help="longer side of these pictures")
    add(
        "--presets", nargs="+", default=["default", "classic"], metavar="NAME", help="presets to paint these pairs with"
    )
    add("--content", default=str(PHOTOGRAPH), metavar="PICTURE")
    add("--style", default=str(PAINTING), metavar="PICTURE")
    add("--no-peers", action="store_true", help="leave out PyTorch even if it is installed")
    add("--machine", default=machine.default_name(), metavar="NAME", help="name of the machine in the record")
    add("--output", metavar="FILE", help="the record (default: benchmarks/results/DATE-MACHINE.json)")
    add("--show", metavar="RECORD", help="only print the tables of a record")
    return parser.parse_args(arguments)


def _count(text):
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)


def _threads(text):
    if _count(text) > machine.ALL_THREADS:
        raise argparse.ArgumentTypeError(f"{text} is more than the {machine.ALL_THREADS} available threads")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
