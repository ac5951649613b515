"""CIFAR-100 out of data/cifar100, whether the files are the official ones or rebuilt."""
from mmengine.registry import DATASETS
from mmpretrain.datasets import CIFAR100


@DATASETS.register_module()
class StudyCIFAR100(CIFAR100):
    """mmpretrain's ``CIFAR100`` that compares no md5 sums.

    A rebuilt set has the same images and labels in another order, so its sums differ.

    Args:
        part (tuple[int, int]): Start and stop of the images that are taken. Defaults to all.
        kwargs: All others of ``CIFAR100``.
    """
    train_list = [['train', None]]
    test_list = [['test', None]]
    meta = dict(CIFAR100.meta, md5=None)

    def __init__(self, part: tuple = (), **kwargs) -> None:
        self.part = part
        super().__init__(download=False, **kwargs)

    def load_data_list(self) -> list:
        images = super().load_data_list()
        return images[self.part[0]:self.part[1]] if self.part else images
