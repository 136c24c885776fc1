"""Two ranks train a network of each family in shards, and compare: ``python families.py``."""

import copy
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from conftest import tiny_architecture  # noqa: E402

from videokd.distill.tasks import ClassificationTask, to_float  # noqa: E402
from videokd.engine.distributed import Ranks, join_ranks  # noqa: E402
from videokd.engine.sharding import Sharding, join_shards  # noqa: E402
from videokd.models.checkpointing import checkpoint_activations, list_blocks  # noqa: E402
from videokd.models.classifier import VideoClassifier  # noqa: E402
from videokd.models.zoo import FAMILIES, Architecture  # noqa: E402
from videokd.utils.errors import InputError  # noqa: E402

# A network gets the first that it takes.
CLIPS = ((4, 32), (8, 64), (16, 64))


def find_architecture(name: str) -> tuple[Architecture, int, int]:
    for num_frames, side in CLIPS:
        try:
            architecture = tiny_architecture(name, num_frames=num_frames, crop_size=side)
        except InputError:
            continue
        return architecture, num_frames, side
    raise AssertionError(name)


def compare(name: str, ranks: Ranks, *, is_checkpointed: bool) -> None:
    """Loss, gradients, statistics and evaluation are those of a plain network on each rank."""
    from program import make_batch

    architecture, num_frames, side = find_architecture(name)
    torch.manual_seed(1)
    backbone = architecture.build_backbone()
    if is_checkpointed:
        checkpoint_activations(backbone)
    task = ClassificationTask(VideoClassifier(backbone, {"a": 3, "b": 3}), {"a": 1.0, "b": 0.5})
    plain = copy.deepcopy(task)
    sharding = Sharding(task, task.model, blocks=list_blocks(backbone))
    batch = make_batch("any", 2, ranks.rank, ranks.num_ranks, clip_size=(num_frames, side))
    for step in range(2):  # the second after an evaluation of other length on each rank
        losses = []
        for call in (plain, sharding):
            torch.manual_seed(10 * step + ranks.rank)  # of dropout
            loss = call(batch, 0.0).loss
            loss.backward()
            losses.append(loss.item())
        assert losses[0] == losses[1], losses
        for key, parameter in plain.named_parameters():
            mine = task.get_parameter(key).grad
            assert (mine is None) == (parameter.grad is None), key
            if mine is not None:
                mean = parameter.grad.clone()
                dist.all_reduce(mean)
                torch.testing.assert_close(mine.full_tensor(), mean / 2, msg=key)
        plain.zero_grad()
        task.zero_grad()
        with sharding.whole(), torch.inference_mode():
            for _ in range(1 + ranks.rank):
                found = sharding.model.eval()(to_float(batch.clips)).embedding
            expected = plain.model.eval()(to_float(batch.clips)).embedding
        plain.train()
        assert torch.equal(found, expected)
    state = join_shards(task.state_dict(), is_kept=True)
    assert all(torch.equal(value, state[key]) for key, value in plain.state_dict().items())


def main() -> None:
    with join_ranks(torch.device("cpu"), timeout_sec=60) as ranks:
        for family in FAMILIES.values():
            # timm's named ones are of full size.
            name = "timm:test_resnet" if family.name == "timm_frames" else next(iter(family.sizes))
            for is_checkpointed in (False, True):
                compare(name, ranks, is_checkpointed=is_checkpointed)
                sys.stderr.write(f"{name}{' checkpointed' if is_checkpointed else ''}\n")


if __name__ == "__main__":
    main()
