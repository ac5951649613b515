"""Training runs of FCFD that the tests compare, here to be imported by processes they start."""
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.utils.data import Dataset

from .reference import DataSample, build, randomized


class Images(Dataset):
    """32 images of noise, the same in every process."""

    def __len__(self):
        return 32

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 16, 16), generator=generator, dtype=torch.uint8)
        return dict(inputs=image, data_samples=DataSample().set_gt_label(index % 5))


def rank_run(rank, world, store, results, num):
    """30 steps on one of ``world`` ranks, each with its own images and even its own seed."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=world)
    algorithm = build(paths=dict(num=num), double=False)
    ddp = MMDistributedDataParallel(algorithm, find_unused_parameters=algorithm.sampler.samples)
    optimizer = OptimWrapper(torch.optim.SGD(
        [p for p in algorithm.parameters() if p.requires_grad], 0.01, momentum=0.9))
    hub = MessageHub.get_instance('ranks')
    hub.update_info('seed', 11 + rank)  # as with diff_rank_seed=True
    images, paths = Images(), []
    note_paths(algorithm, paths)
    for step in range(30):
        hub.update_info('iter', step)
        batch = [images[(step * 4 + i * world + rank) % 32] for i in range(4)]
        ddp.train_step(dict(inputs=[b['inputs'] for b in batch],
                            data_samples=[b['data_samples'] for b in batch]), optimizer)
    trained = {n: p.detach() for n, p in algorithm.named_parameters() if p.requires_grad}
    torch.save(dict(paths=[[path.name for path in drawn] for drawn in paths], weights=trained,
                    mean=algorithm.student.backbone.layer1[1].running_mean), f'{results}/{rank}')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def note_paths(algorithm, seen):
    """Append what is drawn each iteration to ``seen``."""
    draw = algorithm.sampler.draw

    def noted():
        seen.append(draw())
        return seen[-1]

    algorithm.sampler.draw = noted


def runner(work_dir, epochs, hooks=(), resume=False, **fields):
    """A run of mmengine's on the images, 4 iterations an epoch."""
    algorithm = randomized(build(double=False, fill=False, **fields))
    return Runner(
        model=algorithm, work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=8, num_workers=0, dataset=Images(),
            sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=list(hooks), default_scope='mmpretrain', randomness=dict(seed=4),
        log_level='ERROR', resume=resume)
