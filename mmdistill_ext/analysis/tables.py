"""Tables: the numbers behind a picture, as csv for programs and as Markdown for the screen."""
import csv
from pathlib import Path
from typing import NamedTuple, Optional, Sequence, Union

Cell = Union[str, int, float, None]


class Table(NamedTuple):
    """What a tool measured.

    Args:
        columns (Sequence[str]): Their names, with units.
        rows (Sequence[Sequence]): Strings, numbers, and None where there is nothing to say.
    """
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def write(self, path: Path) -> None:
        """As csv, with all digits.

        Args:
            path (Path): Its folder is made where it is missing.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(self.columns)
            writer.writerows(self.rows)

    def markdown(self) -> str:
        """As Markdown, with four digits."""
        lines = [self.columns, ['---'] * len(self.columns), *(map(text, row) for row in self.rows)]
        return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def text(cell: Optional[Cell]) -> str:
    """A cell as it is shown."""
    if cell is None:
        return '–'
    return f'{cell:.4g}' if isinstance(cell, float) else str(cell)


def write_between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the two markers ``<!-- name -->`` of a page."""
    marker = f'<!-- {name} -->'
    before, _, after = path.read_text().split(marker)
    path.write_text(f'{before}{marker}\n{text}\n{marker}{after}')
