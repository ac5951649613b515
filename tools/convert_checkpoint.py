"""Turn a public checkpoint, RepDistiller's or torchvision's, into one for the networks here.

    python tools/convert_checkpoint.py resnet32x4_vanilla/ckpt_epoch_240.pth resnet32x4.pth
    python tools/convert_checkpoint.py resnet34-b627a593.pth resnet34.pth
"""
import argparse
import codecs
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Tuple

import numpy as np
import torch
from torch import Tensor

from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.backbones.repdistiller_keys import (
    ALL,
    NETWORKS,
    TORCHVISION,
    Network,
    convert,
)

# Beside tensors RepDistiller saves accuracies, of numpy's types too, and the options of the run.
PLAIN = {
    'collections.OrderedDict': OrderedDict,
    'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
    'torch._utils._rebuild_parameter': torch._utils._rebuild_parameter,
    'argparse.Namespace': argparse.Namespace,
    '_codecs.encode': codecs.encode,  # bytes, as pickled for Python 2
    'numpy.dtype': np.dtype,
    'numpy.core.multiarray.scalar': np.float64(0).__reduce__()[0],
    'numpy._core.multiarray.scalar': np.float64(0).__reduce__()[0],
}


class PlainUnpickler(pickle.Unpickler):
    """Knows tensors and plain values and nothing that could run.

    ``torch.load(weights_only=True)`` does the same, but cannot be told of numpy's numbers on
    torch 2.1.
    """

    def find_class(self, module: str, name: str):
        try:
            return PLAIN[f'{module}.{name}']
        except KeyError:
            raise ConfigError(f'refused, it holds {module}.{name}; only tensors and plain values '
                              'are read') from None


def load_public(path: str) -> Tuple[Dict[str, Tensor], Dict[str, Network]]:
    """The state dict in a checkpoint of RepDistiller or torchvision, and the networks it may be of.

    Args:
        path (str): RepDistiller's ``ckpt_epoch_240.pth``, a dict whose ``model`` holds the state
            dict; or torchvision's file, which is the state dict.
    """
    plain = SimpleNamespace(  # as much of a pickle module as torch.load asks for
        __name__='plain', Unpickler=PlainUnpickler,
        load=lambda file, **kwargs: PlainUnpickler(file, **kwargs).load())
    try:
        checkpoint = torch.load(path, map_location='cpu', pickle_module=plain, weights_only=False)
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(error.strerror) from None
    except Exception as error:  # what a file of another kind raises depends on its bytes
        raise ConfigError(f'no PyTorch checkpoint ({type(error).__name__}: '
                          f'{str(error).partition(chr(10))[0]})') from None
    if is_state_dict(checkpoint) and checkpoint:
        return {key: value.detach() for key, value in checkpoint.items()}, TORCHVISION
    if not isinstance(checkpoint, dict) or 'model' not in checkpoint:
        found = ', '.join(map(repr, checkpoint)) if isinstance(checkpoint, dict) else (
            f'a {type(checkpoint).__name__}')
        raise ConfigError("no state dict under 'model', where RepDistiller has it, and none of "
                          f'tensors alone, as torchvision has it; found {found}')
    state = checkpoint['model']
    if not is_state_dict(state):
        raise ConfigError("what is under 'model' is not a state dict")
    return state, NETWORKS


def is_state_dict(value: Any) -> bool:
    """Whether it is a dict of nothing but tensors."""
    return isinstance(value, dict) and all(map(torch.is_tensor, value.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help="RepDistiller's ckpt_epoch_240.pth or torchvision's resnet")
    parser.add_argument('dst', help='where to write the converted checkpoint')
    parser.add_argument('--model', metavar='NAME', help='inferred from tensor names and shapes '
                        f'when absent; one of {", ".join(ALL)}')
    args = parser.parse_args()
    try:
        state, networks = load_public(args.src)
        name, state = convert(state, args.model, networks)
    except ConfigError as error:
        print(f'{args.src}: {error}', file=sys.stderr)
        sys.exit(2)
    Path(args.dst).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=state, meta=dict(model=name, source=args.src)), args.dst)
    print(f'{name}: {len(state)} tensors written to {args.dst}')


if __name__ == '__main__':
    main()
