"""Which models there are: one config of each family (a folder) of the three libraries."""
import importlib.util
import re
from pathlib import Path
from typing import Dict, List

LIBRARIES = ('mmdet', 'mmseg', 'mmpretrain')
LEFT_OUT = {  # library -> reason -> folders
    'mmdet': {
        'no models of their own': ['_base_', 'albu_example', 'common', 'dsdl', 'legacy_1.x',
                                   'misc'],
        'trackers': ['bytetrack', 'deepsort', 'mask2former_vis', 'masktrack_rcnn', 'ocsort',
                     'qdtrack', 'reid', 'sort', 'strongsort'],
        'text and image': ['glip', 'grounding_dino', 'mm_grounding_dino'],
        'data sets': ['cityscapes', 'deepfashion', 'lvis', 'objects365', 'openimages',
                      'pascal_voc', 'v3det', 'wider_face'],
        'self-supervised': ['selfsup_pretrain'],
        'distil already': ['ld', 'lad', 'soft_teacher'],
        'needs another library': ['timm_example']},
    'mmseg': {
        'no models of their own': ['_base_', 'dsdl'],
        'self-supervised': ['mae'],
        'text and image': ['san', 'vpd']},
    'mmpretrain': {
        'no models of their own': ['_base_'],
        'text and image': ['blip', 'blip2', 'chinese_clip', 'clip', 'flamingo', 'glip', 'llava',
                           'minigpt4', 'ofa', 'otter'],
        'self-supervised': ['barlowtwins', 'beitv2', 'byol', 'cae', 'densecl', 'eva', 'itpn',
                            'mae', 'maskfeat', 'mff', 'milan', 'mixmim', 'mocov2', 'mocov3',
                            'simclr', 'simmim', 'simsiam', 'spark', 'swav'],
        'no classifier': ['arcface', 'dinov2', 'sam']}}

# Words of a file's name that tell the size of its network, from small to large; what says nothing
# counts as ResNet-50.
SIZES = ('atto|nano|xxsmall|b0|hr18s|23-slim', 'femto|pico|xsmall|tiny|t|400m?f|vgg11|128s|mit-b1',
         r'\w*r18|resnet18|small|s\d*|w18\d*|hr18|5m|8x1|light', r'\w*r34|resnet34|b1|800m?f', '',
         r'base|m\d*|b|\w*101\w*|b[2-4]', r'large|l\d*|x101\w*|\w*152\w*|b[5-9]',
         'xlarge|huge|x|xl|g|giant|hourglass104')
UNKNOWN = SIZES.index('')
NAMED = {  # of folders that also hold plain models, or the same idea in several
    ('mmdet', 'dcn'): 'faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py',
    ('mmdet', 'dcnv2'): 'faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
    # The family's detectors of proposals alone are not built: they lack num_classes.
    ('mmdet', 'cascade_rpn'): 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco.py',
    ('mmdet', 'detectors'): 'detectors_cascade-rcnn_r50_1x_coco.py',
    ('mmdet', 'gcnet'): 'mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco.py',
    ('mmdet', 'hrnet'): 'faster-rcnn_hrnetv2p-w18-1x_coco.py',
    ('mmdet', 'libra_rcnn'): 'libra-faster-rcnn_r50_fpn_1x_coco.py',
    ('mmdet', 'nas_fpn'): 'retinanet_r50_nasfpn_crop640-50e_coco.py',
    ('mmdet', 'pisa'): 'faster-rcnn_r50_fpn_pisa_1x_coco.py',
    ('mmdet', 'res2net'): 'faster-rcnn_res2net-101_fpn_2x_coco.py',
    ('mmdet', 'rtmdet'): 'rtmdet_tiny_8xb32-300e_coco.py',
    ('mmseg', 'ddrnet'): 'ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py',
    ('mmseg', 'poolformer'): 'fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py',
    # mmengine does not load the smaller ones: it takes an import in their base for its new style.
    ('mmpretrain', 'replknet'): 'replknet-31L_32xb64_in1k-384px.py',
    ('mmpretrain', 'repvgg'): 'repvgg-A0_8xb32_in1k.py'}
NOT_TRAINED = re.compile(r'deploy|delopy|headless|tta|zeroshot|_policies|retrieval|lora|ipu')


def folder_of(library: str) -> Path:
    """The installed configs of a library, which is not imported."""
    spec = importlib.util.find_spec(library)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], '.mim', 'configs')


def families(library: str) -> List[str]:
    """The names of a library's families, those that are left out excepted."""
    left_out = {name for names in LEFT_OUT[library].values() for name in names}
    return sorted(folder.name for folder in folder_of(library).iterdir()
                  if folder.is_dir() and folder.name not in left_out)


def size_rank(name: str) -> int:
    """The place in ``SIZES`` of the smallest size that a file's name tells."""
    words = re.split(r'[-_.]', name.removesuffix('.py')) + [name]
    ranks = [rank for rank, pattern in enumerate(SIZES) if pattern
             for word in words if re.fullmatch(pattern, word, re.I)]
    return min(ranks, default=UNKNOWN)


def config_of(library: str, family: str) -> Path:
    """The config of a family's smallest model, by the names of the files.

    Of several the one with the shortest name, which says the least of schedules and data.
    """
    folder = folder_of(library) / family
    if (library, family) in NAMED:
        return folder / NAMED[library, family]
    files = [path for path in folder.rglob('*.py')
             if not NOT_TRAINED.search(str(path.relative_to(folder)))]
    if library == 'mmpretrain':  # ImageNet, in the usual size
        files = [path for path in files if 'in1k' in path.name] or files
        files = [path for path in files if not re.search(r'-\d+px', path.name)] or files
    return min(files, key=lambda path: (size_rank(path.name), len(path.name), path.name))


def all_families() -> Dict[str, List[str]]:
    """Library -> names of its families."""
    return {library: families(library) for library in LIBRARIES}
