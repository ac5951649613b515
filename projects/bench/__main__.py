"""What distillation costs: `make bench`, or one row with `--row 'seg: ours'`."""
import argparse
import json
from pathlib import Path
from typing import Optional, Sequence

import torch

import mmdistill_ext  # noqa: F401
from mmdistill_ext.analysis.tables import write_between
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError
from projects.bench.run import GROUPS, machine, run_group
from projects.bench.table import draw, markdown
from projects.where import HOME

DOCS = HOME / 'docs/performance.md'


def parse_args(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Time and count the training steps of the recipes')
    parser.add_argument('--groups', nargs='+', choices=GROUPS, default=GROUPS)
    parser.add_argument('--row', help="one row, such as 'seg: ours'")
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--amp', action='store_true', help='in bf16 mixed precision')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/bench'))
    parser.add_argument('--write-docs', action='store_true', help='put the tables into docs/')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    group, _, row = (args.row or '').partition(':')
    if group and group not in GROUPS:
        raise ConfigError(f"--row is 'group: row' with a group of {', '.join(GROUPS)}, "
                          f'found {args.row!r}')
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: torch sees no GPU')
    here = machine(args.device, args.amp)
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in [group] if group else args.groups:
        results[name] = run_group(name, row.strip(), args.rounds, args.device, args.amp, args.out)
        for what, figures in results[name].items():
            print(f'{name}: {what}: {figures["seconds"]:.3f} s', flush=True)
        (args.out / 'bench.json').write_text(
            json.dumps(dict(machine=here, results=results), indent=2))
    table = markdown(results, here)
    print(table)
    draw(results, args.out / 'bench.png')
    if args.write_docs:
        write_between(DOCS, f'bench {args.device}{" amp" if args.amp else ""}', table)


if __name__ == '__main__':
    cli.main(main)
