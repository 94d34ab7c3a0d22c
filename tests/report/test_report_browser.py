"""The report's page in a real Chromium, as large as a desk and as a phone: it is drawn, and what is clicked works."""

import json
import random
import shutil
import time
from urllib.parse import quote

import pytest
from support.report_runs import HOSTILE, metric, rollout, spoil, write_run

from fleming.files import write_jsonl
from fleming.records import to_json
from fleming.report.__main__ import write
from fleming.report.page import Report
from model.sums import sums_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
)


class Browser:
    """A headless Chromium."""

    def __init__(self, size: str):
        selenium = pytest.importorskip("selenium.webdriver")
        options, (width, height) = selenium.ChromeOptions(), SIZES[size]
        options.binary_location = CHROMIUM
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},{height}",
        ):
            options.add_argument(argument)
        if size == "phone":
            metrics = {"width": width, "height": height, "pixelRatio": 2}
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = selenium.Chrome(options=options, service=selenium.ChromeService(DRIVER))
        self.js = self.driver.execute_script

    def open(self, path, hash: str = "") -> None:
        self.driver.get("about:blank")  # else only the address would change
        self.driver.get(f"{path.as_uri()}{hash}")
        self.until("return document.documentElement.dataset.usable")

    def until(self, script: str, *arguments):
        """Return what the script returns, once that is true."""
        deadline = time.monotonic() + 15
        while not (found := self.js(script, *arguments)):
            assert time.monotonic() < deadline, f"never: {script}"
            time.sleep(0.02)
        return found

    def until_shown(self, text: str, within: str = "body") -> None:
        self.until(
            "return document.querySelector(arguments[0])?.innerText.includes(arguments[1])", within, text
        )

    def text(self, within: str) -> str:
        return self.js("return document.querySelector(arguments[0]).innerText", within)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        """Click on the first such element that there is at this very moment."""
        self.js("document.querySelector(arguments[0]).click()", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def choose(self, label: str, value: str) -> None:
        """Choose in the answers' controls, as a person does."""
        script = """
            const labels = [...document.querySelectorAll("#answers label")];
            const select = labels.find((label) => label.innerText.startsWith(arguments[0])).querySelector("select");
            select.value = arguments[1];
            select.dispatchEvent(new Event("change"));
        """
        self.js(script, label, value)

    def complaints(self) -> list[str]:
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module", params=SIZES)
def browser(request):
    found = Browser(request.param)
    yield found
    found.driver.quit()


@pytest.fixture(scope="module")
def desk():
    found = Browser("desk")
    yield found
    found.driver.quit()


def made(folder, other=None):
    write(Report(folder, other), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of a run with another beside it."""
    folder = tmp_path_factory.mktemp("runs")
    return made(write_run(folder / "run"), write_run(folder / "other"))


def hash_of(browser: Browser) -> str:
    return browser.js("return location.hash")


# --- at both sizes


def test_every_section_is_drawn_without_a_complaint(browser, page):
    browser.open(page)
    browser.until_shown("groups", "#answers")
    sections = browser.js("return [...document.querySelectorAll('main > section')].map((s) => s.id)")
    expected = (
        "stages changes training answers mining data shortcuts graph trust costs provenance repeat glossary"
    )
    assert sections == expected.split()
    assert "70.0 %" in browser.text("#stages")
    assert "better" in browser.text("#stages")
    assert "Labels: not checked" in browser.text("#missing")
    assert "forbids commercial use" in browser.text("#provenance")
    assert "other" in browser.text("#training")
    assert browser.js("return document.querySelectorAll('#training svg').length") == 10
    assert browser.js(
        "return document.documentElement.scrollWidth <= innerWidth"
    )  # nothing hangs over the edge
    assert browser.js(
        "return [...document.querySelectorAll('.flow')].every((f) => f.scrollWidth <= f.clientWidth)"
    )
    assert browser.complaints() == []


def test_a_word_of_the_field_leads_to_its_sentence(browser, page):
    browser.open(page)
    words = browser.js(
        "return [...document.querySelectorAll('a.word')].map((a) => a.innerText.toLowerCase())"
    )
    assert {"reward", "kl", "groups without variance", "advantage", "group", "accuracy", "chance"} <= {*words}
    browser.click("#training h3 a.word")
    assert browser.text(":target dt") == "reward"
    assert "earns" in browser.text(":target dd")
    assert browser.find("#training h3 a.word").get_attribute("title") == browser.text(":target dd")
    assert "pass@k" in browser.text("#glossary")
    assert browser.complaints() == []


def test_the_page_says_how_the_run_is_repeated_and_checked(browser, page):
    browser.open(page)
    blocks = browser.js("return [...document.querySelectorAll('#repeat pre')].map((pre) => pre.innerText)")
    again = "--config config.yaml run_dir=runs/run_again"
    commands = [f"python {script} {again}" for script in ("synth_data.py", "train_sft.py", "train_grpo.py")]
    assert blocks[0].split("\n") == ["git checkout abc", *commands]
    assert f"python -m fleming.audit verify {page.parent}" in blocks
    said = browser.text("#repeat")
    assert "python 3.11, torch 2.13" in said
    assert "no kept checkpoint" in said  # so no segments are offered
    assert "grpo: data" in said  # no stage wrote it
    assert browser.complaints() == []


def test_a_click_on_a_point_opens_its_step(browser, page):
    browser.open(page)
    chart = browser.find("#training svg.chart")
    browser.js("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", chart)
    chart.click()  # in its middle
    browser.until_shown("step 4" if hash_of(browser) == "#step/4" else "step 3", "#answers")
    assert hash_of(browser) in ("#step/3", "#step/4")
    assert browser.complaints() == []


def test_a_permalink_opens_what_it_names(browser, page):
    browser.open(page, "#rollout/5/2/1")
    browser.until_shown("Step 5, group 2", "#samples")
    assert browser.text(".is-chosen h4") == "Sample 1"
    assert "python -m fleming.audit trace" in browser.text(".is-chosen")
    assert browser.text(".is-chosen code").endswith("rollout:5/2/1")
    assert browser.js("return document.querySelectorAll('.sample').length") == 4
    browser.open(page, "#group/6/3")
    browser.until_shown("Step 6, group 3", "#samples")
    browser.open(page, f"#question/{quote('graph/test2', safe='')}")
    browser.until_shown("Which drug helps patient 2?", "dialog")
    assert browser.js("return document.querySelector('dialog').open")
    assert "How likely each clue is" in browser.text("dialog")
    assert browser.js("return document.querySelectorAll('dialog .path .violated').length") >= 1
    browser.open(page, "#step/99")
    browser.until_shown("Step 99 is not on this page", "#live")
    assert browser.complaints() == []


def test_paper_which_does_not_scroll_cuts_no_table_and_no_picture(desk, page):
    desk.open(page)
    desk.until("return document.querySelectorAll('#changes .right').length")
    metrics = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}  # A4 within its margins
    try:
        desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        desk.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        cut = """return [...document.querySelectorAll(".scroll")]
            .filter((box) => box.scrollWidth > box.clientWidth + 1)
            .map((box) => [box.innerText.slice(0, 60), box.scrollWidth, box.clientWidth])"""
        assert desk.js(cut) == []
    finally:
        desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        desk.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_texts_stay_texts(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    hostile = made(write_run(folder / "run <img src=x onerror='window.hacked = 1'>", HOSTILE))
    odd = ("#question/<img>", "#%", "#step/__proto__")
    for place in ("", "#rollout/6/0/0", f"#question/{quote('graph/test0', safe='')}", *odd):
        browser.open(hostile, place)
        browser.until("return document.querySelector('#answers tbody tr')")
        if place.startswith("#rollout"):
            browser.until_shown("</script><script>window.hacked = 1</script>", "#samples")
            assert "⟨U+0000⟩" in browser.text("#samples")
            assert "⟨U+202E⟩ desrever" in browser.text("#samples")
            widths = browser.js(
                "return [...document.querySelectorAll('.sample dd')].map((dd) => dd.clientWidth)"
            )
            assert min(widths) > 80  # a part of the reward with a long name leaves room for its value
        assert browser.js("return window.hacked === undefined && !document.querySelector('img')")
        assert browser.js("return document.querySelectorAll('script:not([type])').length") == 1
    assert browser.complaints() == []


# --- at a desk


def test_a_page_is_drawn_whatever_a_file_holds(desk, tmp_path):
    whole = write_run(tmp_path / "whole")
    for seed in range(100, 110):
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        spoil(folder, random.Random(seed))
        desk.open(made(folder), "#rollout/6/1/1")
        desk.js("location.hash = '#question/graph%2Ftest2'")
        desk.until("return document.querySelector('dialog').open")
        assert desk.js("return document.querySelectorAll('main > p.note').length") == 0, seed
        assert desk.complaints() == [], seed


def test_a_run_of_stage_2_alone_is_not_called_stage_1(desk, tmp_path):
    (tmp_path / "grpo").mkdir()
    write_jsonl(tmp_path / "grpo/metrics.jsonl", [metric(step, 2) for step in (1, 2)])
    desk.open(made(tmp_path))
    desk.until_shown("Steps of RL")
    assert desk.text("main").split("Steps of RL")[1].split("\n")[1:3] == ["2", "stage 2"]


def test_filters_and_the_histograms_bars_choose_answers(desk, page):
    desk.open(page, "#step/6")
    desk.until_shown("4 groups, 16 answers", "#answers")
    desk.choose("Answer", "wrong")
    said = "return document.querySelector('#answers [role=status]').innerText"
    wrong = desk.until(f"{said}.match(/, (\\d+) answers? match/)")[1]
    right = 16 - int(wrong)
    desk.choose("Answer", "all")
    desk.until_shown("16 answers", "#answers")
    bars = desk.js(
        "return [...document.querySelectorAll('.hist [data-bin]')].map((b) => b.getAttribute('aria-label'))"
    )
    assert bars[-1].endswith(f"{right} right, 0 wrong")
    desk.js("document.querySelectorAll('.hist [data-bin]')[0].dispatchEvent(new MouseEvent('click'))")
    desk.until_shown("match", "#answers [role=status]")
    assert desk.js("return document.querySelectorAll('.hist [aria-pressed=true]').length") == 1
    desk.choose("Question", "changed")
    desk.click("[data-name=clear]")
    desk.until_shown("4 groups, 16 answers", "#answers [role=status]")
    desk.choose("Question", "changed")
    desk.until_shown("match", "#answers [role=status]")
    shown = desk.js("return [...document.querySelectorAll('#answers tbody tr')].map((row) => row.innerText)")
    assert all("▲" in row or "▼" in row for row in shown)
    assert desk.complaints() == []


def test_what_changed_is_listed_by_stage_and_kind(desk, page):
    desk.open(page)
    desk.until_shown("wrong → right (4)", "#changes")
    assert "answers 4 questions right that RL stage 1 did not, and loses 1" in desk.text("#changes")
    desk.until_shown("Which drug helps patient 17?", "#changes")
    desk.js(
        "[...document.querySelectorAll('#changes button')].find((b) => b.innerText === 'differential').click()"
    )
    desk.until_shown("differential ✕", "#changes")
    desk.js("document.querySelector('#changes .ribbon.worse').dispatchEvent(new MouseEvent('click'))")
    desk.until_shown("right → wrong (1)", "#changes [aria-pressed=true]")
    desk.until_shown("Which drug helps patient 0?", "#changes .picked")
    desk.js("document.querySelector('#changes .picked tbody a').click()")
    desk.until_shown("What each stage answered", "dialog")
    desk.js(
        "[...document.querySelectorAll('dialog button')].find((b) => b.innerText.startsWith('Why not')).click()"
    )
    desk.until_shown("Why it is wrong", "dialog")
    assert desk.complaints() == []


def test_the_keyboard_is_enough(desk, page):
    desk.open(page)
    desk.press("TAB", "ENTER")  # the link that skips to the report
    assert hash_of(desk) == "#main"
    desk.js("document.querySelector('#training svg.chart').focus()")
    desk.press("HOME", "ARROW_RIGHT", "ENTER")
    desk.until_shown("step 2", "#answers")
    assert hash_of(desk) == "#step/2"
    desk.js("document.querySelector('#answers tbody a').focus()")
    desk.press("ENTER")
    desk.until_shown("Step 2, group 0", "#samples")
    desk.js("document.querySelector('.hist [data-bin]').focus()")
    desk.press("ENTER")
    desk.until(
        "return document.activeElement.getAttribute('aria-pressed') === 'true'"
    )  # the focus stays on the bar
    desk.js("document.querySelector('#samples a').focus()")
    desk.press("ENTER")
    inside = "const dialog = document.querySelector('dialog'); return dialog.contains(document.activeElement)"
    desk.until(inside)
    desk.press("ESCAPE")
    desk.until("return !document.querySelector('dialog').open")
    unnamed = """
        const all = document.querySelectorAll("button, a, select, input, [tabindex='0'], [role=img]");
        const named = (e) => e.ariaLabel || e.labels?.length || e.textContent.trim();
        return [...all].filter((e) => !named(e)).map((e) => e.outerHTML);
    """
    assert desk.js(unnamed) == []
    assert desk.complaints() == []


def test_the_theme_is_the_systems_until_another_is_chosen(desk, page):
    desk.open(page)
    background = "return getComputedStyle(document.body).backgroundColor"
    seen = {}
    for theme in ("dark", "light"):
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        desk.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        desk.until("return document.documentElement.dataset.theme === arguments[0]", theme)
        seen[theme] = desk.js(background)
    assert seen["dark"] != seen["light"]
    for _ in range(2):
        desk.click("#theme")
    assert (desk.text("#theme"), desk.js(background)) == ("Theme: dark", seen["dark"])


def test_a_live_page_loads_itself_again_and_keeps_its_place(desk, tmp_path):
    folder = write_run(tmp_path / "run")
    report = Report(folder)
    write(report, folder / "report.html", report.page(watching=2))
    desk.open(folder / "report.html", "#group/6/1")
    desk.until_shown("Step 6, group 1", "#samples")
    desk.until(
        "const before = window.was; return (window.was = scrollY) > 1000 && before === scrollY"
    )  # has come there
    desk.js("window.first = true; scrollBy({ top: -40, behavior: 'instant' })")
    place = desk.js("return scrollY")
    desk.until("return window.first === undefined && document.documentElement.dataset.usable")
    desk.until_shown("Step 6, group 1", "#samples")
    desk.until("return Math.abs(scrollY - arguments[0]) < 10", place)
    desk.click("#pause")
    desk.js("window.second = true")
    time.sleep(2.3)
    assert desk.js("return window.second")
    assert desk.complaints() == []


def test_fifty_thousand_answers_open_in_time_and_fit(desk, tmp_path, capsys):
    folder, rng = write_run(tmp_path / "run"), random.Random(1)
    sampled = [rollout(rng, 1, 1, group, sample) for group in range(125) for sample in range(16)]
    lines = "".join(json.dumps(to_json(r)) + "\n" for r in sampled)
    for step in range(1, 26):
        file = folder / f"grpo/rollouts/step_{step:06d}.jsonl"
        sums_of(file).unlink(missing_ok=True)
        file.write_text(lines.replace('"step": 1, "stage": 1', f'"step": {step}, "stage": {1 + (step > 12)}'))
    path = made(folder)
    assert path.stat().st_size < 20_000_000
    desk.open(path)
    assert "50,000" in desk.text(".tiles")
    usable = float(desk.js("return document.documentElement.dataset.usable"))
    desk.js("document.querySelector('#answers tbody a')?.click()")
    desk.until_shown("Sample 0", "#samples")
    with capsys.disabled():
        print(json.dumps({"usable_ms": usable, "page_mb": round(path.stat().st_size / 1e6, 1)}))
    assert usable < 3000
    assert desk.complaints() == []
