"""Write the embedded data set, completely or not at all."""
import fcntl
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from ..errors import ConfigError
from .scenes import SceneSettings, draw_scene
from .sources import SPLITS, load_sources
from .views import CityscapesFolder, CocoJson, ImageNetFolder, encode_png

# Raised by one whenever the same settings give other pictures.
VERSION = 1
MANIFEST = 'manifest.json'
DEFAULT = SceneSettings()


def make_data(out: Path, settings: SceneSettings = DEFAULT, overwrite: bool = False,
              progress: bool = True) -> bool:
    """Write the data set to ``out``, unless it is there already.

    It is written to a folder beside ``out`` and moved when it is complete. Several processes may
    call this at once: one writes, the others wait for it.

    Args:
        out (Path): Folder to write.
        settings (SceneSettings): Numbers of scenes, difficulty and seed.
        overwrite (bool): Replace a set that was made with other settings. Defaults to False.
        progress (bool): Show a progress bar. Defaults to True.

    Returns:
        bool: Whether anything was written.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    manifest = dict(version=VERSION, **asdict(settings))
    part = out.with_name(f'.{out.name}.part')
    with open(out.with_name(f'.{out.name}.lock'), 'w') as lock:
        # The system lets go of the lock when the process ends, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_there(out, manifest, overwrite):
            return False
        shutil.rmtree(part, ignore_errors=True)
        try:
            _write(part, settings, progress)
            (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
            shutil.rmtree(out, ignore_errors=True)
            os.rename(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return True


def _is_there(out: Path, manifest: dict, overwrite: bool) -> bool:
    """Whether ``out`` holds the set asked for; an error if it holds something to be kept."""
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / MANIFEST).is_file():
        raise ConfigError(f'{out}: not empty and not a data set made by tools/make_data.py; '
                          'give another folder with --out')
    found = json.loads((out / MANIFEST).read_text())
    if found == manifest:
        return True
    if not overwrite:
        differ = [f'{key} {found.get(key)}, not {value}'
                  for key, value in manifest.items() if found.get(key) != value]
        raise ConfigError(f'{out}: made with {"; ".join(differ)}; '
                          'replace it with --overwrite or give another folder with --out')
    return False


def _write(root: Path, settings: SceneSettings, progress: bool) -> None:
    counts = {split: getattr(settings, split) for split in SPLITS}
    with tqdm(total=sum(counts.values()), desc='drawing scenes', unit='scene', mininterval=1,
              disable=not progress) as bar:
        for split, count in counts.items():
            sources = load_sources(split)
            views = [view(root, split) for view in (ImageNetFolder, CocoJson, CityscapesFolder)]
            for index in range(count):
                scene = draw_scene(sources, settings, split, index)
                png = encode_png(scene.image)
                for view in views:
                    view.add(f'{scene.photo}_{index:06d}', scene, png)
                bar.update()
            for view in views:
                view.close()
