"""Says in the log which gaps between versions are bridged."""
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ... import compat


@HOOKS.register_module()
class ListPatchesHook(Hook):
    """Logs one line that lists the applied patches; our tools add it by themselves.

    A config for another tool names it: ``custom_hooks=[dict(type='mmrazor.ListPatchesHook')]``.

    Examples:
        >>> from mmdistill_ext import compat
        >>> compat.summary().split(':')[0]  # the line that it logs
        'mmdistill_ext patches'
    """

    def before_run(self, runner: Runner) -> None:
        """Log the line."""
        runner.logger.info(compat.summary())
