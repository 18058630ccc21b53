from dataclasses import FrozenInstanceError, dataclass

import pytest

from cbm.config import build, option, specs
from cbm.errors import UsageError


@dataclass(frozen=True)
class Config:
    alpha: float = option(0.99, help="share of L1", low=0, high=1)
    nec: int | None = option(10, help="concepts a class", low=1)
    loss: str = option("softmax", help="which loss", choices=("softmax", "sigmoid"))
    refit: bool = option(True, help="whether to fit again")


def test_defaults_stand_where_nothing_is_given():
    assert build(Config, {}) == Config(0.99, 10, "softmax", True)


def test_text_from_a_command_line_is_read_as_the_options_type():
    options = {"alpha": "0.5", "nec": "7", "loss": "sigmoid", "refit": "no"}

    assert build(Config, options) == Config(0.5, 7, "sigmoid", False)


@pytest.mark.parametrize("nothing", [None, "", "none", "None"])
def test_an_optional_value_can_be_none(nothing):
    assert build(Config, {"nec": nothing}).nec is None


def test_a_whole_float_is_an_int_and_another_is_not():
    assert build(Config, {"nec": 7.0}).nec == 7
    with pytest.raises(UsageError, match=r"nec is 7\.5; it must be int"):
        build(Config, {"nec": 7.5})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; it must be between 0 and 1"),
        ({"alpha": float("nan")}, "between 0 and 1"),
        ({"alpha": "much"}, "alpha is 'much'; it must be float"),
        ({"alpha": None}, "alpha needs a value"),
        ({"nec": 0}, "nec is 0; it must be at least 1"),
        ({"refit": "perhaps"}, "refit is 'perhaps'; it must be bool"),
    ],
)
def test_a_value_that_does_not_do_is_answered_with_what_would(options, said):
    with pytest.raises(UsageError, match=said) as caught:
        build(Config, options)

    assert caught.value.hint


def test_misspelt_options_and_choices_are_answered_with_the_close_ones():
    with pytest.raises(UsageError, match="no option named 'alhpa'") as caught:
        build(Config, {"alhpa": 1})
    assert "alpha" in caught.value.hint
    with pytest.raises(UsageError, match="no choice of loss named 'softmx'"):
        build(Config, {"loss": "softmx"})


def test_specs_say_all_that_a_form_needs():
    alpha, nec, loss, refit = specs(Config)

    assert (alpha.type, alpha.low, alpha.high, alpha.help) == (float, 0, 1, "share of L1")
    assert (nec.type, nec.optional, nec.default) == (int, True, 10)
    assert (loss.type, loss.choices) == (str, ("softmax", "sigmoid"))
    assert (refit.type, refit.optional) == (bool, False)


def test_a_config_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        Config().alpha = 0.1
