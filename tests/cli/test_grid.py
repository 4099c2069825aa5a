"""The grid of a sweep: what it says, and that every mistake in it is one message."""

import pytest

from rope_lab.cli.config import PretrainConfig, read
from rope_lab.cli.grid import EXAMPLE, config_file, make_cells, parse_grid
from rope_lab.cli.sweep import group_cells


@pytest.fixture
def base(settings):
    return read(PretrainConfig, settings)


def test_commas_and_brackets_inside_of_values_separate_nothing():
    grid = parse_grid(
        'model.logic=[{"name":"yarn","scale":4}, "rope", [{"name":"rope"}]], '
        "data.corpus=[a,b c],training.clip_norm=[None,1.5],validation.every=[2]"
    )
    assert grid == {
        "model.logic": [
            {"name": "yarn", "scale": 4},
            {"name": "rope"},
            [{"name": "rope"}],
        ],
        "data.corpus": ["a", "b c"],
        "training.clip_norm": [None, 1.5],
        "validation.every": [2],
    }


def test_the_example_is_a_grid():
    assert len(parse_grid(EXAMPLE.partition("=")[2].strip("'"))) == 2


def test_every_combination_is_a_cell_with_its_values_and_the_rest_of_the_config(base):
    cells = make_cells(base, "model.logic=[rope,nope],seed=[3,1]")
    found = [(cell.config.model.logic["name"], cell.config.seed) for cell in cells]
    assert found == [("rope", 3), ("rope", 1), ("nope", 3), ("nope", 1)]
    assert cells[0].name == "model.logic-rope_seed-3"
    assert {cell.config.training for cell in cells} == {base.training}


def test_the_file_of_a_cell_gives_its_config(base):
    (cell,) = make_cells(base, 'model.logic=[{"name":"rerope","window":4}]')
    scope: dict = {}
    exec(config_file(cell), scope)
    assert read(PretrainConfig, scope["get_config"]()) == cell.config


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("", "--grid is missing.*model.logic="),
        ("seed", "expected key=\\[value"),
        ("seed=1,2", "'seed=1'; expected key="),
        ("seed=[]", "no values for seed"),
        ("seed=[1,1]", "seed the value 1 twice"),
        ("model.logic=[rope,{'name':'rope'}]", "twice"),
        ("seed=[1],seed=[2]", "names seed twice"),
        ("seed=[1", "never closes '\\['"),
        ("seed=[1])", "closes nothing"),
        ("model.logic=[{name:rope}]", "quote its words"),
        ("sed=[1]", "config.sed: nothing reads this key .did you mean 'seed'"),
        ("seed=[one]", "cell seed-one: config.seed must be a int, got 'one'"),
        ("training.num_step=[4]", "did you mean 'num_steps'"),
        ("training.num_steps=[0]", "cell training.num_steps-0: .*at least 1"),
        ("model.logic=[rop]", "did you mean 'rope'"),
        ("model.head_dim=[7]", "head_dim must be even"),
        ("data.corpus=[a b,a-b]", "two cells of the name data.corpus-a-b"),
    ],
)
def test_a_wrong_grid_is_one_message(base, grid, message):
    with pytest.raises(ValueError, match=message):
        make_cells(base, grid)


def grouped(base, grid):
    cells = make_cells(base, grid)
    return [[cells.index(cell) for cell in group] for group in group_cells(cells)]


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ("model.logic=[rope,{'name':'yarn','scale':4,'train_length':16}]", [[0, 1]]),
        ("seed=[0,1],data.seed=[0,1]", [[0, 1, 2, 3]]),
        ("model.logic=[rope,nope],seed=[0,1]", [[0, 1], [2, 3]]),
        ("model.width=[16,32],seed=[0,1]", [[0, 1], [2, 3]]),
        ("training.learning_rate=[0.1,0.2]", [[0], [1]]),
        ("model.logic=[{'name':'alibi','num_heads':2}],seed=[0,1]", [[0], [1]]),
        (
            "model.logic=[{'name':'rerope','window':4},{'name':'rerope','window':8}]",
            [[0], [1]],
        ),
    ],
)
def test_cells_share_a_program_when_they_differ_in_numbers_alone(base, grid, expected):
    assert grouped(base, grid) == expected
