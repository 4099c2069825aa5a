"""Where time goes, and operations by formula."""

import dataclasses

import pytest

from rope_lab.model import ModelConfig, count_parameters, init_model
from rope_lab.training import clock


def counted(model: ModelConfig, length: int) -> float:
    """The products of one sequence, one by one, over its tokens."""
    kernels = model.num_layers * (
        2 * model.width * model.num_heads * model.head_dim
        + 2 * model.width * model.num_kv_heads * model.head_dim
        + 3 * model.width * model.ff_width
    )
    scores = model.width * model.vocab_size
    total = 0
    for query in range(length):
        total += 2 * (kernels + scores)
        for _ in range(query + 1):
            total += 2 * model.num_layers * model.num_heads * 2 * model.head_dim
    return 3 * total / length


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_of_the_products_with_each_pair_once(tied):
    model = ModelConfig(vocab_size=31, num_layers=3, num_kv_heads=2)
    model = dataclasses.replace(model, tied_embeddings=tied)
    parameters = count_parameters(init_model(model)[1])
    found = clock.training_flops(model, parameters, 40)
    # Gains of norms are counted among the parameters, though they are no products.
    assert found == pytest.approx(counted(model, 40), rel=0.01)


def test_what_belongs_to_no_part_is_the_hosts(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    one = clock.Clock()
    for _ in range(2):
        for part, seconds in (("data", 1.0), ("step", 4.0)):
            with one.on(part):
                now[0] += seconds
        now[0] += 3.0
    row = one.row(2, 80.0, devices=4, flops_per_token=10.0)
    assert [row[f"{part}_seconds"] for part in clock.PARTS] == [1.0, 4.0, 0.0, 0.0]
    assert row["host_seconds"] == 3.0
    assert row["tokens_per_second"] == 10.0
    assert row["tokens_per_second_per_device"] == 2.5
    assert row["flops_per_second_per_device"] == 25.0
    now[0] += 5.0
    assert one.row(1, 80.0, 1, None)["host_seconds"] == 5.0


def test_utilisation_is_there_where_the_peak_is_known(monkeypatch):
    class Device:
        device_kind = "TPU v4"

        def memory_stats(self):
            return {"peak_bytes_in_use": 7}

    monkeypatch.setattr(clock.jax, "devices", lambda: [Device()])
    monkeypatch.setattr(clock.jax, "local_devices", lambda: [Device()])
    row = clock.Clock().row(1, 10.0, 1, flops_per_token=1.0)
    expected = row["flops_per_second_per_device"] / 275e12
    assert row["model_flops_utilisation"] == pytest.approx(expected)
    assert row["memory_peak_bytes"] == 7
