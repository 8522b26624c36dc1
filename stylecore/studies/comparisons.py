"""One pair of pictures with several networks, side by side, as the paper compares them."""

from stylecore._transfer import transfer
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import check_output, write_image
from stylecore.weights import NAMES


def compare(content, style, sheet, networks=NAMES, **settings):
    """Make the same picture with several networks, and a sheet that shows them beside content and style.

    Parameters
    ----------
    content, style : path, PIL image or array
    sheet : str or path
        The picture to write.
    networks : sequence of str, path or Weights
        As `stylecore.transfer` takes them; each compares by its own layers.
    **settings
        Others of `stylecore.transfer`.

    Returns
    -------
    list of Result
        One for each network; fewer if the callback ended one early.

    Raises
    ------
    StylecoreError
        As `stylecore.transfer` does; or if the sheet cannot be written, which is found before the work starts.
    """
    check_output(sheet)
    results = []
    for network in networks:
        results.append(transfer(content, style, network=network, **settings))
        if results[-1].stopped:
            break
    pictures = [read_image(content)[0], read_image(style)[0], *(result.array for result in results)]
    labels = ["content", "style", *(str(network) for network in networks[: len(results)])]
    together = contact_sheet(pictures, labels, height=len(results[0].array))
    write_image(sheet, together, settings={**results[0].settings, "network": labels[2:]})
    return results
