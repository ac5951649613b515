"""Requires nothing of OpenMMLab or PyTorch: whoever has them keeps the versions they have."""
import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class WithPthAndMim(build_py):
    """Puts mmdistill_ext.pth beside the package in site-packages, also with ``pip install -e``;
    and into a wheel the configs, the tools and their index, where ``mim`` looks for them."""

    def run(self) -> None:
        super().run()
        if getattr(self, 'editable_mode', False):
            self.copy_file('mmdistill_ext.pth', self.get_finalized_command('install').install_lib)
            return
        self.copy_file('mmdistill_ext.pth', self.build_lib)
        for path in [*ROOT.glob('model-index.yml'), *ROOT.glob('configs/**/*'),
                     *ROOT.glob('tools/**/*')]:
            if path.is_file() and path.suffix in ('.py', '.yml', '.md', '.sh'):
                target = Path(self.build_lib, 'mmdistill_ext/.mim', path.relative_to(ROOT))
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


setup(
    name='mmdistill_ext',
    version=re.search(  # type: ignore[index]
        r"^__version__ = '(.+)'", (ROOT / 'mmdistill_ext/__init__.py').read_text(), re.M)[1],
    description='Feature distillation for MMRazor: channel MLP, FCFD and Tf-FD',
    author='The mmdistill_ext contributors',
    license='Apache-2.0',
    keywords='knowledge distillation, feature distillation, OpenMMLab, MMRazor',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',  # what CI runs on
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmdistill_ext', 'mmdistill_ext.*']),
    package_data={'mmdistill_ext.analysis': ['report.html']},
    cmdclass=dict(build_py=WithPthAndMim),
    python_requires='>=3.10',
    install_requires=['joblib'],  # MMRazor 1.0.0 imports it and does not say so
    extras_require=dict(
        demo=['scikit-learn', 'matplotlib', 'jinja2'],
        analysis=['scikit-learn', 'matplotlib', 'jinja2', 'grad-cam'],
        dev=['pytest', 'pytest-timeout', 'hypothesis', 'ruff', 'mypy', 'playwright'],
    ),
)
