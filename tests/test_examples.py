"""Run every example: those in docstrings, the scripts, commands and presets in README.md and in docs, and the gallery.

A block of a page is treated by its kind:

- ``python``: run. All scripts of a page share one namespace, in their order, as if typed one after another. `transfer`
  and `Objective` are made quick: see `quick`.
- ``sh``, or an indented block: each line is a command, as described at `commands`. A ``stylecore`` command must be
  understood by the program's own parser; it is also run where `quick_arguments` finds it cheap and complete. The target
  of a ``make`` command must exist. Of ``pip`` and ``python`` commands nothing is checked.
- ``toml``: loaded as a file of presets.
- ``text``: no example, but a diagram or output.

A block below the comment ``<!-- not run: REASON -->`` is skipped, for that reason, and so are directives of Sphinx. Any
other block is an error. The pictures, masks and networks that the pages name exist, made from the samples, in the
folder where it is run.
"""

import ast
import doctest
import importlib
import itertools
import json
import re
import shlex
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import weights
from stylecore.cli import main, options
from stylecore.painter import files as painters
from stylecore.painter.painting import SHIPPED
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies.presets import load_presets
from stylecore.video.outputs import write_film

ROOT = Path(__file__).parent.parent
PACKAGES = {
    ROOT / "stylecore": "stylecore",
    ROOT / "kernels": "stylecore.kernels",
    ROOT / "weights": "stylecore.weights",
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "howto").glob("*.md"))]


def needs_vgg19(example):
    """Whether an example uses the default network."""
    return re.search(r"\b(transfer|Objective)\(", example) and "network=" not in example


# Docstrings


def docstrings(path):
    """All texts that stand by themselves in a file, each with its line: docstrings, of whatever they document."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def docstring_examples():
    """One set of parameters for each docstring that has an example."""
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            module = ".".join([package, *parts]).removesuffix(".__init__")
            for line, text in docstrings(path):
                if ">>>" in text:
                    marks = [pytest.mark.vgg19] if needs_vgg19(text) else []
                    yield pytest.param(module, line, text, marks=marks, id=f"{module}:{line}")


@pytest.mark.parametrize(("module", "line", "text"), list(docstring_examples()))
def test_docstring(module, line, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(vars(importlib.import_module(module)))
    test = doctest.DocTestParser().get_doctest(text, names, module, module, line - 1)
    report = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert not report, "".join(report)


# Pages


class Block(NamedTuple):
    """A block of code in a page."""

    page: Path
    kind: str
    line: int
    """Number of its first line of code, from 1."""
    text: str
    reason: str | None
    """Why it is not run; None if it is."""

    @property
    def place(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    """Find the fenced and the indented blocks of a Markdown file."""
    lines = page.read_text(encoding="utf-8").splitlines()
    at, reason = 0, None
    while at < len(lines):
        line, start = lines[at], at
        if fence := re.match(r"(```+|:::+){", line):
            at = lines.index(fence[1], at + 1)
        elif fence := re.match(r"(```+)(\w*)\s*$", line):
            at = lines.index(fence[1], at + 1)
            yield Block(page, fence[2], start + 2, "\n".join(lines[start + 1 : at]), reason)
        elif line.startswith("    ") and (start == 0 or not lines[start - 1].strip()):
            while at + 1 < len(lines) and (lines[at + 1].startswith("    ") or not lines[at + 1].strip()):
                at += 1
            yield Block(page, "sh", start + 1, "\n".join(line[4:] for line in lines[start : at + 1]), reason)
        if line.strip():
            comment = re.match(r"<!-- not run: (.+) -->$", line)
            reason = comment and comment[1]
        at += 1


def commands(block):
    r"""Find the commands in a block of shell lines, each with its place.

    ``\`` at the end of a line continues it. What follows two spaces is a comment. ``a | b`` stands for one command with
    a and one with b. A line that begins with an option is added to the command above it, to make another.
    """
    base, line = [], ""
    for number, part in enumerate(block.text.splitlines(), start=block.line):
        line += part.strip()
        if line.endswith("\\"):
            line = line[:-1].rstrip() + " "
            continue
        words, line = shlex.split(re.split(r"\s{2,}", line)[0]), ""
        if words:
            if not words[0].startswith("-"):
                base = []
            forms = [[*base, *form] for form in alternatives(words)]
            base = base or forms[0]
            yield from ((block._replace(line=number).place, form) for form in forms)


def alternatives(words):
    """Expand ``a | b`` in a list of words: one list for each choice."""
    choices = [[words[0]]]
    for before, word in itertools.pairwise(words):
        if before == "|":
            choices[-1].append(word)
        elif word != "|":
            choices.append([word])
    return itertools.product(*choices)


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of_kind(kind):
    return [block for block in BLOCKS if block.kind == kind and block.reason is None]


def parameters(cases):
    """The cases with an identifier each; one that several pages have is taken once."""
    places = {tuple(case): place for place, case in reversed(list(cases))}
    return [pytest.param(list(case), id=f"{place} {' '.join(case)}") for case, place in reversed(places.items())]


PROGRAMS = {"stylecore", "make", "pip", "python"}
COMMANDS = [
    (place, [words[0].removeprefix(".venv/bin/"), *words[1:]])
    for block in of_kind("sh")
    for place, words in commands(block)
]
STYLECORE = [(place, words[1:]) for place, words in COMMANDS if words[0] == "stylecore"]

# Options that make a command quick, by the command; others take long, or need what a page cannot bring along.
QUICK = {
    "transfer": ["--size", "64", "--iterations", "2", "--pyramid", "1", "--network", "small"],
    "video": ["--size", "64", "--iterations", "2", "--pyramid", "1", "--network", "small", "--frame-iterations", "1"],
    "paint": ["--size", "64"],
    "texture": ["--size", "64", "--iterations", "2", "--network", "small"],
    "demo": ["--size", "64", "--iterations", "2"],
    "devices": [],
    "weights list": [],
    "weights info": [],
}


def quick_arguments(words):
    """Arguments with which a command can be run here, or None if it cannot."""
    command = next((command for command in QUICK if words[: len(command.split())] == command.split()), None)
    placeholders = [word for word in words if re.fullmatch(r"[A-Z]{2,}(\.\w+)?", word)]
    # The method neighbours needs a network that is downloaded.
    if command is None or placeholders or {"cuda", "--help-all", "neighbours"} & set(words):
        return None
    return [*words, *QUICK[command], *(["--stroke", "64"] if "--stroke" in words else [])]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with all the pictures and networks that the pages name."""
    monkeypatch.chdir(tmp_path)
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"[\w-]+\.(?:jpg|png|h5)\b", text))
    photograph, painting = (Image.open(path).resize((96, 72)) for path in (PHOTOGRAPH, PAINTING))
    mask = Image.fromarray(np.repeat(np.uint8([255, 0]), [30, 42])[:, None].repeat(96, axis=1))
    for name in named:
        if name.startswith("painter") and name.endswith(".h5"):
            trained = painters.read(SHIPPED)
            painters.write(replace(trained, styles=tuple("abcdefgh"[: len(trained.styles)])), name)
        elif name.endswith(".h5"):
            shutil.copy(weights.SHIPPED["small"], name)
        elif name.endswith(".png"):  # also where a picture is written, or where one is taken to begin with
            mask.save(name)
        else:
            (photograph if name in ("photo.jpg", "town.jpg") else painting).save(name)
    frames = [(Fraction(i), np.asarray(photograph)[:, i : i + 64] / np.float32(255)) for i in (0, 4, 5)]
    write_film("clip.mp4", frames, Fraction(1), (72, 64))
    Path("frames").mkdir()
    for i, (_, frame) in enumerate(frames):
        Image.fromarray(np.uint8(255 * frame)).save(f"frames/{i}.png")
    return tmp_path


