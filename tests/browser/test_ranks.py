"""The Ranks page in a browser: the first bad cell is marked, and leads to the trace of its rank."""

import re

import torch
from playwright.sync_api import Page, expect

from simplegrad import record_torch

from .conftest import Server


def run_of(rank: int, folder) -> str:
    """Three passes; the data of rank 1 make its second one a NaN."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    with record_torch(model, values="norm") as trace:
        for step in range(3):
            model.zero_grad()
            scale = -1.0 if (rank, step) == (1, 1) else 1.0
            (model(torch.ones(2, 4)).square() * scale).sqrt().mean().backward()
    trace.rank, trace.world = rank, 2
    trace.save(folder / f"run.{rank}.trace")
    return str(folder / f"run.{rank}.trace")


def test_the_first_bad_cell_is_marked_and_leads_to_the_trace_of_its_rank(page: Page, tmp_path):
    running = Server(*(run_of(rank, tmp_path) for rank in range(2))).wait()
    try:
        page.goto(f"{running.url}/ranks")
        expect(page.get_by_test_id("rank-report")).to_have_attribute("data-rank", "1", timeout=60_000)
        table = page.get_by_test_id("rank-table")
        bad = table.locator("[data-bad]")
        expect(bad).to_have_count(1)
        expect(bad).to_contain_text("NaN")
        assert bad.evaluate("cell => [...cell.parentElement.children].indexOf(cell)") == 2  # behind the rank, pass 2
        button = bad.get_by_role("button")
        assert button.get_attribute("data-rank") == "1"
        step = button.get_attribute("data-step")
        button.click()
        page.wait_for_url(re.compile("/pytorch"))
        expect(page.get_by_test_id("nonfinite").first).to_have_attribute("data-kind", "nan", timeout=60_000)
        page.wait_for_url(re.compile(rf"case=trace(:|%3A)run\.1\.trace.*step={step}\b"))
    finally:
        running.stop()
