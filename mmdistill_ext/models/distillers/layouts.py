"""Which dimension of a feature holds the channels, and how two features get one layout.

A feature is a vector ``[N, C]``, tokens ``[N, L, C]`` or a map ``[N, C, H, W]``. A class token has
no place in a map, so tokens become a map only if the model's patch grid is known.
"""
from typing import NamedTuple, Optional, Sequence, Tuple

from torch import Tensor, nn

from ...errors import ConfigError

IMAGES = 2  # in the batch of the dry run
KINDS = {2: 'vector [N, C]', 3: 'tokens [N, L, C]', 4: 'map [N, C, H, W]'}


class Layout(NamedTuple):
    """How one feature is laid out, as found in the dry run (whose images are square).

    Args:
        ndim (int): 2 for a vector, 3 for tokens, 4 for a map.
        channels (int): The number of channels.
        channels_first (bool): Tokens are ``[N, C, L]``, as MLP-Mixer's backbone returns them.
        extra_tokens (int): Tokens before those of the patches: class, distillation.
        side (int, optional): Height and width of the map or of the patch grid. None: not known.
    """
    ndim: int
    channels: int
    channels_first: bool = False
    extra_tokens: int = 0
    side: Optional[int] = None


class Steps(NamedTuple):
    """What is done to one feature before the connector and the loss.

    Args:
        channels_first (bool): Transpose ``[N, C, L]`` to ``[N, L, C]``.
        drop (int): Leave out that many tokens at the front.
        to_map (float, optional): Reshape tokens to a map; the patch grid is that many times as
            high and wide as the other side's map, in self-distillation as the images.
    """
    channels_first: bool = False
    drop: int = 0
    to_map: Optional[float] = None

    def apply(self, feature: Tensor, size: Sequence[int]) -> Tensor:
        """Return the feature in the layout that both sides share.

        Args:
            feature (Tensor): A vector, tokens or a map.
            size (Sequence[int]): Height and width of the other side's map, in self-distillation
                of the images. Read if ``to_map`` is set.
        """
        if self.channels_first:
            feature = feature.transpose(1, 2)
        if self.drop:
            feature = feature[:, self.drop:]
        if self.to_map is None:
            return feature
        # Images need not be square: the other map has their proportions. Both networks round both
        # sides up (or both down), so a wrong grid cannot have the right number of tokens.
        height, width = (round(side * self.to_map) for side in size)
        if height * width != feature.shape[1]:
            raise ConfigError(
                f'{feature.shape[1]} tokens are no grid of {height} x {width}, which the other '
                f"side's map or (in self-distillation) the image, {list(size)}, implies; pad "
                "images to a multiple of the networks' strides")
        return feature.transpose(1, 2).unflatten(2, (height, width))


def layout_of(tensor: Tensor, output, model: nn.Module, place: str, size: int) -> Layout:
    """Find out how a feature of the dry run is laid out.

    Args:
        tensor (Tensor): The feature.
        output: What the module returned; may hold the grid beside the tokens.
        model (nn.Module): The network.
        place (str): The module's name.
        size (int): Height and width of the images.
    """
    if tensor.ndim != 3:
        channels = tensor.shape[1] if tensor.ndim > 1 else 0
        return Layout(tensor.ndim, channels, side=tensor.shape[2] if tensor.ndim == 4 else None)
    first, second = tensor.shape[1:]
    if tensor.shape[0] != IMAGES and first == IMAGES:
        raise ConfigError(f'{place} returns {list(tensor.shape)} for {IMAGES} images; expected '
                          'tokens [N, L, C] with the batch first')
    grid = _returned_grid(output, tensor)
    if grid is not None and grid[0] == grid[1] and grid[0] * grid[1] == first:
        return Layout(3, second, side=grid[0])
    backbone = _owner(model, place)
    if backbone is None:
        return Layout(3, second)
    side, extra = _patch_grid(backbone, size), _extra_tokens(backbone)
    width = getattr(backbone, 'embed_dims', None)
    if side and first == width and second == side ** 2 + extra:
        if first == second:
            raise ConfigError(
                f'{place} returns {first} channels and {first} tokens in the dry run, so which '
                'dimension holds the channels is not known; name a module that returns a map')
        return Layout(3, first, True, extra, side)
    while side:  # each stage of a pyramid halves the grid
        if side ** 2 + extra == first:
            return Layout(3, second, False, extra, side)
        side = side // 2 if side % 2 == 0 else 0
    return Layout(3, second)


