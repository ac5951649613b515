"""What the whole training of each recipe takes: ``python -m projects.bench.scale --write-docs``."""
import argparse
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Dict, List

from mmengine.config import Config
from mmengine.config import utils as config_utils

import mmdistill_ext  # noqa: F401
from mmdistill_ext.analysis.tables import write_between
from projects.bench.recipe_flops import Counts, count, image_size, recipes, seen_images
from projects.bench.scale_hours import Speeds, read_speeds
from projects.where import HOME

DOCS = HOME / 'docs/scale.md'
COUNTED = HOME / 'work_dirs/bench/scale.json'  # a recipe that has not changed is not counted again


def main() -> None:
    parser = argparse.ArgumentParser(description='Count the operations of each recipe')
    parser.add_argument('--only', default='*', metavar='PATTERN', help='of file names')
    parser.add_argument('--write-docs', action='store_true', help='put the table into docs/')
    args = parser.parse_args()
    # mmengine reads all metafiles of a library anew for every config that it takes from there.
    config_utils.load = lru_cache(maxsize=None)(config_utils.load)
    known = json.loads(COUNTED.read_text()) if COUNTED.is_file() else {}
    students: Dict[str, float] = {}
    for path in recipes(HOME / 'configs'):
        config = Config.fromfile(path)
        text = hashlib.sha256(config.pretty_text.encode()).hexdigest()
        if path.match(args.only + '.py') and known.get(path.stem, {}).get('text') != text:
            counts = count(config, students)
            known[path.stem] = dict(text=text, **counts._asdict())
            COUNTED.parent.mkdir(parents=True, exist_ok=True)
            COUNTED.write_text(json.dumps(known, indent=2))
            print(f'{path.stem}: {counts.all:.1f} GFLOP an image', flush=True)
    lines = table(known)
    print('\n'.join(lines))
    if args.write_docs:
        write_between(DOCS, 'scale', '\n'.join(lines))


def table(known: Dict[str, dict]) -> List[str]:
    """A row for each recipe that is counted."""
    speeds = read_speeds(HOME / 'docs/performance.md')
    lines = ['| recipe | input | images, million | student, PFLOP | teacher | whole training | '
             'GPU hours, eager | mixed precision |', '|---|---|---|---|---|---|---|---|']
    for path in recipes(HOME / 'configs'):
        if path.stem in known:
            config = Config.fromfile(path)
            counted = {key: value for key, value in known[path.stem].items() if key != 'text'}
            lines.append(_row(path, config, Counts(**counted), speeds))
    return lines


def _row(path: Path, config: Config, counts: Counts, speeds: Speeds) -> str:
    images, step = seen_images(config, path.stem)
    height, width = image_size(config)
    peta = [f'{value:.4g}' if value < 1e4 else f'{value:.0f}'
            for value in (images * each / 1e6 for each in counts)]
    hours = [f'{found:.3g}' if found else '–'
             for found in speeds.hours(path, config, images, step, counts.all)]
    link = f'[{path.stem}](../{path.relative_to(HOME)})'
    return f'| {link} | {height}x{width} | {images / 1e6:.3g} | ' + ' | '.join(
        [*peta, *hours]) + ' |'


if __name__ == '__main__':
    main()
