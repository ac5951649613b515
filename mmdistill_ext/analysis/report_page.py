"""One self-contained HTML page of tables, curves and pictures."""
import base64
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from jinja2 import Environment, FileSystemLoader

from . import svg_curves, tables
from .run_folders import Points
from .tables import Table


class Curves(NamedTuple):
    """A plot.

    Args:
        lines (dict[str, Points]): Name of the run -> its curve.
        metric (str): With its unit.
        unit (str): Of the steps, 'epoch' or 'iteration'.
    """
    lines: Dict[str, Points]
    metric: str
    unit: str


class Picture(NamedTuple):
    """A picture with what is written below it.

    Args:
        path (Path): A png.
        caption (str): What it shows.
        table (Table, optional): The numbers behind it.
    """
    path: Path
    caption: str
    table: Optional[Table] = None


class Section(NamedTuple):
    """A part of the page.

    Args:
        title (str): Its heading.
        text (str): A paragraph below it.
        table (Table, optional): Comes first.
        curves (Curves, optional): Come next.
        pictures (list[Picture]): Come last.
    """
    title: str
    text: str = ''
    table: Optional[Table] = None
    curves: Optional[Curves] = None
    pictures: Sequence[Picture] = ()


def render(title: str, sections: List[Section]) -> str:
    """The page as one string, which loads nothing from the network.

    Args:
        title (str): Of the page.
        sections (list[Section]): In their order.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(data=_data, cell=tables.text, line_style=svg_curves.line_style)
    return environment.get_template('report.html').render(
        title=title, sections=sections, svg=svg_curves.draw)


def _data(path: Path) -> str:
    return 'data:image/png;base64,' + base64.b64encode(Path(path).read_bytes()).decode()
