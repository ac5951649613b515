"""Random batches as the data preprocessors would give them."""
import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData


def random_batch(task: str, shape: tuple, device: str = 'cpu') -> dict:
    """A normalised batch with annotations.

    Args:
        task (str): 'cls', 'seg' or 'det'.
        shape (tuple[int]): [N, C, H, W].
        device (str): Where the tensors are. Defaults to 'cpu'.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(shape, generator=generator).to(device)
    return dict(inputs=inputs, data_samples=[_sample(task, shape[2:], i, device)
                                             for i in range(shape[0])])


def _sample(task: str, size: tuple, index: int, device: str):
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
                scale_factor=(1., 1.))
    if task == 'cls':
        from mmpretrain.structures import DataSample
        return DataSample().set_gt_label(index % 10).to(device)
    if task == 'seg':
        from mmseg.structures import SegDataSample
        sample = SegDataSample(metainfo=meta)
        labels = torch.arange(size[0] * size[1]).reshape(1, *size) // 97 % 19
        sample.gt_sem_seg = PixelData(data=labels)
        return sample.to(device)
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    sample = DetDataSample(metainfo=meta)
    height, width = size
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[0., 0., .3, .3], [.3, .2, .9, .8]]) * torch.tensor(
            [width, height, width, height]),
        labels=torch.tensor([1, 7]),
        masks=BitmapMasks(np.ones((2, height, width), np.uint8), height, width))
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    return sample.to(device)
