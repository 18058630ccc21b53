"""What the screens share: names are harmless, the selection is in the address, errors are words."""

import pytest
from streamlit.testing.v1 import AppTest

from app.ui.recipes import command
from app.ui.text import escape, estimate, percent
from probes.intervals import Estimate


@pytest.mark.parametrize(
    "name",
    [
        "**bold**",
        "[link](http://x)",
        ":red[loud]",
        "$x$",
        "`code`",
        "<script>",
        "# title",
        "1. one",
        ":material/home:",
        "a\nb",
    ],
)
def test_an_escaped_name_is_shown_as_it_is(name):
    def page(text):
        import streamlit as st

        st.markdown(text)

    shown = AppTest.from_function(page, args=(escape(name),)).run().markdown[0].value

    assert "\n" not in shown
    assert shown.replace("\\", "") == name.replace("\n", " ")
    assert all(shown[i - 1] == "\\" for i, letter in enumerate(shown) if letter in "*[]()<>`$#:" and i)


def test_a_long_name_is_cut():
    assert escape("x" * 100, 10) == "x" * 9 + "…"


def test_a_command_quotes_what_a_shell_would_read():
    assert command("explain", "a; rm -rf ~", "it's") == """pellucid explain 'a; rm -rf ~' 'it'"'"'s'"""


def test_an_estimate_has_its_interval_and_count():
    assert estimate(Estimate(0.775, 0.74, 0.807, 1600)) == "77.5 % (74.0 to 80.7, n = 1,600)"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.999, "99.9 %"), (0.0004, "under 0.1 %"), (0.0042, "0.42 %")]
)
def test_a_share_has_three_digits_at_most(share, text):
    assert percent(share) == text


def selecting(**changes):
    import streamlit as st

    from app import ui

    ui.keep()
    st.button("change", key="change", on_click=ui.select, kwargs=changes)
    st.text(str(ui.selection()))


def test_the_selection_comes_from_the_address_and_goes_back_to_it():
    page = AppTest.from_function(selecting, kwargs={"image": "b.png", "class_": "tern"})
    page.query_params["dataset"] = "birds"
    page.query_params["image"] = "a.png"
    page.run()
    assert "image='a.png'" in page.text[0].value

    page.button(key="change").click().run()

    assert {name: page.query_params[name] for name in ("dataset", "image", "class")} == {
        "dataset": "birds", "image": "b.png", "class": "tern",
    }  # fmt: skip


def test_another_data_set_forgets_what_lay_in_the_old_one():
    page = AppTest.from_function(selecting, kwargs={"dataset": "cells"})
    for name, value in {"dataset": "birds", "model": "birds-posthoc", "version": "main", "image": "a.png"}.items():
        page.query_params[name] = value
    page.run()

    page.button(key="change").click().run()

    assert dict(page.query_params) == {"dataset": "cells"}


def test_the_address_wins_over_the_session_and_fills_from_it():
    page = AppTest.from_function(selecting)
    page.query_params["dataset"] = "birds"
    page.query_params["concept"] = "crest"
    page.run()
    del page.query_params["concept"]  # as when a person goes to another screen
    page.query_params["dataset"] = "birds"

    page.run()

    assert page.query_params["concept"] == "crest"


def failing(kind):
    from app import ui
    from cbm.errors import DataError

    with ui.edge():
        if kind == "ours":
            raise DataError("the file *x* is empty", hint="choose another")
        raise ZeroDivisionError


def test_an_error_of_a_known_kind_is_shown_with_its_hint():
    page = AppTest.from_function(failing, args=("ours",)).run()

    assert not page.exception
    assert page.error[0].value == r"**the file \*x\* is empty**" + "\n\nchoose another"


def test_an_unknown_error_is_no_traceback():
    page = AppTest.from_function(failing, args=("other",)).run()

    assert not page.exception
    assert "ZeroDivision" not in page.error[0].value


def failing_button():
    import streamlit as st

    from app import ui
    from cbm.errors import DataError

    @ui.callback
    def fail():
        raise DataError("no such thing")

    ui.show_problems()
    st.button("go", key="go", on_click=fail)


def test_an_error_in_a_callback_is_shown_once():
    page = AppTest.from_function(failing_button).run()

    assert page.button(key="go").click().run().error[0].value == "**no such thing**"
    assert not page.run().error
