"""What distillation costs: `make bench`, or one row with `--row 'seg: ours'`."""
import argparse
import json
import platform
import statistics
from pathlib import Path

import torch

import mmdistill_ext  # noqa: F401
from mmdistill_ext.analysis.batches import random_batch
from mmdistill_ext.analysis.bench_rows import OTHERS, TASKS, mlp_rows
from mmdistill_ext.analysis.bench_table import draw, markdown, write_between
from mmdistill_ext.analysis.measure import flops_of, interleaved_times, saved_bytes

DOCS = Path(__file__).parents[1] / 'docs' / 'performance.md'


def parse_args():
    parser = argparse.ArgumentParser(description='Time and count the training steps of the recipes')
    parser.add_argument('--groups', nargs='+', default=[*TASKS, *OTHERS])
    parser.add_argument('--row', help="one row, such as 'seg: ours'")
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/bench'))
    parser.add_argument('--write-docs', action='store_true', help='put the tables into docs/')
    return parser.parse_args()


def rows_of(group: str, device: str) -> dict:
    """Name -> builder of the rows of a group."""
    if group in TASKS:
        return mlp_rows(group, random_batch(group, TASKS[group].shape, device))
    shape, rows = OTHERS[group]
    return rows(random_batch('cls', shape, device))


def measure(group: str, builders: dict, rounds: int, device: str) -> dict:
    """Time the rows of a group side by side and count what can be counted."""
    rows = {name: builder() for name, builder in builders.items()}
    for row in rows.values():
        row.model.to(device)
    times = interleaved_times({name: row.step for name, row in rows.items()}, rounds)
    results = {}
    for name, row in rows.items():
        seconds = sorted(times[name])
        flops, saved = [], []
        for case in row.cases:
            case()
            flops.append(flops_of(row.step))
            saved.append(saved_bytes(row.forward, row.model))
        results[name] = dict(
            seconds=statistics.median(seconds), fastest=seconds[0], slowest=seconds[-1],
            gflop=statistics.mean(flops) / 1e9, saved_mb=max(saved) / 2**20,
            checkpoint_mb=sum(t.numel() * t.element_size()
                              for t in row.model.state_dict().values()) / 2**20)
        if device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
            row.step()
            results[name]['peak_mb'] = torch.cuda.max_memory_allocated() / 2**20
        print(f'{group}: {name}: {results[name]["seconds"]:.3f} s', flush=True)
    return results


def main():
    args = parse_args()
    groups = [args.row.split(':')[0]] if args.row else args.groups
    results = {}
    for group in groups:
        builders = rows_of(group, args.device)
        if args.row:
            name = args.row.split(':', 1)[1].strip()
            builders = {name: builders[name]}
        results[group] = measure(group, builders, args.rounds, args.device)
    machine = dict(processor=platform.processor() or platform.machine(), torch=torch.__version__,
                   threads=torch.get_num_threads(), device=args.device, rounds=args.rounds)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'bench.json').write_text(json.dumps(dict(machine=machine, results=results),
                                                    indent=2))
    table = markdown(results, machine)
    print(table)
    draw(results, args.out / 'bench.png')
    if args.write_docs:
        write_between(DOCS, f'bench {args.device}', table)


if __name__ == '__main__':
    main()
