"""What the scenes are made of, and that nothing leaks between the splits."""
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmdistill_ext.datasets.scenes import SceneSettings, draw_scene
from mmdistill_ext.datasets.sources import PHOTOS, SPLITS, load_sources


@pytest.fixture(scope='module')
def sources():
    return {split: load_sources(split) for split in SPLITS}


def test_splits_share_no_digit_and_no_part_of_a_photograph(sources):
    ids = [set(part.digit_ids.tolist()) for part in sources.values()]
    assert len(set.union(*ids)) == sum(len(part) for part in ids) == 1797
    columns = sorted(part.columns for part in sources.values())
    assert columns[0][0] == 0 and columns[-1][1] == 640
    assert all(left[1] == right[0] for left, right in zip(columns, columns[1:]))
    for part in sources.values():
        assert [photo.shape for photo in part.photos] == [
            (427, part.columns[1] - part.columns[0], 3)] * len(PHOTOS)
        assert set(part.labels.tolist()) == set(range(10))


def test_a_scene_uses_its_own_splits_digits_only(sources):
    target = load_digits().target
    for split in SPLITS:
        for index in range(20):
            scene = draw_scene(sources[split], SceneSettings(), split, index)
            assert set(scene.digit_ids) <= set(sources[split].digit_ids.tolist())
            assert scene.labels == target[scene.digit_ids].tolist()


def test_masks_are_apart_and_boxes_fit_them(sources):
    settings = SceneSettings(max_digits=9)
    for index in range(20):
        scene = draw_scene(sources['train'], settings, 'train', index)
        assert scene.image.shape == (128, 128, 3) and scene.image.dtype == np.uint8
        assert np.sum(scene.masks, axis=0).max() == 1
        for mask, (x, y, width, height) in zip(scene.masks, scene.boxes()):
            rows, columns = np.nonzero(mask)
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())


def test_a_mask_covers_what_the_digit_changed(sources):
    """With no clutter and no noise, the picture differs from its background under the masks."""
    plain = SceneSettings(clutter=0, noise=0, min_digits=1, max_digits=1)
    scene = draw_scene(sources['train'], plain, 'train', 0)
    empty = draw_scene(sources['train'],
                       SceneSettings(clutter=0, noise=0, min_digits=0, max_digits=0), 'train', 0)
    changed = (np.abs(scene.image.astype(int) - empty.image).sum(-1) > 0)
    mask, = scene.masks
    assert changed[mask].mean() > 0.95
    assert not changed[~mask].mean() > 0.05


def test_difficulty_is_an_argument(sources):
    """More noise and more clutter move the pictures further from the plain ones."""
    def distance(**harder):
        plain = draw_scene(sources['train'], SceneSettings(noise=0), 'train', 3)
        other = draw_scene(sources['train'], SceneSettings(**dict(dict(noise=0), **harder)),
                           'train', 3)
        return np.abs(plain.image.astype(int) - other.image).mean()

    assert 0 == distance() < distance(noise=5) < distance(noise=40)
    assert distance(clutter=30) > 1


@pytest.mark.parametrize('change', [dict(seed=1), dict(), dict(split='val'), dict(index=5)])
def test_only_seed_split_and_index_choose_the_scene(sources, change):
    def image(seed=0, split='train', index=4, train=10):
        settings = SceneSettings(seed=seed, train=train)
        return draw_scene(sources[split], settings, split, index).image

    assert np.array_equal(image(), image(train=99))
    assert np.array_equal(image(), image(**change)) == (not change)
