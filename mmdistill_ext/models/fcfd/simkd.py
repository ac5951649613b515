"""FCFD with SimKD: the student has the teacher's classifier, at inference too."""
from typing import Dict, Optional, Sequence, Tuple

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT
from mmrazor.models.algorithms.base import LossResults
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import ConfigError
from .distill import FCFDDistill
from .entry import feature_of
from .features import Record


@MODELS.register_module()
class FCFDSimKD(FCFDDistill):
    """The student's classifier is the teacher's, behind a projector that is the last bridge.

    The projector is a part of the student: its neck is ``[dict(type='SimKDProjector',
    in_channels=C_s, out_channels=C_t), dict(type='GlobalAveragePooling')]``, so what is exported
    is one model. Its head is copied from the teacher and not trained. The projector ends in a ReLU,
    so the teacher's last stage must, too: WRN and VGG need ``teacher_stages``.

    Where the last stages differ in size, the larger map is average-pooled to the other's for the
    appearance loss, as SimKD does; the classifier pools both anyway.

    Args:
        inherit (Sequence[str]): More modules that start from the teacher's weights.
        kwargs: All others of ``FCFDDistill``.

    Examples:
        >>> head = dict(type='LinearClsHead', num_classes=100, in_channels=256)
        >>> student = dict(
        ...     _scope_='mmpretrain', type='ImageClassifier',
        ...     backbone=dict(type='CIFARResNet', depth='8x4'),
        ...     neck=[dict(type='SimKDProjector', in_channels=256, out_channels=256),
        ...           dict(type='GlobalAveragePooling')],
        ...     head=head)
        >>> teacher = dict(student, backbone=dict(type='CIFARResNet', depth='32x4'),
        ...                neck=dict(type='GlobalAveragePooling'))
        >>> model = dict(
        ...     _scope_='mmrazor', type='FCFDSimKD', architecture=student, teacher=teacher,
        ...     teacher_ckpt='resnet32x4.pth')
    """

    def __init__(self, inherit: Sequence[str] = (), **kwargs) -> None:
        super().__init__(inherit=[*inherit, 'head'], **kwargs)
        left = [key for key in self.inheritance.left if key.startswith('head.')]
        if left:
            raise ConfigError(
                "FCFDSimKD: the student's head takes the teacher's weights, and the shapes of "
                f"{', '.join(left)} differ; give it the teacher's in_channels and num_classes")
        self.student.head.requires_grad_(False)
        projectors = [name for name, module in self.student.named_modules()
                      if isinstance(module, SimKDProjector)]
        if len(projectors) != 1:
            raise ConfigError(
                f'FCFDSimKD: the student has {len(projectors)} projectors; give it '
                "neck=[dict(type='SimKDProjector', in_channels=..., out_channels=...), "
                "dict(type='GlobalAveragePooling')]")
        self.projector, self._projected = projectors[0], None
        last = self.teacher_net.features[-1]
        if not last.post_relu:
            raise ConfigError(
                f"FCFDSimKD: the teacher's last stage {last} has negative values, which the "
                'projector cannot give, since it ends in a ReLU; end teacher_stages after a ReLU')

    def bridged_stages(self) -> range:
        """All but the last, whose bridge is the projector."""
        return range(1, len(self.student_net))

    def run_student(self, inputs: Tensor, data_samples: Optional[list]) -> LossResults:
        """As always, and keep what the projector gives."""

        def keep(_, __, output):
            self._projected = feature_of(output)

        projector = self.student.get_submodule(self.projector)
        handle = projector.register_forward_hook(keep)
        try:
            return super().run_student(inputs, data_samples)
        finally:
            handle.remove()

    def to_teacher(self, k: int, student: Record) -> Tensor:
        """``B_st^k(F_s^k)``, of the last stage what the pure path had."""
        if k < len(self.student_net):
            return super().to_teacher(k, student)
        projected, self._projected = self._projected, None
        assert projected is not None
        return projected

    def appearance_losses(self, bridged: Dict[int, Tensor], target: Record) -> LossResults:
        """L_app; at the last stage at the smaller of both sizes."""
        *features, last = target.features
        projected = bridged[len(bridged)]
        size = [min(sizes) for sizes in zip(projected.shape[2:], last.shape[2:])]
        projected, last = (F.adaptive_avg_pool2d(x, size) if list(x.shape[2:]) != size else x
                           for x in (projected, last))
        return super().appearance_losses({**bridged, len(bridged): projected},
                                         Record([*features, last], target.logits))


NORM, ACT = dict(type='BN'), dict(type='ReLU')


@ROOT.register_module()  # the root, where mmpretrain finds it: it is a neck of the student
class SimKDProjector(BaseModule):
    """1x1, 3x3, 1x1 convolutions by way of half the channels, each with BatchNorm and ReLU.

    Stands before the pooling of a classifier, as in
    ``neck=[dict(type='SimKDProjector', ...), dict(type='GlobalAveragePooling')]``.

    Args:
        in_channels (int): Channels of the student's last stage.
        out_channels (int): Channels of the teacher's last stage.
        init_cfg (dict, optional): Initialization. Defaults to PyTorch's own.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.fcfd import SimKDProjector
        >>> projector = SimKDProjector(in_channels=8, out_channels=16)
        >>> [feature.shape for feature in projector((torch.rand(2, 8, 7, 7), ))]
        [torch.Size([2, 16, 7, 7])]
    """

    def __init__(self, in_channels: int, out_channels: int, init_cfg=None) -> None:
        super().__init__(init_cfg)
        hidden, settings = out_channels // 2, dict(norm_cfg=NORM, act_cfg=ACT)
        self.convs = nn.Sequential(
            ConvModule(in_channels, hidden, 1, **settings),
            ConvModule(hidden, hidden, 3, padding=1, **settings),
            ConvModule(hidden, out_channels, 1, **settings))

    def forward(self, inputs: Tuple[Tensor, ...]) -> Tuple[Tensor]:
        """The last of the backbone's features, ``[N, in_channels, H, W]`` -> a tuple of one,
        ``[N, out_channels, H, W]``."""
        return self.convs(inputs[-1]),
