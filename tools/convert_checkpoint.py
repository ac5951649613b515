"""Turn a public checkpoint, RepDistiller's or torchvision's, into one for the networks here.

    python tools/convert_checkpoint.py resnet32x4_vanilla/ckpt_epoch_240.pth resnet32x4.pth
    python tools/convert_checkpoint.py resnet34-b627a593.pth resnet34.pth
"""
import argparse
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor

from mmdistill_ext.checkpoints.load import read
from mmdistill_ext.checkpoints.save import whole_file
from mmdistill_ext.cli import command as cli
from mmdistill_ext.errors import ConfigError, few
from mmdistill_ext.models.backbones.repdistiller_keys import (
    ALL,
    NETWORKS,
    Network,
    convert,
)


def load_public(path: str) -> Tuple[Dict[str, Tensor], Dict[str, Network]]:
    """The state dict in a checkpoint of RepDistiller or torchvision, and the networks it may be of.

    Args:
        path (str): RepDistiller's ``ckpt_epoch_240.pth``, a dict whose ``model`` holds the state
            dict; or torchvision's file, or one of RepDistiller's networks, which is the state dict.
    """
    # Beside tensors RepDistiller saves accuracies, of numpy's types too, and the run's options.
    checkpoint = read(path, 'cpu', also=[argparse.Namespace])
    if is_state_dict(checkpoint) and checkpoint:
        return {key: value.detach() for key, value in checkpoint.items()}, ALL
    if not isinstance(checkpoint, dict) or 'model' not in checkpoint:
        found = f'a {type(checkpoint).__name__}'
        if isinstance(checkpoint, dict):
            found = f'{len(checkpoint)} keys ({few(map(repr, checkpoint))})'
        raise ConfigError(f"{path}: no state dict under 'model', where RepDistiller has it, and "
                          f'none of tensors alone, as torchvision has it; found {found}')
    state = checkpoint['model']
    if not is_state_dict(state):
        raise ConfigError(f"{path}: what is under 'model' is not a state dict")
    return state, NETWORKS


def is_state_dict(value: Any) -> bool:
    """Whether it is a dict of nothing but tensors."""
    return isinstance(value, dict) and all(map(torch.is_tensor, value.values()))


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help="RepDistiller's ckpt_epoch_240.pth or torchvision's resnet")
    parser.add_argument('dst', help='where to write the converted checkpoint')
    parser.add_argument('--model', metavar='NAME', help='inferred from tensor names and shapes '
                        f'when absent; one of {", ".join(ALL)}')
    args = parser.parse_args(argv)
    state, networks = load_public(args.src)
    try:
        name, state = convert(state, args.model, networks)
    except ConfigError as error:
        raise ConfigError(f'{args.src}: {error}') from error
    with whole_file(args.dst) as file:
        torch.save(dict(state_dict=state, meta=dict(model=name, source=args.src)), file)
    print(f'{name}: {len(state)} tensors written to {args.dst}')


if __name__ == '__main__':
    cli.main(main)
