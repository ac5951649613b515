"""Learning curves as inline SVG: sharp at any size, and in the colours of the page's scheme."""
import math
from html import escape
from typing import Dict, List, Tuple

from .run_folders import Points

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 72, 12, 14, 58
COLOURS = 8  # --line-0 .. in the page's style
DASHES = ('', '7 4', '2 3', '9 3 2 3')


def ticks(low: float, high: float, most: int = 6) -> List[float]:
    """Round numbers from below ``low`` to above ``high``.

    Args:
        low (float): The smallest value.
        high (float): The largest value.
        most (int): About how many. Defaults to 6.
    """
    span = (high - low) or abs(high) or 1.
    raw = span / (most - 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * .999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def line_style(index: int) -> str:
    """Colour and dashes of a line."""
    dash = DASHES[index // COLOURS % len(DASHES)]
    return f'stroke:var(--line-{index % COLOURS})' + (f';stroke-dasharray:{dash}' if dash else '')


def draw(curves: Dict[str, Points], metric: str, unit: str) -> str:
    """The svg element.

    Args:
        curves (dict[str, Points]): Name of the run -> its curve.
        metric (str): With its unit.
        unit (str): Of the steps, 'epoch' or 'iteration'.
    """
    points = [point for each in curves.values() for point in each]
    down = ticks(min(y for _, y in points), max(y for _, y in points))
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    across = [x for x in ticks(first, last, 8) if x == int(x) and first <= x <= last]

    def place(x: float, y: float) -> Tuple[float, float]:
        right = (x - first) / ((last - first) or 1)
        up = (y - down[0]) / (down[-1] - down[0])
        return (round(LEFT + right * (WIDTH - LEFT - RIGHT), 1),
                round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1))

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'aria-label="{escape(metric)} by {unit}">']
    for y in down:
        _, height = place(first, y)
        parts += [f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" '
                  f'y2="{height}"/>',
                  f'<text x="{LEFT - 8}" y="{height}" dy=".35em" text-anchor="end">{y:g}</text>']
    for x in across:
        parts.append(f'<text x="{place(x, down[0])[0]}" y="{HEIGHT - BOTTOM}" dy="1.4em" '
                     f'text-anchor="middle">{x:g}</text>')
    parts += [f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT}" dy="-.4em" '
              f'text-anchor="middle">{unit}</text>']
    for index, (name, each) in enumerate(curves.items()):
        style = line_style(index)
        path = ' '.join(f'{x},{y}' for x, y in (place(*point) for point in each))
        parts.append(f'<polyline points="{path}" style="{style}"><title>{escape(name)}</title>'
                     '</polyline>')
        for step, value in each:
            x, y = place(step, value)
            parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" '
                         f'style="fill:var(--line-{index % COLOURS})">'
                         f'<title>{escape(name)}, {unit} {step}: {value:.4g}</title></circle>')
    return ''.join([*parts, '</svg>'])
