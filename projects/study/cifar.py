"""CIFAR-100 out of data/cifar100, whether the files are the official ones or rebuilt."""
from mmengine.registry import DATASETS
from mmpretrain.datasets import CIFAR100


@DATASETS.register_module()
class StudyCIFAR100(CIFAR100):
    """mmpretrain's ``CIFAR100`` that compares no md5 sums.

    A rebuilt set has the same images and labels in another order, so its sums differ.

    Args:
        fold (str): 'all', 'held out' (every tenth image) or 'train' (the others). Defaults to
            'all'.
        kwargs: All others of ``CIFAR100``.
    """
    train_list = [['train', None]]
    test_list = [['test', None]]
    meta = dict(CIFAR100.meta, md5=None)

    def __init__(self, fold: str = 'all', **kwargs) -> None:
        self.fold = fold
        super().__init__(download=False, **kwargs)

    def load_data_list(self) -> list:
        images = super().load_data_list()
        return dict(all=images, train=[image for i, image in enumerate(images) if i % 10],
                    **{'held out': images[::10]})[self.fold]
