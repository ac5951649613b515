"""Logit distillation: KL with temperature, and its decoupled form (DKD, Zhao et al. 2022)."""
import torch
from mmrazor.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import number


def kl_divergence(student: Tensor, teacher: Tensor, tau: float = 1.) -> Tensor:
    """``tau^2 * KL(softmax(teacher / tau) || softmax(student / tau))``, mean over the batch.

    Args:
        student (Tensor): Logits ``[N, C]``.
        teacher (Tensor): Logits ``[N, C]``.
        tau (float): Temperature. Defaults to 1.
    """
    student, teacher = (F.log_softmax(logits / tau, dim=1) for logits in (student, teacher))
    return tau**2 * F.kl_div(student, teacher, log_target=True, reduction='batchmean')


def decoupled_kl(student: Tensor, teacher: Tensor, labels: Tensor, tau: float, tckd_weight: float,
                 nckd_weight: float) -> Tensor:
    """KL of (target, all others) and KL among the others, with weights of their own.

    Args:
        student (Tensor): Logits ``[N, C]``.
        teacher (Tensor): Logits ``[N, C]``.
        labels (Tensor): ``[N]``.
        tau (float): Temperature.
        tckd_weight (float): Weight of the first.
        nckd_weight (float): Weight of the second.
    """
    labels = labels.unsqueeze(1)
    # Indexed: a boolean mask would make the CPU wait for the GPU to count its entries.
    rest = torch.arange(student.shape[1] - 1, device=labels.device).expand(len(labels), -1)
    rest = rest + (rest >= labels)

    def split(logits):
        logits = logits / tau
        others = logits.gather(1, rest)
        # The softmax of these two is (p_target, 1 - p_target).
        return torch.cat([logits.gather(1, labels), others.logsumexp(1, keepdim=True)], 1), others

    (target_s, others_s), (target_t, others_t) = split(student), split(teacher)
    return tau**2 * (tckd_weight * kl_divergence(target_s, target_t)
                     + nckd_weight * kl_divergence(others_s, others_t))


@MODELS.register_module()
class DecoupledKLLoss(nn.Module):
    """DKD (Zhao et al., CVPR 2022): the KL split into target and other classes.

    MMRazor's ``DKDLoss`` sums over the batch with every ``reduction`` but 'batchmean', and it takes
    the logarithm of probabilities that can be zero.

    Args:
        tau (float): Temperature. Defaults to 1.
        tckd_weight (float): Weight of the target class against the others. Defaults to 1.
        nckd_weight (float): Weight among the other classes. Defaults to 2.
        loss_weight (float): Defaults to 1.

    Examples:
        >>> import torch
        >>> from mmdistill_ext.models.losses import DecoupledKLLoss
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0., 0., 1.]])
        >>> loss = DecoupledKLLoss(tckd_weight=0., nckd_weight=1.)  # without the label's own
        >>> round(loss(student, teacher, torch.tensor([0])).item(), 4)
        0.1109
        >>> round(loss(student, teacher, torch.tensor([2])).item(), 4)  # the others agree
        0.0
    """

    def __init__(self, tau: float = 1., tckd_weight: float = 1., nckd_weight: float = 2.,
                 loss_weight: float = 1.) -> None:
        super().__init__()
        self.tau = number('DecoupledKLLoss: tau', tau, 1e-3)
        self.tckd_weight = number('DecoupledKLLoss: tckd_weight', tckd_weight)
        self.nckd_weight = number('DecoupledKLLoss: nckd_weight', nckd_weight)
        self.loss_weight = number('DecoupledKLLoss: loss_weight', loss_weight)

    def forward(self, preds_S: Tensor, preds_T: Tensor, gt_labels: Tensor) -> Tensor:
        """See :func:`decoupled_kl`; the arguments are named as in MMRazor."""
        return self.loss_weight * decoupled_kl(
            preds_S, preds_T.detach(), gt_labels, self.tau, self.tckd_weight, self.nckd_weight)
