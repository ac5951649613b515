"""Requires nothing: whoever has an OpenMMLab environment keeps the versions in it."""
import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class WithPth(build_py):
    """Puts mmdistill_ext.pth beside the package in site-packages, also with ``pip install -e``."""

    def run(self) -> None:
        super().run()
        editable = getattr(self, 'editable_mode', False)
        beside = self.get_finalized_command('install').install_lib if editable else self.build_lib
        self.copy_file('mmdistill_ext.pth', beside)


setup(
    name='mmdistill_ext',
    version=re.search(  # type: ignore[index]
        r"^__version__ = '(.+)'", (ROOT / 'mmdistill_ext/__init__.py').read_text(), re.M)[1],
    description='Feature distillation for MMRazor: channel MLP, FCFD and Tf-FD',
    license='Apache-2.0',
    packages=find_packages(include=['mmdistill_ext', 'mmdistill_ext.*']),
    cmdclass=dict(build_py=WithPth),
    python_requires='>=3.8',
    install_requires=[],
    extras_require=dict(
        demo=['scikit-learn', 'matplotlib'],
        dev=['pytest', 'pytest-timeout', 'hypothesis', 'ruff', 'mypy'],
    ),
)
