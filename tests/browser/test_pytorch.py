"""The PyTorch page in a real Chromium: the bad sinh explained, the double backward stepped through, a saved trace."""

from __future__ import annotations

import re

import pytest
import torch
from playwright.sync_api import Page, expect

from simplegrad import record_torch

from .conftest import Server

READY = "[data-testid=player][data-ready=true]"


def open_pytorch(page: Page, url: str, query: str = "") -> None:
    page.goto(f"{url}/pytorch{query}")
    page.wait_for_selector(READY, timeout=60_000)


def test_the_bad_sinh_is_explained(page: Page, server):
    open_pytorch(page, server.url)
    expect(page.get_by_test_id("verdict")).to_have_attribute("data-verdict", "escaped_temporary")
    first = page.get_by_test_id("finding").first
    expect(first.get_by_test_id("slot")).to_have_text("ctx.expx")
    expect(first.get_by_test_id("made-at")).to_contain_text("sinh_bad.py, line 10")
    expect(first.get_by_test_id("read-at")).to_contain_text("return dL_dy * (ctx.expx + ctx.expnegx) / 2")
    expect(first.get_by_test_id("dropped")).to_have_text("[0.8244, 0.1839, 3.695]")
    first.locator("summary").click()
    expect(first.get_by_test_id("fix")).to_contain_text("once_differentiable")
    marked = page.get_by_test_id("marked-source").locator("li[data-marks=made]")
    expect(marked).to_have_count(2)
    first.locator("[data-action=go-backward]").click()
    expect(page.get_by_test_id("event")).to_contain_text("SinhBad")


def test_the_double_backward_is_stepped_through_to_nothing(page: Page, server):
    open_pytorch(page, server.url, "?case=sinh-bad")
    expect(page.locator("[data-testid=lanes] [data-order='2']")).to_contain_text("double backward")
    page.keyboard.press("End")
    expect(page.locator("[data-testid=gradients] [data-name=x]")).to_have_attribute("data-state", "none")
    expect(page).to_have_url(re.compile(r"case=sinh-bad&step=\d\d"))


def the_table_draws_and_answers(page: Page):
    table = page.get_by_test_id("parameters")
    table.get_by_role("button", name="histogram of weight").click()
    expect(table.get_by_test_id("histograms")).to_contain_text(
        "gradient that the last pass brought: 4 from 0.0000 to 4.0000"
    )
    expect(table.locator("[data-name=weight]")).to_contain_text("50 %")  # zeros
    table.get_by_role("button", name="why weight").click()
    expect(page.get_by_test_id("why")).to_contain_text("ordinary size")
    expect(page.get_by_test_id("why").locator("h4")).to_have_text("why? weight value")  # there is no cause to name
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("why")).to_have_count(0)
    table.get_by_role("searchbox").fill("nowhere")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-sg-theme", "dark")
    expect(table.locator("tbody")).to_have_text("No parameter has “nowhere” in its name, nor a gradient of that state.")
    page.locator("[data-action=marks]").click()
    expect(page.get_by_test_id("marks")).to_have_css("display", "block")  # the marks of a source line are a row
    for condition, found in (("a gradient is None", "No step of this run meets it."), ("NaN or infinite", "step")):
        page.locator(".sg-form select").select_option(label=condition)
        page.locator("[data-action=add-breakpoint]").click()
        page.locator(".sg-break .sg-count").last.click()
        expect(page.get_by_test_id("hits").last).to_contain_text(found)
    hits = page.get_by_test_id("hits").get_by_role("button")
    step = hits.last.inner_text().removeprefix("step ")
    hits.last.click()
    expect(page.get_by_test_id("player")).to_have_attribute("data-step", step)
    page.keyboard.press("Escape")


def test_a_saved_trace_opens_and_leads_to_its_nan(page: Page, tmp_path):
    model = torch.nn.Linear(2, 2)
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    with record_torch(model, values="full") as trace:
        (torch.where(x > 0, x.sqrt(), x).sum() + model(x.detach()).sum()).backward()
    trace.save(tmp_path / "run.trace")
    server = Server(str(tmp_path / "run.trace")).wait()
    try:
        open_pytorch(page, server.url)
        birth = page.get_by_test_id("nonfinite")
        expect(birth).to_have_attribute("data-kind", "nan")
        birth.get_by_role("button").click()
        step = birth.get_attribute("data-step")
        expect(page.get_by_test_id("player")).to_have_attribute("data-step", step)
        the_table_draws_and_answers(page)
        page.goto(server.url)  # the same page: who gives a run of PyTorch wants to see it
        expect(page.get_by_test_id("nonfinite")).to_have_attribute("data-kind", "nan", timeout=60_000)
        page.wait_for_selector(READY, timeout=60_000)
        page.keyboard.press("End")
        expect(page).to_have_url(re.compile(r"case=trace(:|%3A)run\.trace&step="))
    finally:
        server.stop()


@pytest.mark.parametrize("case", ["sinh-bad", "layer-norm", "hidden-nan"])
def test_nothing_of_the_findings_is_cut(page: Page, server, case):
    open_pytorch(page, server.url, f"?case={case}")
    spills = """() => [...document.querySelectorAll('.sg-pytorch *')].filter(e => e.clientWidth
        && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === 'visible').map(e => e.textContent)"""
    for width in (1440, 800):
        page.set_viewport_size({"width": width, "height": 1000})
        assert page.evaluate(spills) == [], width
        boxes = [each.bounding_box() for each in page.locator(".sg-pytorch .sg-fact").all()]
        assert len(boxes) >= 2
        for above, below in zip(boxes, boxes[1:]):
            assert above["y"] + above["height"] <= below["y"], width