def match(student: Layout, teacher: Layout) -> Tuple[Steps, Steps]:
    """``Steps`` of the student and of the teacher that give both one layout.

    Raises:
        ConfigError: There are none.
    """
    kinds = {student.ndim, teacher.ndim}
    if kinds == {3, 4}:
        found = []
        for name, layout, other in (('student', student, teacher), ('teacher', teacher, student)):
            if layout.ndim == 4:
                found.append(Steps())
                continue
            if layout.side is None or other.side is None:
                raise ConfigError(f"the {name}'s patch grid is not known, so its tokens cannot "
                                  "become a map; name a module that returns a map (a backbone's "
                                  "out_type='featmap')")
            found.append(Steps(layout.channels_first, layout.extra_tokens,
                               layout.side / other.side))
        return found[0], found[1]
    if len(kinds) > 1 and kinds <= KINDS.keys():
        raise ConfigError(f'the student returns a {KINDS[student.ndim]}, the teacher a '
                          f'{KINDS[teacher.ndim]}; name places that return the same kind')
    differ = student.extra_tokens != teacher.extra_tokens
    return (Steps(student.channels_first, student.extra_tokens if differ else 0),
            Steps(teacher.channels_first, teacher.extra_tokens if differ else 0))


def map_steps(layout: Layout, image: int) -> Steps:
    """What makes maps of tokens whose grid is known, with no other side; nothing for others.

    Args:
        layout (Layout): Of the dry run.
        image (int): Height and width of its images.
    """
    if layout.ndim != 3 or layout.side is None:
        return Steps()
    return Steps(layout.channels_first, layout.extra_tokens, layout.side / image)


def _owner(model: nn.Module, place: str) -> Optional[nn.Module]:
    """The nearest module at or above a place that knows its patch grid."""
    parts = place.split('.')
    for count in range(len(parts), -1, -1):
        module = model.get_submodule('.'.join(parts[:count]))
        if hasattr(module, 'patch_resolution') or (
                hasattr(module, 'patch_embed') and hasattr(module, 'patch_size')):
            return module
    return None


def _patch_grid(backbone: nn.Module, size: int) -> Optional[int]:
    """Height and width of the patch grid on images of one size; None if not a whole number."""
    image, grid = getattr(backbone, 'img_size', None), getattr(backbone, 'patch_resolution', None)
    if grid is None:
        patch = _one(backbone.patch_size)
        return size // patch if patch else None
    if image is None:  # Swin keeps the size in its patch embedding only
        image = getattr(getattr(backbone, 'patch_embed', None), 'init_input_size', None)
    pixels, patches = _one(image) if image else None, _one(grid)
    if not pixels or not patches:
        return None
    side, rest = divmod(size * patches, pixels)
    return None if rest else side


def _one(size) -> Optional[int]:
    """The number of a size that is one number, or twice the same."""
    sizes = {size} if isinstance(size, int) else set(size)
    return sizes.pop() if len(sizes) == 1 else None


def _extra_tokens(backbone: nn.Module) -> int:
    has_class_token = (getattr(backbone, 'cls_token', None) is not None
                       and getattr(backbone, 'with_cls_token', True))
    return int(getattr(backbone, 'num_extra_tokens', has_class_token))


def _returned_grid(output, tensor: Tensor) -> Optional[tuple]:
    """The (height, width) that some modules return right after their tokens."""
    items = list(output) if isinstance(output, (tuple, list)) else []
    for item, following in zip(items, items[1:]):
        if item is tensor and isinstance(following, (tuple, list)) and len(following) == 2 \
                and all(isinstance(number, int) for number in following):
            return tuple(following)
    return None