def quick(monkeypatch):
    """Let all functions use the network that needs no download, and those that paint do little."""

    def transfer(content, style, **settings):
        little = {"size": 64, "iterations": 2, "pyramid": 1}
        return original(content, style, **{"network": "small", **settings, **little})

    def objective(content, style, **settings):
        return Objective(content, style, **{"network": "small", **settings})

    def transfer_video(film, style, output, **settings):
        little = {"size": 64, "iterations": 2, "pyramid": 1, "frame_iterations": 1}
        return film_original(film, style, output, **{"network": "small", **settings, **little})

    def texture(style, **settings):
        little = {"size": 64, "iterations": 2}
        return texture_original(style, **{"network": "small", **settings, **little})

    original, Objective, film_original = stylecore.transfer, stylecore.Objective, stylecore.transfer_video
    texture_original = stylecore.texture
    monkeypatch.setattr(stylecore, "transfer", transfer)
    monkeypatch.setattr(stylecore, "Objective", objective)
    monkeypatch.setattr(stylecore, "transfer_video", transfer_video)
    monkeypatch.setattr(stylecore, "texture", texture)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in BLOCKS])
def test_kind_of_block_is_known(block):
    assert block.kind in ("python", "sh", "toml", "text"), f"{block.place}: {__doc__}"
    if block.reason is not None:
        pytest.skip(f"{block.place} is not run: {block.reason}")


@pytest.mark.parametrize("page", sorted({block.page for block in of_kind("python")}), ids=lambda page: page.name)
def test_scripts(page, folder, monkeypatch):
    quick(monkeypatch)
    names = {"__name__": "__main__"}
    for block in of_kind("python"):
        if block.page == page:  # The empty lines are for the line numbers of a traceback.
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), names)


@pytest.mark.parametrize("words", parameters(COMMANDS))
def test_command_is_understood(words):
    program, *arguments = words
    assert program in PROGRAMS, "not a command; a diagram or output is a block of kind text"
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in arguments)
    if program == "stylecore" and "--help-all" not in arguments:
        options.parse(arguments)


@pytest.mark.parametrize("words", parameters((place, words) for place, words in STYLECORE if quick_arguments(words)))
def test_command(words, folder, capsys):
    status = main(quick_arguments(words))
    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in of_kind("toml")])
def test_presets(block, tmp_path):
    (tmp_path / "presets.toml").write_text(block.text, encoding="utf-8")
    assert len(load_presets(tmp_path / "presets.toml")) > len(load_presets())


# The gallery


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "docs" / "examples").glob("plot_*.py")), ids=lambda path: path.stem)
def test_notebook(script, monkeypatch):
    """Run the notebook that is made of a script, with little to do; `make docs` runs the script itself."""
    parser = pytest.importorskip("sphinx_gallery.py_source_parser", reason="the gallery needs the extra docs")
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.notebook import jupyter_notebook

    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    quick(monkeypatch)
    _, parts = parser.split_code_and_text_blocks(script)
    notebook = json.loads(json.dumps(jupyter_notebook(parts, DEFAULT_GALLERY_CONF, script.parent)))
    assert notebook["cells"][0]["cell_type"] == "markdown"
    names = {"__name__": "__main__"}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{script.name}, cell {number}", "exec"), names)
    importlib.import_module("matplotlib.pyplot").close("all")
