"""Style of the figures: colours that colour-blind readers can distinguish, and saving."""
from pathlib import Path

from matplotlib.figure import Figure

# Okabe and Ito's palette, the darker ones first.
BLUE, ORANGE, GREEN, PURPLE = '#0072B2', '#D55E00', '#009E73', '#CC79A7'
AMBER, SKY, GREY, YELLOW = '#E69F00', '#56B4E9', '#6E6E6E', '#F0E442'
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY, GREY, YELLOW)
TEACHER, STUDENT, OVERLAP = ORANGE, BLUE, GREY
DASHES = ('-', '--', ':', '-.')


def line_style(index: int) -> dict:
    """Colour and dashes of a line; the first 32 differ.

    Args:
        index (int): Which line.
    """
    return dict(color=COLOURS[index % len(COLOURS)],
                linestyle=DASHES[index // len(COLOURS) % len(DASHES)])


def new(width: float, height: float) -> Figure:
    """An empty figure.

    Args:
        width (float): In inches.
        height (float): In inches.
    """
    return Figure(figsize=(width, height), layout='constrained')


def save(figure: Figure, path: Path) -> None:
    """Write a png.

    Args:
        figure (Figure): What is drawn.
        path (Path): Its folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
