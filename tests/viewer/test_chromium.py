"""The page in a real Chromium, opened from disk: each view, key and link, hostile content, accessibility."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from langchain_core.callbacks import CallbackManager
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import StructuredTool

from llmtest import Recording, ScriptedChatModel, record, say
from llmtest.cli import commands
from llmtest.reports.joining import write_report
from llmtest.reports.results import FailedPhase, Result, Results
from llmtest.viewer import cases
from llmtest.viewer.cases import Case, Detail, detail, pack
from llmtest.viewer.page import page, write_page
from tests.support.chromium import REQUIRED, Browser
from tests.support.pages import trip, trip_case

PARIS = "test=tests/test_trip.py::test_paris"
SELECTED = "#tree [aria-selected=true] b"
EVIL = "</script><script>document.title='owned'</script><!-- <script> --><img src=x onerror=\"document.title='owned'\">"
HIDDEN = "\u202egnirts\u202c \x1b[31mred\x1b[0m"


# -- the index


def test_the_index_shows_failing_tests_first_and_asks_no_network(browser: Browser, shop: str) -> None:
    browser.open(shop)

    assert browser.texts("#rows .row > :nth-child(2)") == [
        "tests/test_trip.py::test_paris",
        "tests/test_plain.py::test_adds",
        "tests/test_trip.py::test_paris_again",
        "tests/test_live.py::test_key",
    ]
    assert browser.texts("#rows .row > :first-child") == ["✕", "✓", "✓", "–"]
    assert browser.texts("#filters button") == ["all 4", "failing 1", "passed 2", "skipped 1"]
    assert browser.js("return performance.getEntriesByType('resource').length") == 0


def test_the_index_is_filtered_and_searched(browser: Browser, shop: str) -> None:
    browser.open(shop)

    browser.click("#filters button", "passed")
    passed = len(browser.texts("#rows .row"))
    browser.click("#filters button", "all")
    browser.key("/")
    browser.key("weather AGAIN")

    assert passed == 2
    assert browser.texts("#rows .row > :nth-child(2)") == ["tests/test_trip.py::test_paris_again"]
    browser.key("zzz")
    assert browser.texts("#rows") == ["No test matches."]


def test_keys_move_open_and_leave(browser: Browser, shop: str) -> None:
    browser.open(shop)

    browser.key("jj")
    second = browser.texts("#rows [aria-selected=true] > :nth-child(2)")
    browser.key("e\ue007")  # Enter
    browser.until("!document.getElementById('test').hidden")
    opened = browser.texts("#name")
    browser.until("document.activeElement.id === 'tree'")
    browser.key("u")

    assert second == ["tests/test_plain.py::test_adds"]
    assert opened == ["tests/test_trip.py::test_paris"]
    assert browser.js("return document.getElementById('test').hidden")
    assert browser.address() == ""


# -- one test


def test_a_link_leads_to_a_run_and_follows_the_choice(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&run=4&tab=request")

    assert browser.texts(SELECTED) == ["weather"]
    assert "city" in browser.texts("#panel")[0]
    browser.key("j")
    assert browser.address() == "test=tests%2Ftest_trip.py%3A%3Atest_paris&run=5&tab=request"


def test_the_browser_goes_back_to_the_index(browser: Browser, shop: str) -> None:
    browser.open(shop)

    browser.click("#rows .row", "test_paris")
    browser.until("!document.getElementById('test').hidden")
    browser.key("2")
    browser.address()
    browser.js("history.back()")
    browser.until("document.getElementById('test').hidden")
    browser.js("history.forward()")
    browser.until("!document.getElementById('test').hidden")

    assert browser.texts("#name") == ["tests/test_trip.py::test_paris"]


def test_a_link_to_an_unknown_test_shows_the_index(browser: Browser, shop: str) -> None:
    browser.open(shop)
    browser.js("location.hash = 'test=gone'")
    browser.until("document.getElementById('live').textContent === 'There is no such test in this page.'")

    assert len(browser.texts("#rows .row")) == 4


def test_the_tree_has_tokens_and_cost_of_each_run_and_folds(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&run=0")

    whole = browser.texts("#tree .row")
    browser.click("#folds")
    folded = browser.texts("#tree .row")
    browser.key("\ue014")  # right: unfolds
    tops = browser.texts("#tree .row b")

    assert len(whole) == 13
    assert folded[0].split() == ["▸", "chain", "LangGraph", "12", "inside", *whole[0].split()[3:]]
    assert "→" in whole[0]
    assert "$" in whole[0]
    assert tops == ["LangGraph", "model", "tools", "tools", "model", "tools", "model"]


def test_chat_and_tree_are_in_step(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=chat")

    who = browser.texts(".say > header b")
    browser.click("#tree .row", "flights")
    marked = browser.texts(".say.on > header b")
    browser.click(".say.tool", "booked")

    assert who == ["system", "human", "gpt-5-mini", "weather", "flights", "gpt-5-mini", "book", "gpt-5-mini"]
    assert marked == ["flights"]
    assert browser.texts(SELECTED) == ["book"]


def test_the_difference_is_side_by_side_and_n_goes_to_the_next(browser: Browser, shop: str) -> None:
    browser.open(shop, PARIS)

    assert browser.texts("#tabs [aria-selected=true]") == ["Diff 1"]
    assert browser.texts(".gone mark")[0] == "Be brief"
    assert browser.texts(".new mark")[0] == "Answer in two sentences"
    assert browser.texts(".tag") == ["◀ first difference"]
    assert len(browser.texts(".at")) == 1
    browser.click(".seg button", "Expected")
    assert "Be brief." in browser.texts("#panel pre")[0]
    browser.key("n")
    assert browser.texts(".at") == ['+ s1: "Be brief."']


def test_a_snapshot_that_matched_is_shown_as_expected_and_received(browser: Browser, shop: str) -> None:
    browser.open(shop, "test=tests/test_trip.py::test_paris_again&tab=diff")

    equal = browser.texts("#panel p.dim")
    browser.click(".seg button", "Expected")

    assert equal == ["Expected and received are equal."]
    assert "You fly to Paris." in browser.texts("#panel pre")[0]


def test_every_view_is_reached_by_its_number(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&run=2")

    shown = {}
    for number, name in enumerate(browser.texts("#tabs button"), 1):
        browser.key(str(number))
        shown[name.partition(" ")[0]] = browser.texts("#panel")[0]

    assert list(shown) == ["Chat", "Diff", "Timeline", "Events", "Graph", "Request", "Checks", "Compare"]
    expected = {
        "Chat": "I want to go to Paris.",
        "Diff": "first difference",
        "Timeline": "MainThread",
        "Events": "on_chat_model_start",
        "Graph": "Path taken, step by step",
        "Request": "Tools as the model saw them (3)",
        "Checks": "✕ broken: a model at most twice",
        "Compare": "Choose another test or trace",
    }
    assert {name: text in shown[name] for name, text in expected.items()} == dict.fromkeys(expected, True)


def test_views_are_the_same_if_a_part_of_the_data_is_compressed_by_itself(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings, shown = [trip(), trip(to="Oslo")], []
    for limit in (1 << 30, 0):
        monkeypatch.setattr(cases, "MIN_APART", limit)
        html = page([Case(name, "passed", detail=detail(name, recordings)) for name in ("test_a", "test_b")])
        browser.open(html, "test=test_a&recording=1&run=2&tab=compare&with=test_b")
        browser.js("navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve(); }")
        browser.until("document.querySelector('.diff')")
        texts = browser.texts("#panel")
        for tab, sign in {"diff": "pre", "graph": "svg", "request": "dl", "chat": ".say"}.items():
            browser.click(f"#tab-{tab}")
            browser.until(f"document.querySelector('#panel {sign}')")
            texts += browser.texts("#panel")
        browser.key("y")
        browser.until("window.copied")
        shown.append([*texts, browser.js("return window.copied")])

    assert "The trees are equal." in shown[0][0]
    assert "You fly to Oslo." in shown[0][1]
    assert "Path taken, step by step" in shown[0][2]
    assert "langgraph_step" in shown[0][3]
    assert "You fly to Oslo." in shown[0][-1]
    assert shown[0] == shown[1]


def test_arrows_move_between_the_views(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=chat")

    browser.js("document.getElementById('tab-chat').focus()")
    browser.key("\ue014")

    assert browser.js("return document.activeElement.id") == "tab-diff"


def test_the_timeline_shows_what_ran_beside_a_run(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=timeline&run=4")

    assert browser.texts(".beside > span:first-child") == ["chain tools", "tool flights"]
    assert "2 runs beside weather: chain tools, tool flights" in browser.texts(".tools p")
    browser.click("#times .row", "tool book")
    assert "No runs beside book." in browser.texts(".tools p")


def test_virtual_time_is_an_axis_where_scripts_have_latencies(browser: Browser) -> None:
    fast, slow = (ScriptedChatModel(say("one ", "two", ttft_s=ttft_s, tokens_per_s=10)) for ttft_s in (0.5, 2.0))
    with record() as recording:
        RunnableParallel(fast=fast, slow=slow).invoke("go")
    browser.open(page([Case("test_time", "passed", detail=detail("test_time", [recording]))]), "test=test_time&tab=timeline")

    browser.click(".seg button", "Virtual time")

    assert browser.texts("#panel .tools .num") == ["2.10 s"]


def test_the_graph_leads_to_the_runs_of_a_node(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=graph")

    shown = browser.js("return [...document.querySelectorAll('svg g text')].map(e => e.textContent)")
    browser.click("svg .node", "tools")
    browser.click("svg .node", "tools")

    assert shown == ["__start__", "model  ×3", "tools  ×3", "__end__"]
    assert browser.texts(SELECTED) == ["tools"]
    assert browser.js("return document.querySelectorAll('svg .node.on').length") == 1
    assert browser.texts(".steps li") == ["model", "toolstools", "model", "tools", "model"]


def test_the_witness_of_a_rule_leads_to_its_run(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=checks")

    browser.click("#panel button", "on_chat_model_start")

    assert browser.texts(SELECTED) == ["gpt-5-mini"]
    assert browser.texts("#tabs [aria-selected=true]") == ["Chat"]


def test_an_event_shows_its_whole_value_thread_and_task(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=events")

    browser.click("#events .row", "on_tool_start")

    told = browser.texts("#payload")[0]
    assert told.startswith("event ")
    assert "on_tool_start" in told
    assert ", started by ThreadPool" in told
    assert '"city": "Lyon"' in told or '"origin": "Zurich"' in told


def test_the_trace_is_searched(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=chat")

    browser.key("/")
    browser.key("booked lx632")
    found = browser.texts("#found")
    browser.key("\ue007")

    assert found != ["0 runs"]
    assert browser.texts("#found")[0].startswith("1 of ")
    assert browser.js("return document.querySelectorAll('#tree .hit').length") > 0


def test_two_traces_are_compared(browser: Browser, shop: str) -> None:
    browser.open(shop, f"{PARIS}&tab=compare&with=tests/test_trip.py::test_paris_again")
    browser.until("document.querySelector('.diff')")

    assert browser.texts(".gone mark")[0] == "Answer in two sentences"
    assert "with=tests%2Ftest_trip.py%3A%3Atest_paris_again" in browser.address()
    browser.open(shop, "test=tests/test_trip.py::test_paris_again&tab=compare&with=tests/test_trip.py::test_paris_again")
    browser.until("document.querySelector('.diff')")
    assert "The trees are equal." in browser.texts(".tools p")


def test_texts_are_copied(browser: Browser, shop: str) -> None:
    browser.open(shop, PARIS)
    browser.js("navigator.clipboard.writeText = text => { window.copied = text; return Promise.resolve(); }")

    browser.key("y")
    difference = browser.js("return window.copied")
    browser.key("c")
    told = browser.js("return window.copied")

    assert '\n-       + s1: "Be brief."\n+       + s1: "Answer in two sentences."\n' in difference
    assert told.startswith("The test `tests/test_trip.py::test_paris` fails.\n")
    assert len(told.encode()) <= 4096


def test_several_recordings_are_chosen_from(browser: Browser) -> None:
    browser.open(page([Case("test_two", "passed", detail=detail("test_two", [trip(), trip(to="Oslo")]))]), "test=test_two")

    browser.js("const s = document.getElementById('recording'); s.value = 1; s.dispatchEvent(new Event('change'))")

    assert any("You fly to Oslo." in text for text in browser.texts(".say"))
    assert "recording=1" in browser.address()


def test_a_test_without_a_recording_shows_its_failure(browser: Browser) -> None:
    browser.open(page([Case("test_none", "failed", "assert 1 == 2")]), "test=test_none")

    assert browser.texts("#tree") == ["Nothing was recorded in this test."]
    assert browser.texts("#tabs button") == ["Checks", "Compare"]
    assert browser.texts("#notes .cause") == ["assert 1 == 2"]


# -- looks


def test_light_and_dark(browser: Browser, shop: str) -> None:
    browser.open(shop)
    background = "return getComputedStyle(document.body).backgroundColor"

    light = browser.js(background)
    browser.key("t")

    assert [light, browser.js(background)] == ["rgb(255, 255, 255)", "rgb(16, 19, 23)"]


@pytest.mark.parametrize("view", ["", f"{PARIS}&tab=chat", PARIS])
def test_a_phone_has_nothing_beyond_its_edge(browser: Browser, shop: str, view: str) -> None:
    browser.size(390, 800)
    browser.open(shop, view)

    assert browser.js("return document.documentElement.scrollWidth") == 390


def test_print_has_all_rows(browser: Browser) -> None:
    browser.open(page([Case(f"test_{number}", "passed") for number in range(300)]))
    before = len(browser.texts("#rows .row"))

    browser.js("window.dispatchEvent(new Event('beforeprint'))")

    assert before < 100
    assert len(browser.texts("#rows .row")) == 300


def test_the_keys_are_listed(browser: Browser, shop: str) -> None:
    browser.open(shop)

    browser.key("?")
    listed = browser.js("return document.getElementById('keys').open")
    browser.click("#close")

    assert listed
    assert not browser.js("return document.getElementById('keys').open")


def test_without_script_the_trees_are_shown(browser: Browser, shop: str) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(shop)
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    shown = browser.texts("noscript pre")[0]
    assert shown.startswith("FAILED tests/test_trip.py::test_paris\n  snapshot differs")
    assert 'tool weather(city="Lyon")' in shown


# -- joined pages


def test_a_joined_page_has_the_tests_of_all_jobs_and_a_link_leads_to_the_one_of_its_job(
    browser: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "tests/test_trip.py::test_paris"
    for job, case in {"py311": trip_case(name), "py313": trip_case(name, changed=False)}.items():
        failures = (FailedPhase("call", case.cause, "", "test_trip.py", 1),) if case.cause else ()
        write_report(tmp_path / job, Results((Result(name, "failed" if failures else "passed", 0.25, failures),)), ())
        write_page(tmp_path / job / "page.html", [case, Case(f"tests/test_{job}.py::test_own", "passed")], title="shop")

    assert commands.main(["merge", str(tmp_path / "py311"), str(tmp_path / "py313"), "-o", str(tmp_path / "all")]) == 0
    browser.open((tmp_path / "all" / "page.html").read_text("utf-8"))

    assert browser.texts("#rows .row > :nth-child(2)") == [
        "tests/test_trip.py::test_paris · py311",
        "tests/test_py311.py::test_own",
        "tests/test_trip.py::test_paris · py313",
        "tests/test_py313.py::test_own",
    ]
    browser.click("#rows .row", "py313")
    browser.until("!document.getElementById('test').hidden")
    browser.key("1")
    assert browser.address() == f"test={quote(name, safe='')}%20%C2%B7%20py313&tab=chat"
    browser.js("location.hash = arguments[0]", f"test={name} · py311&tab=graph&run=2")
    browser.until("document.querySelector('svg')")
    assert browser.texts("#name") == [f"{name} · py311"]
    assert browser.texts(SELECTED) == ["gpt-5-mini"]


def test_data_of_another_machine_makes_no_links(browser: Browser) -> None:
    shape = ["svg", {}, ["a", {"href": "https://example.com"}, ["text", {}, "click"]], ["foreignObject", {}, ["script", {}, "x"]]]
    found = trip_case().detail
    assert found is not None
    data = json.loads(gzip.decompress(base64.b64decode(found.data)))
    data["later"][0]["graphs"][0]["drawing"] = shape
    browser.open(page([Case("test", "passed", detail=Detail(pack(json.dumps(data))))]), "test=test&tab=graph")
    browser.until("document.querySelector('svg')")

    assert browser.js("return [...document.querySelectorAll('svg *')].map(e => e.tagName)") == ["g", "text", "g", "g"]


# -- hostile content


def _evil() -> Recording:
    def bad(_: str) -> None:
        raise ValueError(EVIL + HIDDEN)

    with record() as recording:
        ScriptedChatModel(EVIL + HIDDEN, model_name="<i>gpt</i>").invoke([("system", EVIL), ("user", HIDDEN)])
        with pytest.raises(ValueError):
            RunnableLambda(bad, name=f"</script><u>{HIDDEN}").invoke({"__proto__": EVIL})
    return recording


def test_content_is_never_markup_and_hidden_characters_are_escapes(browser: Browser) -> None:
    name = f"test_evil[{EVIL}{HIDDEN}]"
    browser.open(page([Case(name, "failed", EVIL + HIDDEN, 0.1, detail(name, [_evil()]))], title=EVIL), f"test={quote(name)}")

    texts = []
    for number in range(1, 9):
        browser.key(str(number))
        texts += browser.texts("#panel")

    assert browser.js("return document.title").endswith(EVIL)
    assert browser.js("return document.querySelectorAll('img, u, i:not(.track i)').length") == 0
    assert browser.js("return document.querySelectorAll('script:not([type])').length") == 1
    assert browser.texts(".ctl")[0] == "\\u202e"
    assert not [text for text in [*texts, *browser.texts("#app")] if "\u202e" in text or "\x1b" in text]


@pytest.mark.parametrize("kind", ["message", "string"])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"a":[1],"b":"x y"}', '{\n  "a": [\n    1\n  ],\n  "b": "x y"\n}'),
        ('{"a": 12345678901234567890}', '{"a": 12345678901234567890}'),
        ('{"a": 1.0}', '{"a": 1.0}'),
        ("[1] no JSON", "[1] no JSON"),
    ],
)
def test_a_text_of_json_has_line_breaks_if_nothing_else_changes(browser: Browser, kind: str, said: str, shown: str) -> None:
    given = {"message": {"args": {}, "name": "search", "id": "call_1", "type": "tool_call"}, "string": {}}[kind]
    with record() as recording:
        StructuredTool.from_function(lambda: said, name="search", description="Search.").invoke(given)
    browser.open(page([Case("test_json", "passed", detail=detail("test_json", [recording]))]), "test=test_json&run=0&tab=chat")

    assert browser.js("return [...document.querySelectorAll('#panel article pre')].at(-1).textContent") == shown


def test_odd_values_break_no_view(browser: Browser) -> None:
    odd = [
        None,
        1,
        True,
        [None],
        {"type": "text", "text": None},
        {"type": "reasoning"},
        {"$w": "@", "n": 99},
        {"type": "image_url"},
    ]
    with record() as recording:
        metadata = {"__proto__": 1, "$w": "messages"}
        manager = CallbackManager.configure(inheritable_tags=["", "a"], inheritable_metadata=metadata)
        run = manager.on_chain_start({}, odd, name="")
        inner = run.get_child()
        for value in odd:
            inner.on_tool_start({}, "text", name="tool", inputs={"$w": value}).on_tool_end(value)
            run.on_text(str(value))
        with pytest.raises(ValueError):
            RunnableLambda(_refuse).invoke(odd, {"callbacks": inner})
        ScriptedChatModel("").invoke([HumanMessage(content=[{"type": "text", "text": ""}, {"type": "x", "y": None}])])
        run.on_chain_end(odd)
    browser.open(page([Case("test_odd", "passed", detail=detail("test_odd", [recording]))]), "test=test_odd&run=0")

    for number in range(1, 9):
        browser.key(str(number))
        assert "This view failed" not in browser.texts("#panel")[0]
    browser.key("1jjjjjjjjjjjj4jjjj6jjjj")


def _refuse(_: object) -> None:
    raise ValueError


def test_a_run_of_ten_thousand_siblings_and_one_of_depth_1000(browser: Browser) -> None:
    with record() as recording:
        manager = CallbackManager.configure()
        runs = []
        for number in range(1000):
            run = manager.on_chain_start({}, {"n": number}, name=f"level {number}")
            manager = run.get_child()
            runs.append(run)
        for number in range(10_000):
            manager.on_tool_start({}, f"{number}", name="sibling").on_tool_end("out")
        for run in reversed(runs):
            run.on_chain_end({})
    browser.open(
        page([Case("test_deep", "passed", detail=detail("test_deep", [recording]))]), "test=test_deep&run=10999&tab=timeline"
    )

    assert browser.texts(SELECTED) == ["sibling"]
    assert len(browser.texts("#tree .row")) < 100
    assert "No runs beside sibling." in browser.texts(".tools p")
    for number in "123456":
        browser.key(number)
    browser.click("#folds")
    assert browser.texts("#tree .row b") == ["level 0"]


def test_a_text_of_50_mb_is_cut_and_says_so(browser: Browser) -> None:
    with record() as recording:
        ScriptedChatModel("ok").invoke("word " * 10_000_000)
    html = page([Case("test_big", "passed", detail=detail("test_big", [recording]))])
    browser.open(html, "test=test_big&tab=chat")

    browser.click(".say button", "show all")

    assert len(html) < 200_000
    assert "[cut: it has 50,000,000 characters]" in browser.texts(".say.human")[0]
    assert browser.texts(".note") == ["values: texts longer than 100,000 characters are cut; each says how long it is"]


# -- accessibility


def _axe() -> str:
    """Return the source of axe-core, as a package on PyPI brings it along; skip if it is not installed."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)("axe-core is not installed: `make chromium` installs it")
    return (Path(next(iter(found.submodule_search_locations))) / "axe.min.js").read_text("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(browser: Browser, shop: str, scheme: str) -> None:
    axe = _axe()
    browser.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.open(shop)
    browser.js(axe)
    run = "const [done] = arguments; axe.run().then(r => done(r.violations.map(v => [v.id, v.nodes.map(n => n.html)])));"

    browser.js("document.body.append(document.createElement('img'))")
    assert "image-alt" in [problem for problem, _ in browser.driver.execute_async_script(run)]
    browser.js("document.querySelector('img').remove()")

    found = {"index": browser.driver.execute_async_script(run)}
    browser.js(f"location.hash = {PARIS!r}")
    browser.until("!document.getElementById('test').hidden")
    for number in range(1, 9):
        browser.key(str(number))
        found[browser.texts("#tabs [aria-selected=true]")[0]] = browser.driver.execute_async_script(run)
    browser.key("?")
    found["keys"] = browser.driver.execute_async_script(run)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert {view: problems for view, problems in found.items() if problems} == {}
