"""What a task is trained and judged on: scenes that are made here, or a public data set."""
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Dict, Mapping

from mmdistill_ext.analysis.runs import write_whole
from mmdistill_ext.datasets import SceneSettings, make_data
from mmdistill_ext.datasets.make import MANIFEST
from mmdistill_ext.errors import ConfigError

MADE = Path('data/study')


@dataclass(frozen=True)
class Scenes:
    """Embedded data.

    Args:
        name (str): Its folder, below ``data/study``.
        settings (SceneSettings): The scenes.
    """
    name: str
    settings: SceneSettings
    test: ClassVar[str] = 'val'
    tune: ClassVar[str] = 'tune'

    def prepare(self) -> str:
        """Make what is missing; gives what the data are made of."""
        make_data(MADE / self.name, self.settings)
        return (MADE / self.name / MANIFEST).read_text()

    def options(self) -> Dict[str, Any]:
        """Changes to a task's config."""
        return {}

    def __str__(self) -> str:
        return (f'{self.settings.train} scenes to train on, {self.settings.tune} to choose on, '
                f'{self.settings.val} to test on')


@dataclass(frozen=True)
class Public:
    """A public data set, which is not downloaded here.

    Args:
        name (str): Its name.
        folder (Path): Where it is.
        files (dict[str, int]): Folder below that -> how many files.
        source (str): Where it is to be had.
        splits (str): What is trained, chosen and tested on, for the page.
        test (str): The word for the test split in the config's paths.
        tune (str): The word for the split that numbers are chosen on.
    """
    name: str
    folder: Path
    files: Mapping[str, int]
    source: str
    splits: str
    test: str
    tune: str

    def prepare(self) -> str:
        """Stop if files are missing; gives what the data are made of."""
        for below, expected in self.files.items():
            found = len(self._files(below))
            if found != expected:
                raise ConfigError(f'no {self.name} in {self.folder}: {found} files in '
                                  f'{self.folder / below}, expected {expected}; to be had at '
                                  f'{self.source}')
        return f'{self.name} {dict(self.files)}'

    def options(self) -> Dict[str, Any]:
        """Changes to a task's config."""
        return {}

    def _files(self, below: str) -> list:
        folder = self.folder / below
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def __str__(self) -> str:
        return self.splits


class CamVid(Public):
    """The original's images are png files; a copy may have smaller ones."""

    def options(self) -> Dict[str, Any]:
        """The images' suffix."""
        first = next(iter(self._files('img_dir/train')), Path('.png'))
        return {f'{loader}.dataset.img_suffix': first.suffix or '.png'
                for loader in ('train_dataloader', 'val_dataloader')}


class VOC(Public):
    """Of its training images every eighth is kept out, to choose numbers on."""

    def prepare(self) -> str:
        """Write the annotations of the three splits below ``data/study``."""
        text = super().prepare()
        annotations, made = self.folder / 'annotations', MADE / 'voc2007'
        made.mkdir(parents=True, exist_ok=True)
        whole = json.loads((annotations / 'train.json').read_text())
        for split, kept in (('train', False), ('tune', True)):
            images = [image for i, image in enumerate(whole['images']) if (i % 8 == 0) == kept]
            ids = {image['id'] for image in images}
            boxes = [box for box in whole['annotations'] if box['image_id'] in ids]
            write_whole(made / f'{split}.json',
                        json.dumps(dict(whole, images=images, annotations=boxes)))
        write_whole(made / 'val.json', (annotations / 'val.json').read_text())
        return text
