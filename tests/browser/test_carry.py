"""A page saved as a file and opened from a folder; a trace opened by upload."""

from playwright.sync_api import Page, expect

from simplegrad import Program

PLAYER = "[data-testid=player]"


def test_a_page_saved_as_html_opens_at_the_same_step(page: Page, server, tmp_path):
    page.goto(f"{server.url}/?program=first-gradient&step=3")
    page.wait_for_selector(f"{PLAYER}[data-ready=true]")
    page.get_by_role("button", name="file", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as HTML").click()
    download.value.save_as(tmp_path / "saved.html")
    page.goto(f"file://{tmp_path}/saved.html")
    page.wait_for_selector(f"{PLAYER}[data-ready=true]")
    expect(page.locator(PLAYER)).to_have_attribute("data-step", "3")


def test_a_trace_is_opened_by_upload(page: Page, server, tmp_path):
    Program.parse("mine = rand(3)\ngrad((mine * mine).sum(), [mine])").run().save(tmp_path / "mine.trace")
    page.goto(f"{server.url}/?program=first-gradient")
    page.wait_for_selector(f"{PLAYER}[data-ready=true]")
    page.get_by_role("button", name="file", exact=True).click()
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.trace")
    page.wait_for_url("**mine.trace**", timeout=20_000)
    page.wait_for_selector(f"{PLAYER}[data-ready=true]")
    page.keyboard.press("End")
    expect(page.get_by_test_id("tape").first).to_contain_text("mine")
    assert "program=file%3Amine.trace" in page.url
