"""The three methods on one model, as a user would first try them."""
from typing import Callable, List, Optional

from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmrazor.registry import MODELS

from mmdistill_ext.models.utils.stages import default_stages

Twin = Callable[[], BaseModel]  # a copy of the student or of the teacher


def places_of(config: Config, model: BaseModel) -> List[str]:
    """Where a link reads: the first that works.

    The last parts of the backbone are for those that return something else in training.
    """
    places = [name for name in ('neck', 'backbone') if getattr(model, name, None) is not None]
    places = places if config.default_scope == 'mmdet' else places[::-1]
    parts = [name for name, _ in model.backbone.named_children()]
    return [*places, *(f'backbone.{name}' for name in parts[:-4:-1])]


def fcfd_type(config: Config, model: BaseModel) -> str:
    """The algorithm of FCFD for a kind of model."""
    if config.default_scope == 'mmpretrain':
        return 'FCFDDistill'
    if config.default_scope == 'mmseg':
        return 'FCFDSeg'
    return 'FCFDRoI' if getattr(model, 'roi_head', None) is not None else 'FCFDDense'


def build_link(student: Twin, teacher: Twin, place: str) -> BaseModel:
    """The channel MLP at one place of both."""
    link = dict(student=place, teacher=place, connector='MLPConnector',
                loss=dict(type='FeatureL2Loss', loss_weight=1e-5))
    return _build(type='LeanTeacherDistill', architecture=student(), teacher=teacher(),
                  random_teacher=True,
                  distiller=dict(type='LinkDistiller', links=dict(loss_mlp=link)))


def build_fcfd(student: Twin, teacher: Twin, type: str) -> BaseModel:
    """FCFD with its defaults."""
    return _build(type=type, architecture=student(), teacher=teacher(), random_teacher=True)


def stages_of(model: BaseModel) -> List[str]:
    """The stages of a backbone that train."""
    stages = default_stages(model.backbone, 'Tf-FD')
    return [stage for stage in stages
            if any(parameter.requires_grad for parameter in model.get_submodule(stage).parameters())
            or not list(model.get_submodule(stage).parameters())]


def build_tffd(student: Twin, stages: Optional[List[str]] = None) -> BaseModel:
    """Tf-FD on the backbone's stages (default), with the weights of the authors' code."""
    model = student()
    stages = stages or stages_of(model)
    losses = dict(loss_intra=dict(type='TfFDIntraLoss', form='released', loss_weight=8e-4),
                  loss_inter=dict(type='TfFDInterLoss', form='released', loss_weight=5e-4))
    links = {name: dict(student=stages, loss=loss) for name, loss in losses.items()}
    return _build(type='TeacherFreeDistill', architecture=model,
                  distiller=dict(type='LinkDistiller', links=links))


def _build(**fields) -> BaseModel:
    return MODELS.build(ConfigDict(fields, _scope_='mmrazor'))
