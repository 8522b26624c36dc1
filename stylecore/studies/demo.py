"""The demonstration: the sample photograph in the style of the sample painting."""

from stylecore._transfer import transfer
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import check_output, write_image
from stylecore.samples import PAINTING, PHOTOGRAPH


def demo(output="demo.png", sheet="demo-sheet.png", **settings):
    """Make a picture of the samples, and a sheet that shows content, style and result side by side.

    Parameters
    ----------
    output, sheet : str or path
        The pictures to write.
    **settings
        As `stylecore.transfer` takes them.

    Returns
    -------
    Result
        As `stylecore.transfer` returns it.

    Raises
    ------
    StylecoreError
        As `stylecore.transfer` does; or if a picture cannot be written, which is found before the work starts.
    """
    check_output(output)
    check_output(sheet)
    result = transfer(PHOTOGRAPH, PAINTING, **settings)
    result.save(output)
    pictures = [read_image(PHOTOGRAPH)[0], read_image(PAINTING)[0], result.array]
    together = contact_sheet(pictures, ["content", "style", "result"], height=len(result.array))
    write_image(sheet, together, settings=result.settings)
    return result
