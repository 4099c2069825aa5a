"""What a mesh may be, and what it refuses to divide."""

import dataclasses

import jax
import many_devices
import pytest
import tiny_run

from rope_lab.model import init_model
from rope_lab.training import MeshConfig, check_fits, make_mesh, make_optimizer
from rope_lab.training.sharding import specs_of
from rope_lab.training.state import init_state

P = jax.sharding.PartitionSpec


def abstract(data=1, fsdp=1, tensor=1, context=1):
    """A mesh without devices."""
    sizes = (data, fsdp, tensor, context)
    return jax.sharding.AbstractMesh(sizes, ("data", "fsdp", "tensor", "context"))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"context": 0}, "mesh.context is 0; it must be at least 1"),
        ({"fsdp": 0}, "mesh.fsdp is 0; it must be at least 1"),
        ({"data": -1}, "mesh.data is -1"),
    ],
)
def test_axes_out_of_range_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        MeshConfig(**axes)


def test_more_devices_than_there_are_is_an_error_that_says_both_numbers():
    with pytest.raises(ValueError, match=r"needs 6 devices and there are 1: change"):
        make_mesh(MeshConfig(fsdp=3, tensor=2))


def test_the_data_axis_takes_all_devices_that_the_others_leave():
    assert dict(make_mesh(MeshConfig()).shape) == {
        "data": jax.device_count(), "fsdp": 1, "tensor": 1, "context": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mesh", "change", "message"),
    [
        ({"tensor": 3}, {}, "model.num_heads is 8, .* by mesh.tensor = 3; change one"),
        ({"tensor": 8}, {"num_kv_heads": 4}, "model.num_kv_heads is 4"),
        ({"tensor": 8}, {"ff_width": 12}, "model.ff_width is 12"),
        ({"fsdp": 5}, {}, "model.width is 16, .* by mesh.fsdp = 5"),
        ({"data": 16}, {}, r"batch_size is 8, .* mesh.data \* mesh.fsdp = 16"),
        ({"data": 3, "fsdp": 2}, {}, "batch_size is 8, .* = 6"),
        ({"context": 3}, {}, r"data.length is 64, .* 2 \* mesh.context = 6"),
        (
            {"tensor": 4, "context": 4},
            {"context_exchange": "heads"},
            r"num_kv_heads is 8, .* by mesh.tensor \* mesh.context = 16",
        ),
    ],
)
def test_what_does_not_divide_is_named_with_both_numbers(mesh, change, message):
    model = dataclasses.replace(many_devices.LLAMA, **change)
    with pytest.raises(ValueError, match=message):
        check_fits(abstract(**mesh), model, many_devices.BATCH, 64)


def test_microbatches_have_to_divide_too():
    check_fits(abstract(data=4), many_devices.LLAMA, 8, 64, accumulation_steps=2)
    with pytest.raises(ValueError, match="accumulation_steps is 2, .* = 4"):
        check_fits(abstract(data=4), many_devices.LLAMA, 8, 64, accumulation_steps=4)


def test_a_unit_with_one_head_is_not_divided_among_tensor():
    with pytest.raises(ValueError, match="model.num_heads is 1"):
        check_fits(abstract(tensor=2), many_devices.GAU, 8, 64)


def state_of(model):
    config = dataclasses.replace(tiny_run.CONFIG, ema_decay=0.9)
    return jax.eval_shape(
        lambda: init_state(init_model(model)[1], make_optimizer(config), config)
    )


@pytest.mark.parametrize("model", [many_devices.LLAMA, many_devices.GAU])
def test_every_matrix_of_a_state_is_divided_and_nothing_else(model):
    mesh = abstract(2, 2, 1 if model.block == "gau" else 2)
    state = state_of(dataclasses.replace(model, tied_embeddings=False, biases=False))
    specs = specs_of(state, mesh)
    for (path, spec), leaf in zip(
        jax.tree_util.tree_leaves_with_path(specs, is_leaf=lambda x: isinstance(x, P)),
        jax.tree.leaves(state),
        strict=True,
    ):
        matrix = any(name in str(path) for name in ("kernel", "embedding"))
        assert ("fsdp" in str(spec)) == matrix, path
        assert len(spec) == (leaf.ndim if matrix else 0), path


def test_a_vocabulary_that_does_not_divide_stays_whole():
    table = {"embed": {"embedding": jax.ShapeDtypeStruct((7, 16), "float32")}}
    found = specs_of(table, abstract(fsdp=2, tensor=2))["embed"]["embedding"]
    assert found == P(None, ("fsdp",))
