"""Turn a CIFAR-100 checkpoint of RepDistiller into one for this project's networks.

    python tools/convert_checkpoint.py resnet32x4_vanilla/ckpt_epoch_240.pth resnet32x4.pth
"""
import argparse
import codecs
import pickle
import sys
from collections import OrderedDict
from types import SimpleNamespace
from typing import Dict

import numpy as np
import torch
from torch import Tensor

from mmdistill_ext.checkpoints.save import whole_file
from mmdistill_ext.errors import ConfigError
from mmdistill_ext.models.backbones.repdistiller_keys import NETWORKS, convert

# Beside tensors RepDistiller saves accuracies, of numpy's types too, and the options of the run.
PLAIN = {
    'collections.OrderedDict': OrderedDict,
    'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
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


def load_public(path: str) -> Dict[str, Tensor]:
    """The state dict in a checkpoint of RepDistiller.

    Args:
        path (str): ``ckpt_epoch_240.pth``, a dict whose ``model`` holds the state dict.
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
    if not isinstance(checkpoint, dict) or 'model' not in checkpoint:
        found = ', '.join(map(repr, checkpoint)) if isinstance(checkpoint, dict) else (
            f'a {type(checkpoint).__name__}')
        raise ConfigError(f"no state dict under 'model', where RepDistiller has it; found {found}")
    state = checkpoint['model']
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ConfigError("what is under 'model' is not a state dict")
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help="RepDistiller's ckpt_epoch_240.pth")
    parser.add_argument('dst', help='where to write the converted checkpoint')
    parser.add_argument('--model', metavar='NAME', help='inferred from tensor names and shapes '
                        f'when absent; one of {", ".join(NETWORKS)}')
    args = parser.parse_args()
    try:
        name, state = convert(load_public(args.src), args.model)
    except ConfigError as error:
        print(f'{args.src}: {error}', file=sys.stderr)
        sys.exit(2)
    with whole_file(args.dst) as file:
        torch.save(dict(state_dict=state, meta=dict(model=name, source=args.src)), file)
    print(f'{name}: {len(state)} tensors written to {args.dst}')


if __name__ == '__main__':
    main()
