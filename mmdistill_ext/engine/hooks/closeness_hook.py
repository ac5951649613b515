"""Does the student get closer to its teacher while it trains?"""
from typing import Dict, Optional

from mmengine.dataset import pseudo_collate
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmrazor.registry import HOOKS
from torch.utils.data import DataLoader

from ...errors import ConfigError, whole


@HOOKS.register_module()
class ClosenessHook(Hook):
    """Logs after each validation how close student and teacher are on some validation images.

    For each link, or stage of FCFD, before and after the connector:
    ``closeness/<place>/distance_*``, the L2 distance divided by the teacher's norm, and
    ``closeness/<place>/cka_*``, linear CKA of the maps averaged over their positions. For FCFD
    also ``closeness/<path>/accuracy``, what the networks and each mixed path classify correctly
    (%). They appear in the log, in TensorBoard and other backends, and as curves in
    ``tools/report.py``.

    Args:
        images (int): How many, spread evenly over the validation data; they are run on the first
            rank. Defaults to 200.

    Examples:
        >>> from mmrazor.registry import HOOKS
        >>> custom_hooks = [dict(type='mmrazor.ClosenessHook', images=100)]  # in a config
        >>> HOOKS.build(custom_hooks[0]).images
        100
    """

    priority = 'ABOVE_NORMAL'  # before EMAHook puts the trained weights back

    def __init__(self, images: int = 200) -> None:
        self.images = whole('ClosenessHook: images', images)

    def before_train(self, runner: Runner) -> None:
        """Stop where there is nothing to compare."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model, 'teacher', None) is None:
            raise ConfigError(f'ClosenessHook: {type(model).__name__} has no teacher')

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Measure and hand the figures to the log."""
        if not is_main_process():
            return
        from ...analysis import closeness, data  # matplotlib: not when every training starts
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        loader = DataLoader(data.spread(runner.val_dataloader.dataset, self.images),
                            batch_size=runner.val_dataloader.batch_size or 1,
                            collate_fn=pseudo_collate)
        for name, value in closeness.measure(model, list(loader)).items():
            # mmengine logs the mean of the last ten of what has 'loss' in its name, as links have.
            runner.message_hub.log_scalars.pop(f'val/{name}', None)
            runner.message_hub.update_scalar(f'val/{name}', value)
