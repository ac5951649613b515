"""MMRazor's own form of a distiller: what it does not find wrong itself."""
from typing import Any

from mmrazor.models.distillers import ConfigurableDistiller

from ...errors import ConfigError


def check_mappings(distiller: Any) -> None:
    """Raise if a loss is never computed, or would compare a feature with itself.

    Args:
        distiller (Any): Built; of another kind than MMRazor's it is not looked at.
    """
    if not isinstance(distiller, ConfigurableDistiller):
        return
    links = {link.name for link in getattr(distiller, 'links', ())}
    mappings = distiller.loss_forward_mappings
    for name in distiller.distill_losses:
        if name not in mappings and name not in links:
            raise ConfigError(f'distill_losses: {name!r} is not in loss_forward_mappings, so '
                              'nothing would compute it; expected an entry of this name')
    for name, mapping in mappings.items():
        records = list(mapping.values())
        for index, record in enumerate(records):
            if isinstance(record, dict) and record in records[:index]:
                raise ConfigError(
                    f'loss_forward_mappings: {name!r} compares a feature with itself '
                    f'({dict(record)}); expected from_student=True and from_student=False')
