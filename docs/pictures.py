"""Make the pictures of the how-to pages in ``docs/pictures``: run this file from the top of the repository.

The photograph and the painting are the samples of the project, drawn by the programs in ``stylecore/samples``.
The mask of the water, the dark painting and one in other colours are made from them here. Names on the command line
choose pictures. ``painter`` is `docs/painter.jpg`. It and ``many`` need scikit-image, which ships the other
photographs.
"""

import shlex
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import stylecore
from stylecore.cli import main
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import crop, resize
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.samples import PAINTING, PHOTOGRAPH

FOLDER = Path(__file__).with_name("pictures")
COMMON = "--size 256 --iterations 80"
COMMANDS = {
    "default": "stylecore transfer photo.jpg painting.jpg -o default.png",
    "colour-content": "stylecore transfer photo.jpg painting.jpg -o colour-content.png --colour content",
    "region": "stylecore transfer photo.jpg painting.jpg -o region.png --region water.png all",
    "dark": "stylecore transfer photo.jpg dark.png -o dark-20.png",
    "dark-auto": "stylecore transfer photo.jpg dark.png -o dark-auto.png --style-weight auto",
    "colour-match": "stylecore transfer photo.jpg painting.jpg -o colour-match.png --colour match",
    "network-small": "stylecore transfer photo.jpg painting.jpg -o network-small.png --network small",
    "stroke-128": "stylecore transfer photo.jpg painting.jpg -o stroke-128.png --stroke 128",
    "stroke-512": "stylecore transfer photo.jpg painting.jpg -o stroke-512.png --stroke 512",
    "stages": "stylecore transfer photo.jpg painting.jpg -o out.png --sheet stages.png",
    "losses": "stylecore transfer photo.jpg painting.jpg -o out.png --plot losses.png",
    "texture": "stylecore texture painting.jpg -o texture.png --tileable",
    "many": "stylecore batch photos/ --styles paintings/ -o many --style-weight 5",
}
"""The command for each picture; `COMMON` is added to all of them."""
OUTPUTS = ("-o", "--sheet", "--plot")
"""The options that name a file to write; of several, the last is shown."""
WIDTH = 800
"""Of the largest pictures, in pixels."""


def inputs(folder: Path) -> None:
    """Write the pictures that the commands name."""
    shutil.copy(PHOTOGRAPH, folder / "photo.jpg")
    shutil.copy(PAINTING, folder / "painting.jpg")
    painting = np.asarray(Image.open(PAINTING))
    height, width = painting.shape[:2]
    water = np.zeros((height, width), np.uint8)
    water[round(0.66 * height) :] = 255
    Image.fromarray(water).save(folder / "water.png")
    dark = painting // 16
    centre = slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4)
    dark[centre] = painting[centre]
    Image.fromarray(dark).save(folder / "dark.png")
    for name in ("photos", "paintings"):
        (folder / name).mkdir()
    shutil.copy(PHOTOGRAPH, folder / "photos" / "town.jpg")
    shutil.copy(PAINTING, folder / "paintings" / "night.jpg")
    Image.fromarray(painting[..., ::-1]).save(folder / "paintings" / "rust.png")


def make(name: str, folder: Path) -> None:
    """Run the command of one picture in a folder, and store its picture as a small JPEG."""
    if name == "many":
        from skimage import data

        Image.fromarray(data.astronaut()[:384]).save(folder / "photos" / "astronaut.png")
        Image.fromarray(data.coffee()).save(folder / "photos" / "coffee.png")
    command = shlex.split(f"{COMMANDS[name]} {COMMON}")[1:]
    for i, word in enumerate(command):
        if command[i - 1] in OUTPUTS:
            output = command[i] = str(folder / word)
        elif (folder / word).exists():
            command[i] = str(folder / word)
    if main(command) != 0:
        raise SystemExit(f"{COMMANDS[name]} failed.")
    picture = many_sheet(folder) if name == "many" else Image.open(output).convert("RGB")
    if name == "texture":  # Twice in each direction, which shows that it repeats.
        picture = to_pil(np.tile(np.asarray(picture) / 255, (2, 2, 1)))
    picture.thumbnail((WIDTH, WIDTH))
    picture.save(FOLDER / f"{name}.jpg", quality=82)


def many_sheet(folder: Path) -> Image.Image:
    """The pictures of the batch: a row for each painting, and a column for each photograph."""
    photographs, paintings = (sorted((folder / name).iterdir()) for name in ("photos", "paintings"))
    blank = np.ones((3, 4, 3))
    pictures = [blank, *(read_image(path)[0] for path in photographs)]
    for painting in paintings:
        painted = (folder / "many" / f"{photograph.stem}-{painting.stem}.png" for photograph in photographs)
        pictures += [read_image(painting)[0], *(read_image(path)[0] for path in painted)]
    labels = ["", *(path.name for path in photographs)]
    for painting in paintings:
        labels += [painting.name, *[""] * len(photographs)]
    sheet = contact_sheet([resize(each, (192, 256)) for each in pictures], labels, 192, columns=1 + len(photographs))
    return to_pil(sheet)


def make_painter_sheet() -> None:
    """Paint five photographs in all styles of the painter that comes with the program."""
    from skimage import data

    painter = stylecore.Painter()
    photographs = [PHOTOGRAPH, data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    pictures: list[np.ndarray] = []
    for photograph in photographs:
        picture = crop(read_image(photograph)[0], (3, 4))
        picture = resize(picture, (384, 512))
        pictures += [picture, *(painter.paint_array(picture, style) for style in painter.styles)]
    labels = ["photograph", *painter.styles] + [""] * (len(pictures) - 1 - len(painter.styles))
    sheet = contact_sheet(pictures, labels, 180, columns=1 + len(painter.styles))
    to_pil(sheet).save(Path(__file__).with_name("painter.jpg"), quality=85)


def make_all(names: list[str]) -> None:
    """Make the pictures with these names, or all."""
    FOLDER.mkdir(exist_ok=True)
    if not names or "painter" in names:
        make_painter_sheet()
    names = [name for name in names or COMMANDS if name != "painter"]
    with TemporaryDirectory() as folder:
        inputs(Path(folder))
        for name in names:
            make(name, Path(folder))


if __name__ == "__main__":
    make_all(sys.argv[1:])
