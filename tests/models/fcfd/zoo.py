"""Models from the configs that mmdet and mmseg install, made small."""
from mmengine.hub import get_config

RESNET = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3),
              norm_cfg=dict(type='BN', requires_grad=True))
DETECTORS = {
    'FCOS': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'FCOS, norm_on_bbox':
        'fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
    'ATSS': 'atss/atss_r50_fpn_1x_coco.py',
    'GFL': 'gfl/gfl_r50_fpn_1x_coco.py',
    'PAA': 'paa/paa_r50_fpn_1x_coco.py',
    'VFNet': 'vfnet/vfnet_r50_fpn_1x_coco.py',
    'TOOD': 'tood/tood_r50_fpn_1x_coco.py',
    'TOOD, anchor-based': 'tood/tood_r50_fpn_anchor-based_1x_coco.py',
    'FSAF': 'fsaf/fsaf_r50_fpn_1x_coco.py',
    'FoveaBox': 'foveabox/fovea_r50_fpn_4xb4-1x_coco.py',
    'YOLOX': 'yolox/yolox_tiny_8xb8-300e_coco.py',
    'RTMDet-tiny': 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'RTMDet-l': 'rtmdet/rtmdet_l_8xb32-300e_coco.py',
}
ON_THE_PAGE = {'DDOD': 'ddod/ddod_r50_fpn_1x_coco.py'}  # docs/fcfd_det_seg.md has its contract


def detector(name, channels=8, classes=4, **head):
    """An installed config with a neck and a head of ``channels`` and images of 64 pixels.

    Args:
        name: One of ``DETECTORS``.
        channels: What the neck gives and the head reads.
        head: Fields of the head.
    """
    path = {**DETECTORS, **ON_THE_PAGE}[name]
    config = get_config(f'mmdet::{path}').model.to_dict()
    for part in (config['backbone'], config['neck'], config['bbox_head']):
        part.pop('init_cfg', None)
        if 'BN' in part.get('norm_cfg', {}).get('type', ''):
            part['norm_cfg'] = dict(type='BN')
    if config['backbone']['type'] == 'ResNet':
        config['backbone'] = dict(RESNET)
        widths = [8, 16, 32, 64]
    else:  # CSPDarknet, CSPNeXt
        config['backbone'].update(widen_factor=.125, deepen_factor=.167)
        widths = [32, 64, 128]
    config['data_preprocessor'].pop('batch_augments', None)
    config['neck'].update(in_channels=widths, out_channels=channels)
    if 'num_csp_blocks' in config['neck']:
        config['neck']['num_csp_blocks'] = 1
    config['bbox_head'].update(num_classes=classes, in_channels=channels, feat_channels=8,
                               stacked_convs=1, **head)
    if name.split(',')[0] in ('FCOS', 'ATSS', 'GFL', 'PAA', 'VFNet', 'TOOD', 'DDOD'):
        config['bbox_head']['norm_cfg'] = dict(type='GN', num_groups=2)
    return dict(config, _scope_='mmdet')
SEGMENTORS = {
    'SegFormer': 'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
    'UPerNet': 'upernet/upernet_r18_4xb2-40k_cityscapes-512x1024.py',
    'SemanticFPN': 'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
    'HRNet': 'hrnet/fcn_hr18s_4xb2-40k_cityscapes-512x1024.py',
    'DeepLabV3+': 'deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    'DANet': 'danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'KNet': 'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',
    'MaskFormer': 'maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py',
    'Mask2Former': 'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
    'DDRNet': 'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py',
    'LRASPP': 'mobilenet_v3/mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024.py',
    'OCRNet': 'ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py',
}
HRNET = dict(  # two channels in the first branch for each of the four stages
    stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,),
                num_channels=(4,)),
    **{f'stage{n}': dict(num_modules=1, num_branches=n, block='BASIC', num_blocks=(1,) * n,
                         num_channels=tuple(4 * 2**k for k in range(n))) for n in (2, 3, 4)})


def segmentor(name, channels=8, classes=4, **head):
    """An installed config with a decode head of ``channels``, and images of 64 pixels.

    Args:
        name: One of ``SEGMENTORS``.
        channels: Of the head.
        head: Fields of the head.
    """
    config = get_config(f'mmseg::{SEGMENTORS[name]}').model.to_dict()
    config.pop('pretrained', None)
    config.pop('auxiliary_head', None)
    config['data_preprocessor']['size'] = (64, 64)
    backbone = config['backbone']
    backbone.pop('init_cfg', None)
    if backbone['type'] == 'MixVisionTransformer':
        backbone.update(embed_dims=4, num_layers=[1] * 4, num_heads=[1, 1, 2, 2], drop_path_rate=0.)
        widths = [4, 4, 8, 8]
    elif backbone['type'] == 'HRNet':
        backbone.update(extra=HRNET, norm_cfg=dict(type='BN'))
        widths = [4, 8, 16, 32]
    elif backbone['type'] in ('DDRNet', 'MobileNetV3'):
        config['decode_head']['num_classes'] = classes
        return dict(config, _scope_='mmseg')
    else:
        backbone.update(depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='BN'))
        widths = [8, 16, 32, 64]
    if 'neck' in config:
        config['neck'].update(in_channels=widths, out_channels=channels)
        widths = [channels] * 4
    if not isinstance(config['decode_head'], dict) or 'in_index' not in config['decode_head']:
        return dict(config, _scope_='mmseg')
    config['decode_head'].update(channels=channels, num_classes=classes, dropout_ratio=0.,
                                 norm_cfg=dict(type='BN'), **head)
    several = config['decode_head'].get('input_transform') or name != 'DeepLabV3+' and \
        not isinstance(config['decode_head']['in_index'], int)
    config['decode_head']['in_channels'] = widths if several else widths[-1]
    for field, value in dict(pool_scales=(1, 2), dilations=(1, 2), c1_in_channels=widths[0],
                             c1_channels=4, pam_channels=4).items():
        if field in config['decode_head']:
            config['decode_head'][field] = value
    return dict(config, _scope_='mmseg')
