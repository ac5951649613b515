"""Draws scenes: digits scaled, rotated, tinted and blended over crops of photographs."""
from dataclasses import dataclass, field
from typing import List, Tuple

import cv2
import numpy as np

from .sources import PHOTOS, SPLITS, Sources


@dataclass(frozen=True)
class SceneSettings:
    """All settings of a data set.

    Args:
        train (int): Number of training scenes. Defaults to 1200.
        val (int): Number of scenes for validation. Defaults to 400.
        tune (int): Number of scenes for choosing hyper-parameters. Defaults to 300.
        size (int): Height and width of a scene. Defaults to 128.
        min_digits (int): The fewest digits in a scene. Defaults to 2.
        max_digits (int): The most digits in a scene. Defaults to 6.
        min_size (int): The smallest height of an upright digit. Defaults to 24.
        max_size (int): The largest height of an upright digit. Defaults to 48.
        max_angle (float): Rotation in degrees, either way. Defaults to 25.
        clutter (float): Mean number of strokes that are not digits. Defaults to 6.
        noise (float): Standard deviation of the noise, in grey levels. Defaults to 12.
        seed (int): Another seed, other scenes. Defaults to 0.
    """
    train: int = 1200
    val: int = 400
    tune: int = 300
    size: int = 128
    min_digits: int = 2
    max_digits: int = 6
    min_size: int = 24
    max_size: int = 48
    max_angle: float = 25.
    clutter: float = 6.
    noise: float = 12.
    seed: int = 0


@dataclass
class Scene:
    """One picture and the digits in it.

    Args:
        image (np.ndarray): RGB, uint8, shape (size, size, 3).
        photo (str): The photograph behind it.
        labels (list[int]): The class of every digit.
        digit_ids (list[int]): The row of every digit in ``load_digits()``.
        masks (list[np.ndarray]): What is seen of every digit, bool, shape (size, size). No two
            overlap.
    """
    image: np.ndarray
    photo: str
    labels: List[int] = field(default_factory=list)
    digit_ids: List[int] = field(default_factory=list)
    masks: List[np.ndarray] = field(default_factory=list)

    def boxes(self) -> List[Tuple[int, int, int, int]]:
        """Tight (x, y, width, height) around every digit's visible part."""
        return [cv2.boundingRect(mask.astype(np.uint8)) for mask in self.masks]


def draw_scene(sources: Sources, settings: SceneSettings, split: str, index: int) -> Scene:
    """Draw scene number ``index`` of a split.

    It depends on nothing but the arguments, so a scene stays the same however many are drawn.

    Args:
        sources (Sources): The split's digits and photographs.
        settings (SceneSettings): Difficulty and seed.
        split (str): One of ``SPLITS``.
        index (int): Number of the scene.
    """
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
    which = index % len(PHOTOS)
    canvas = _background(sources.photos[which], settings.size, rng)
    scene = Scene(canvas, PHOTOS[which])

    strokes = rng.poisson(settings.clutter)
    for _ in range(strokes // 2):
        _blend(canvas, _stroke(settings.size, rng), rng)
    for _ in range(rng.integers(settings.min_digits, settings.max_digits + 1)):
        _add_digit(scene, canvas, sources, settings, rng)
    for _ in range(strokes - strokes // 2):
        _blend(canvas, _stroke(settings.size, rng), rng)

    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    noisy = canvas + settings.noise * noise
    scene.image = noisy.clip(0, 255).astype(np.uint8)
    return scene


def _background(photo: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A square crop of the photograph, randomly mirrored and with random brightness; float, RGB."""
    side = int(rng.integers(size // 2, min(photo.shape[:2]) + 1))
    top = int(rng.integers(0, photo.shape[0] - side + 1))
    left = int(rng.integers(0, photo.shape[1] - side + 1))
    crop = photo[top:top + side, left:left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_AREA)
    return crop * np.float32(rng.uniform(0.6, 1.1))


def _add_digit(scene: Scene, canvas: np.ndarray, sources: Sources, settings: SceneSettings,
               rng: np.random.Generator) -> None:
    """Blend one digit in where it hides little of the others; skip it after a few tries."""
    pick = int(rng.integers(len(sources.labels)))
    for _ in range(10):
        alpha = _place(sources.digits[pick], settings, rng)
        mask = alpha > 0.5
        hidden = max((float((mask & other).sum() / other.sum()) for other in scene.masks),
                     default=0.)
        if mask.sum() > 20 and hidden < 0.1:
            break
    else:
        return
    _blend(canvas, alpha, rng)
    scene.masks = [other & ~mask for other in scene.masks] + [mask]
    scene.labels.append(int(sources.labels[pick]))
    scene.digit_ids.append(int(sources.digit_ids[pick]))


def _place(digit: np.ndarray, settings: SceneSettings, rng: np.random.Generator) -> np.ndarray:
    """The digit scaled, rotated and moved somewhere: how opaque it is at every pixel, 0 to 1."""
    height = rng.uniform(settings.min_size, settings.max_size)
    scale_y = height / 8
    scale_x = scale_y * rng.uniform(0.8, 1.2)
    angle = np.deg2rad(rng.uniform(-settings.max_angle, settings.max_angle))
    centre = rng.uniform(height / 2, settings.size - height / 2, size=2)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos * scale_x, -sin * scale_y], [sin * scale_x, cos * scale_y]])
    # The digit gets an empty border of one, so its centre is at 4.5 and its edges fade out.
    matrix = np.column_stack([linear, centre - linear @ np.array([4.5, 4.5])])
    drawn = cv2.warpAffine(
        np.pad(digit, 1).astype(np.float32), matrix, (settings.size, settings.size),
        flags=cv2.INTER_CUBIC)
    return ((drawn - 0.2) * 2.5).clip(0, 1)


def _stroke(size: int, rng: np.random.Generator) -> np.ndarray:
    """A short arc about as thick as a digit's stroke, as :func:`_place` returns a digit."""
    alpha = np.zeros((size, size), np.uint8)
    centre = [int(v) for v in rng.integers(0, size, 2)]
    axes = [int(v) for v in rng.integers(4, size // 5, 2)]
    start, length = rng.uniform(0, 360), rng.uniform(60, 240)
    cv2.ellipse(alpha, centre, axes, rng.uniform(0, 180), start, start + length, 255,
                thickness=int(rng.integers(2, 5)), lineType=cv2.LINE_AA)
    return alpha / np.float32(255)


def _blend(canvas: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> None:
    """Paint with one random tint that differs from what is there, in place."""
    opacity = rng.uniform(0.6, 1.0)
    tints = rng.uniform(0, 255, (4, 3)).astype(np.float32)
    x, y, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    if not width:  # a stroke that lies outside
        return
    part = canvas[y:y + height, x:x + width]
    weight = alpha[y:y + height, x:x + width, None] * np.float32(opacity)
    there = (part * weight).sum((0, 1)) / weight.sum()
    tint = tints[np.abs(tints - there).sum(1).argmax()]
    part += weight * (tint - part)
