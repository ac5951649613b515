"""Images of a config's test data, or other files through the same pipeline."""
from pathlib import Path
from typing import Iterable, List, Optional, Sequence

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmrazor.registry import DATASETS
from torch.utils.data import DataLoader, Dataset, Subset

from ..errors import ConfigError

__all__ = ['batches', 'metainfo']


def batches(cfg: Config, images: int) -> Iterable[dict]:
    """Images evenly spread over the test data, in batches of its own size.

    Args:
        cfg (Config): Has a ``test_dataloader``.
        images (int): How many.
    """
    return DataLoader(_spread(cfg, images), collate_fn=pseudo_collate,
                      batch_size=cfg.test_dataloader.get('batch_size', 1))


def pictures(cfg: Config, images: int, files: Optional[Sequence[str]] = None) -> List[dict]:
    """The given files, or by default some of the test data; each image is a batch of its own."""
    return [pseudo_collate([item]) for item in (_given(cfg, files) if files else
                                                _spread(cfg, images))]


def spread(dataset: Dataset, count: int) -> Subset:
    """``count`` items evenly spread over a dataset; all where it has fewer."""
    count = min(count, len(dataset))
    return Subset(dataset, [int((i + .5) * len(dataset) / count) for i in range(count)])


def metainfo(cfg: Config) -> dict:
    """The ``classes`` of the test data, and the ``palette`` if one is stated.

    Without one, mmseg would draw a random palette.
    """
    dataset, config = _dataset(cfg), cfg.test_dataloader.dataset
    stated = {**getattr(type(dataset), 'METAINFO', {}), **(config.get('metainfo') or {})}
    return dict(classes=dataset.metainfo.get('classes'), palette=stated.get('palette'))


def shown(cfg: Config, batch: dict) -> np.ndarray:
    """The picture of a batch of one, [H, W, 3] in RGB; OpenMMLab loads BGR from files."""
    picture = batch['inputs'][0].permute(1, 2, 0)
    return (picture.flip(-1) if _reads_files(cfg) else picture).numpy()


def name(batch: dict, number: int) -> str:
    """The file of a batch of one; a number where the data has no files, as CIFAR."""
    sample = batch['data_samples'][0]
    return sample.get('img_path') or f'picture {sample.get("sample_idx", number)}'


def _dataset(cfg: Config) -> BaseDataset:
    return DATASETS.build(cfg.test_dataloader.dataset)


def _spread(cfg: Config, count: int) -> Subset:
    if count < 1:
        raise ConfigError(f'--images is 1 or more, found {count}')
    return spread(_dataset(cfg), count)


def _given(cfg: Config, files: Sequence[str]) -> List[dict]:
    for file in files:
        if not Path(file).is_file():
            raise ConfigError(f'no picture at {file}')
        if mmcv.imread(file) is None:
            raise ConfigError(f'{file} is no picture')
    pipeline = Compose(_unannotated(cfg.test_dataloader.dataset.pipeline))
    # Data that is in memory, as CIFAR, is RGB.
    return [pipeline(dict(img_path=str(file), img_id=i, **{} if _reads_files(cfg) else dict(
        img=mmcv.imread(file, channel_order='rgb')))) for i, file in enumerate(files)]


def _reads_files(cfg: Config) -> bool:
    return 'LoadImage' in str(cfg.test_dataloader.dataset.get('pipeline', 'LoadImage'))


def _unannotated(pipeline: Sequence[dict]) -> List[dict]:
    return [dict(step, transforms=_unannotated(step['transforms'])) if 'transforms' in step
            else step for step in pipeline if 'Annotations' not in str(step['type'])]
