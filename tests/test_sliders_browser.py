"""The sliders in a real JupyterLab, in a real Chromium: drag one, and the numbers change."""

import pytest
from lab import eventually, value

SETUP = """import circuitlab as cl
model = cl.load()
graph = model.trace("fact : the capital of the state containing Dallas is")
view = graph.view()
label = graph.nodes[graph.kind_mask("feature")].groupby("label")["id"].apply(list)
view.supernodes = {"Texas": label["Texas city"], "say a capital": label["say a capital"]}
sliders = cl.InterventionSliders(model, graph, session=view.session)"""


def slider_at(page, row, factor):
    """The place of a factor on a row's slider, in pixels of the window."""
    box = page.locator(f'.cl .row[data-name="{row}"] .amount').bounding_box()
    return box["x"] + 7 + (box["width"] - 14) * (factor + 5) / 10, box["y"] + box["height"] / 2


@pytest.fixture
def shown(open_notebook):
    page = open_notebook([SETUP, "sliders"])
    page.locator(".cl .tokens li").first.wait_for()
    eventually(page, "sliders.result.get('continuation', {}).get('before')", " Austin .<eos>")
    return page


def test_dragging_a_slider_changes_the_numbers(shown):
    page = shown
    first = page.locator(".cl .tokens li").first
    assert first.locator(".after.number").inner_text() == "100.0%"
    page.mouse.move(*slider_at(page, "Texas", 1))
    page.mouse.down()
    for step in range(1, 21):
        page.mouse.move(*slider_at(page, "Texas", 1 - step / 10))
    first.locator(".after.number").filter(has_text="<0.1%").wait_for()
    page.mouse.up()
    eventually(page, "sliders.factors", {"Texas": -1.0})
    eventually(page, "view.session.interventions", {"Texas": -1.0})
    eventually(page, "sliders.result['revision'] == sliders._revision and not sliders.result['pending']", True)
    tokens = value(page, "sliders.result['tokens']")
    assert tokens[0]["before"] > 0.99
    assert tokens[0]["after"] < 0.01
    shown_names = page.locator(".cl .tokens .token").all_inner_texts()
    assert shown_names == [token["token"].strip() for token in tokens]
    assert page.locator(".cl q.after").inner_text().split()[0] == tokens[1]["token"].strip()
    assert value(page, "view.session.changed['Texas']") == -1.0

    page.locator('.cl .row[data-name="Texas"] .number').fill("nonsense")
    page.keyboard.press("Enter")
    page.locator(".cl .number.wrong").wait_for()
    page.locator(".cl input.add").fill("say a captial")
    page.keyboard.press("Enter")
    page.locator(".cl .status.error", has_text="nearest: 'say a capital'").wait_for()
    page.locator(".cl button", has_text="Copy as Python").click()
    assert '{"Texas": -1}' in page.locator(".cl .code").input_value()
    page.locator(".cl button", has_text="Reset").click()
    eventually(page, "sliders.factors", {})
    first.locator(".after.number").filter(has_text="100.0%").wait_for()


def test_python_moves_the_sliders_and_a_dead_kernel_says_so(shown):
    page = shown
    value(page, "setattr(sliders, 'factors', {'Texas': 3.0})")
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].some(e => e.shadowRoot?.querySelector("
        "'.row[data-name=\"Texas\"] .amount')?.value === '3')"
    )
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.mouse.click(*slider_at(page, "Texas", 0))
    page.locator(".cl .kernel", has_text="No kernel is running").wait_for()
