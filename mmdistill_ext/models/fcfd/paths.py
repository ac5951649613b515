"""The mixed paths of FCFD: which there are, and which an iteration runs."""
import random
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from mmengine.dist import broadcast_object_list
from mmengine.logging import MessageHub

from ...errors import ConfigError, nearest, one_of_types

DIRECTIONS = ('s2t', 't2s')
FIELDS = ('num', 'positions', 'k_min', 'directions')


class Path(NamedTuple):
    """A way through one network up to stage k, and through the other from there.

    Args:
        k (int): The stage after which the networks change, counted from 1.
        direction (str): 's2t', student then teacher, the paper's ``<k, 1>``; or 't2s', teacher
            then student, ``<k, 0>``.
    """
    k: int
    direction: str

    @property
    def name(self) -> str:
        return f'{self.direction}_{self.k}'


class PathSampler:
    """Draws paths without replacement, as a function of the seed and the iteration alone.

    So all ranks draw the same, and a resumed run draws what an uninterrupted one would have.

    Args:
        stages (int): N, the number of stages of either network.
        num (int | str): Paths an iteration, or 'all'. 0 leaves the appearance losses alone.
            Defaults to 2.
        positions (Sequence[int], optional): The stages k that paths may change at, out of
            1 .. N - 1. Defaults to all of them.
        k_min (int): The least of them. Defaults to 1.
        directions (Sequence[str]): 's2t' and 't2s', or one of them. Defaults to both.
    """

    def __init__(self, stages: int, num: Union[int, str] = 2,
                 positions: Optional[Sequence[int]] = None, k_min: int = 1,
                 directions: Sequence[str] = DIRECTIONS) -> None:
        directions = [directions] if isinstance(directions, str) else list(directions)
        for direction in directions:
            if direction not in DIRECTIONS:
                raise ConfigError(f"paths: direction {direction!r}; expected one of 's2t', 't2s'")
        allowed = range(1, stages)
        for k in (k_min, *(positions or ())):
            if k not in allowed:
                last = ', which is the last stage' if k == stages else ''
                raise ConfigError(f'paths: position {k}{last}; of {stages} stages expected '
                                  f'one of {", ".join(map(str, allowed)) or "none"}')
        self.candidates: List[Path] = [
            Path(k, direction) for k in sorted(set(positions or allowed)) if k >= k_min
            for direction in DIRECTIONS if direction in directions]
        count = len(self.candidates) if num == 'all' else num
        if not isinstance(count, int) or not 0 <= count <= len(self.candidates):
            names = ', '.join(path.name for path in self.candidates) or 'none'
            raise ConfigError(f"paths: num is {num!r}; expected one of 0 to "
                              f"{len(self.candidates)} or 'all', for the paths are {names}")

        self.num = count
        if count == 0:
            self.candidates = []
        self._seeds: Dict[int, int] = {}  # a rank's own -> the first rank's
        self._calls = 0

    @classmethod
    def from_config(cls, stages: int, config: dict) -> 'PathSampler':
        """From the field ``paths`` of an algorithm."""
        for key in one_of_types('paths', config, dict):
            if key not in FIELDS:
                raise ConfigError(f'paths has no field {key!r}; {nearest(key, FIELDS)}')
        return cls(stages, **config)

    @property
    def samples(self) -> bool:
        """Whether iterations differ in their paths."""
        return 0 < self.num < len(self.candidates)

    def sample(self, seed: int, iteration: int) -> List[Path]:
        """The paths of an iteration, in the order of the candidates.

        Args:
            seed (int): The run's seed.
            iteration (int): Counted from the start of training.
        """
        if not self.samples:
            return self.candidates[:self.num]
        # A string as seed is hashed the same way on every machine.
        drawn = random.Random(f'{seed} {iteration}').sample(self.candidates, self.num)
        return sorted(drawn, key=self.candidates.index)

    def draw(self) -> List[Path]:
        """The paths of the iteration that the runner is in, by its seed.

        In a loop without a runner, by how often this was called.
        """
        hub = MessageHub.get_current_instance()
        seed, iteration = hub.get_info('seed', 0), hub.get_info('iter', self._calls)
        self._calls += 1
        if seed not in self._seeds:  # ranks may differ (diff_rank_seed)
            first = [seed]
            broadcast_object_list(first)
            self._seeds[seed] = first[0]
        return self.sample(self._seeds[seed], iteration)
