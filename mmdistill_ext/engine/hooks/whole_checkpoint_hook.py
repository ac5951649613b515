"""Saves checkpoints whole or not at all, and resumes from one that is whole."""
import contextlib
import copy
from typing import Any, Callable, Iterator, List, Tuple

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...checkpoints.first_rank import on_first_rank
from ...checkpoints.load import look_through
from ...checkpoints.save import BACKEND, find_newest_whole


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` for runs that may be killed; the arguments are the same.

    A file gets its name when all of it is on the disk, and an old checkpoint is removed after the
    new one is written. Resuming takes the newest whole checkpoint. ``tools/train.py`` uses it in
    place of ``CheckpointHook``; a config for another tool names it::

        default_hooks = dict(checkpoint=dict(type='mmrazor.WholeCheckpointHook', interval=1))

    With ``published_keys`` the published file at the end is mmengine's, written as it writes.

    Examples:
        >>> from mmrazor.registry import HOOKS
        >>> hook = HOOKS.build(dict(type='WholeCheckpointHook', interval=2, max_keep_ckpts=1))
        >>> hook.interval, hook.max_keep_ckpts
        (2, 1)
    """

    def before_run(self, runner: Runner) -> None:
        """Choose what to resume from, and look through what will be loaded."""
        if runner._resume and runner._load_from is None:
            # Runner.load_or_resume comes after this and resumes from load_from.
            runner._load_from = find_newest_whole(runner.work_dir)
        if runner._load_from:
            on_first_rank(lambda: look_through(runner._load_from))

    def before_train(self, runner: Runner) -> None:
        """Write whole files, unless the config says where or how files are written."""
        plain = '://' not in str(self.out_dir or runner.work_dir)
        stated = self.backend_args or self.file_client_args  # type: ignore[has-type]
        if plain and not stated:
            # A named backend wins over the prefix of a path, so s3:// must not get here.
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)

    def _save_checkpoint_with_step(self, *args: Any, **kwargs: Any) -> None:
        with self._removing_last():
            super()._save_checkpoint_with_step(*args, **kwargs)

    def _save_best_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(*args, **kwargs)

    @contextlib.contextmanager
    def _removing_last(self) -> Iterator[None]:
        """mmengine removes the old checkpoint first; this keeps its calls until the end."""
        backend = self.file_backend  # type: ignore[has-type]
        removals: List[Tuple[Callable, str]] = []
        self.file_backend = copy.copy(backend)
        self.file_backend.remove = lambda path: removals.append((backend.remove, path))
        self.file_backend.rmtree = lambda path: removals.append((backend.rmtree, path))
        try:
            yield
        finally:
            self.file_backend = backend
        for remove, path in removals:
            remove(path)
