"""Likely secrets are found wherever they stand, and none is shown; what llmtest writes has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from llmtest import ScriptedChatModel, call, record, reply, say, think
from llmtest.cassettes.cassette import Cassette
from llmtest.core.masks import use_rules
from llmtest.errors import StoreError
from llmtest.scripts.step_types import Fail
from llmtest.scripts.tool_answers import tool_answers
from llmtest.tracing.scan import Scan, findings_in, rules_in_use, summarize
from llmtest.tracing.store import Store
from llmtest.wire import scripted_server

PLANTED = {
    "openai": "sk-proj-A1b2C3d4E5f6G7h8I9j0K1l2",
    "anthropic": "sk-ant-api03-Z9y8X7w6V5u4T3s2R1q0P9o8",
    "github": "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3",
    "gitlab": "glpat-a1B2c3D4e5F6g7H8i9J0",
    "slack": "xoxb-1234567890-abcdefghij",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "google": "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "huggingface": "hf_a1B2c3D4e5F6g7H8i9J0k1L2",
    "langsmith": "lsv2_pt_a1b2c3d4e5f6a1b2c3d4e5f6",
    "stripe": "sk_live_a1B2c3D4e5F6g7H8",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "bearer": "b3ar3r-t0k3n-0f-th3-3xampl3",
    "url": "s3cr3tpassw0rd",
    "private": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj",
    "password": "hunter2-hunter2",
    "api_key": "0123-4567-plain-words",
    "pin": "4711-0815",
    "order": "ORD-998877",
    "nested": "deep-and-hidden",
    "cookie": "session-of-the-user",
}
"""Twenty secrets. Those below `url` are known only by the place where they stand."""
PEM = f"-----BEGIN PRIVATE KEY-----\n{PLANTED['private']}\n-----END PRIVATE KEY-----"
RULES = ["order = ORD-[0-9]+", "pin"]


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    with use_rules(RULES):
        yield


def secret_in(text: str) -> list[str]:
    return [name for name, secret in PLANTED.items() if secret in text]


# -- a live program


@tool
def login(user: str, password: str, options: dict[str, Any]) -> str:
    """Log a user in."""
    return f"Authorization: Bearer {PLANTED['bearer']}; see https://admin:{PLANTED['url']}@example.com/?q=1"


@tool
def vault(name: str) -> dict[str, Any]:
    """Read the vault."""
    return {"api_key": PLANTED["api_key"], "pem": PEM, "headers": [{"set-cookie": PLANTED["cookie"]}], "jwt": PLANTED["jwt"]}


@tool
def broken(why: str) -> str:
    """Fail."""
    raise ValueError(f"no access for {PLANTED['aws']}")


STEPS = [
    reply(
        think(f"The user pasted {PLANTED['anthropic']}."),
        f"I have {PLANTED['openai']}, and",
        call(
            "login",
            user=PLANTED["github"],
            password=PLANTED["password"],
            options={"user_pin": PLANTED["pin"], "deep": [{"secret": PLANTED["nested"]}], "text": f"key {PLANTED['google']}"},
        ),
        call("vault", name=PLANTED["gitlab"]),
        call("broken", why=f"{PLANTED['order']} of {PLANTED['slack']}"),
    ),
    Fail(429, None, f"the key {PLANTED['stripe']} is used too often"),
    say("str", "eam of ", PLANTED["huggingface"][:9], PLANTED["huggingface"][9:], f" and {PLANTED['langsmith']}"),
]


def program(server: Any) -> None:
    """Every secret comes from somewhere else: the model, its reasoning, tools, errors, prompts, parameters."""
    model = ChatOpenAI(
        model="gpt-5",
        base_url=server.base_url("openai"),
        api_key=server.token,
        max_retries=0,
        stop_sequences=[PLANTED["openai"]],
        model_kwargs={"prompt_cache_retention": PLANTED["github"]},
    )
    prompt = f"Use {PLANTED['jwt']}.\nAnd {PLANTED['anthropic']}.\n" + PEM
    agent = create_agent(model, [login, vault, broken], system_prompt=prompt)
    with pytest.raises(Exception, match="no access for"):
        agent.invoke({"messages": f"my password is {PLANTED['google']}"})
    with pytest.raises(Exception, match="used too often"):
        model.invoke("again")
    assert "stream of" in "".join(str(chunk.content) for chunk in model.stream("stream"))


def test_what_the_recording_of_a_live_program_writes_has_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "cassettes" / "test_it" / "test_it.yaml"
    with (
        scripted_server({"openai:gpt-5": [step.unchecked() for step in STEPS]}) as server,
        Cassette(file, "test_it.py::test_it", "rewrite", keep_prompts=True) as cassette,
        record() as recording,
    ):
        program(server)
    cassette.save(tools=tool_answers(recording.runs))
    (tmp_path / "t.tree").write_text(f"# llmtest tree v1\n{recording}\n", "utf-8")
    with Store(tmp_path / "traces.sqlite") as store:
        store.keep("live", [recording])

        scan = Scan()
        scan.look_at([tmp_path])
        scan.look_at_traces(store)

    assert "gives:" in file.read_text("utf-8")
    assert file.read_text("utf-8").count("<mask:") >= 20
    assert (scan.findings, scan.files, scan.traces > 0) == ([], 2, True)
    for path in (file, tmp_path / "t.tree"):
        assert secret_in(path.read_text("utf-8")) == []
    kept = file.parent / ".secrets" / "test_it.yaml.json"
    assert scan.left_out == [kept.as_posix()]
    assert (kept.parent / ".gitignore").read_text() == "*\n"
    others = [path for path in tmp_path.rglob("*") if path.is_file() and path != kept]
    assert {path: secret_in(path.read_bytes().decode("utf-8", "replace")) for path in others} == {path: [] for path in others}


# -- files that another tool, or a person, has written

INDENTED_PEM = PEM.replace("\n", "\n          ")
CASSETTE = f"""\
# llmtest script v2
# recorded with {PLANTED["langsmith"]}
test: "t.py::a"
models:
  "openai:gpt-5":
    - say: "I have {PLANTED["openai"]}."
    - think: {PLANTED["anthropic"]}
    - call: login
      args: {{user: {PLANTED["github"]}, password: {PLANTED["password"]}, options: {{user_pin: {PLANTED["pin"]}}}}}
    - fail: {{error: 429, message: "the key {PLANTED["stripe"]}"}}
    - say: |-
        a key:
          {INDENTED_PEM}
    - call: vault
      deltas: ['{{"api_key": "{PLANTED["api_key"]}"}}']
  "*": [{PLANTED["slack"]}, "{PLANTED["order"]}", <mask:secret>]
tools:
  get_token: [{{args: {{deep: [{{secret: [{PLANTED["nested"]}]}}]}}, gives: "Bearer {PLANTED["bearer"]}"}}]
  web: [{{args: {{password: "<mask:password>", secret: null, token: false}}, gives: "https://u:{PLANTED["url"]}@example.com"}}]
  db: [{{fails: {{error: KeyError, message: "{PLANTED["aws"]}"}}}}]
requests:
  r1:
    system: "Use {PLANTED["jwt"]}."
    tools: {{get_token: "(city) d35c26"}}
    parameters: {{user: {PLANTED["google"]}}}
"""
FOUND_IN_CASSETTE = [
    (2, "a key of LangSmith"),
    (6, "a key of OpenAI"),
    (7, "a key of Anthropic"),
    (9, "a token of GitHub"),
    (9, "the value of `password`"),
    (9, "the value of `user_pin`"),
    (10, "a key of Stripe"),
    (13, "a private key"),
    (17, "the value of `api_key`"),
    (18, "`order` of llmtest_masks"),
    (18, "a token of Slack"),
    (20, "a key or token"),
    (20, "the value of `secret`"),
    (21, "a user and password of a URL"),
    (22, "a key of AWS"),
    (25, "a JSON web token"),
    (27, "a key of Google"),
]


def test_each_secret_of_a_cassette_has_its_line_and_its_kind_and_none_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CASSETTE)

    found = findings_in(file)

    assert found is not None
    assert [(finding.line, finding.kind) for finding in found] == FOUND_IN_CASSETTE
    assert all("<mask:" in finding.excerpt for finding in found)
    assert secret_in("\n".join(map(str, found))) == []
    assert str(found[0]) == f"{file}:2: a key of LangSmith, # recorded with <mask:secret>"


def test_secrets_of_a_tree(tmp_path: Path) -> None:
    file = tmp_path / "t.tree"
    file.write_text(
        "# llmtest tree v1\n"
        f'chat m meta={{"password": "{PLANTED["password"]}"}}\n'
        f'  + s1: "Use {PLANTED["openai"]}."\n'
        f'  > u1: "Bearer {PLANTED["bearer"]}"\n'
        '  ~ 2 tokens: "the| token"\n'
        f'  < a1: call1 login(pin="{PLANTED["pin"]}", n=1, token=<mask:token>)  usage in=1 out=2\n'
        f'  ! ValueError: {{\\"api_key\\": \\"{PLANTED["api_key"]}\\"}}\n'
        f"  | {PEM.splitlines()[0]}\n"
    )

    found = findings_in(file)

    assert found is not None
    assert [(finding.line, finding.kind, finding.excerpt) for finding in found] == [
        (2, "the value of `password`", 'chat m meta={"password": "<mask:password>"}'),
        (3, "a key of OpenAI", '+ s1: "Use <mask:secret>."'),
        (4, "a key or token", '> u1: "Bearer <mask:secret>"'),
        (6, "the value of `pin`", "pin=<mask:pin>"),
        (7, "the value of `api_key`", '! ValueError: {"api_key": "<mask:api_key>"}'),
        (8, "a private key", "| <mask:secret>"),
    ]


def test_a_cassette_of_vcrpy_has_headers(tmp_path: Path) -> None:
    file = tmp_path / "v.yaml"
    file.write_text(
        "interactions:\n- request:\n    headers:\n"
        f"      authorization: [Bearer {PLANTED['bearer']}]\n      x-api-key:\n      - {PLANTED['api_key']}\n"
        f"    uri: https://api.example.com/?key={PLANTED['google']}\n"
    )

    found = findings_in(file)

    assert [(finding.line, finding.kind) for finding in found or ()] == [
        (4, "the value of `authorization`"),
        (6, "the value of `x-api-key`"),
        (7, "a key of Google"),
    ]


def test_a_file_of_comments_alone_and_one_with_an_alias_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"# llmtest script v2\n# {PLANTED['openai']}\n")
    assert [(finding.line, finding.kind) for finding in findings_in(file) or ()] == [(2, "a key of OpenAI")]

    file.write_text(f"steps: &all\n- *all\n- say: {PLANTED['openai']}\n")
    assert [(finding.line, finding.kind) for finding in findings_in(file) or ()] == [(3, "a key of OpenAI")]


def test_a_header_in_a_text_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"steps:\n- say: |\n    x-api-key: {PLANTED['api_key']}\n    Set-Cookie: sid={PLANTED['cookie']}; path=/\n")

    assert [(finding.line, finding.kind) for finding in findings_in(file) or ()] == [
        (3, "the value of `x-api-key`"),
        (4, "the value of `Set-Cookie`"),
    ]


@pytest.mark.parametrize("text", ["# llmtest script v2\n<<<<<<< HEAD\nsteps: [{0}]\n", "# llmtest script v2\nsteps: [{0}\n"])
def test_a_broken_file_is_read_line_by_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text(text.format(PLANTED["openai"]))

    assert [finding.kind for finding in findings_in(file) or ()] == ["a key of OpenAI"]


def test_a_file_that_is_none_of_ours_is_not_read(tmp_path: Path) -> None:
    for name in ("ci.yaml", "a.txt", "b.json"):
        (tmp_path / name).write_text(f"key: {PLANTED['openai']}\n")

    scan = Scan()
    scan.look_at([tmp_path, tmp_path / "ci.yaml"])

    assert (scan.findings, scan.files) == ([], 0)


def test_what_git_ignores_is_read_on_request(tmp_path: Path) -> None:
    file = tmp_path / ".secrets" / "a.yaml.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"<mask:password>": [PLANTED["password"]], "the <mask:secret>": [PLANTED["openai"]]}, indent=1))

    plain, everything = Scan(), Scan()
    plain.look_at([tmp_path])
    everything.look_at([tmp_path], everything=True)

    assert (plain.findings, plain.left_out) == ([], [file.as_posix()])
    assert [(finding.line, finding.kind, finding.excerpt) for finding in everything.findings] == [
        (2, "kept apart from its cassette", "<mask:password>"),
        (5, "kept apart from its cassette", "the <mask:secret>"),
    ]


# -- traces


def test_a_trace_of_before_a_rule_has_what_the_rule_hides(store: Store) -> None:
    with use_rules([]), record() as recording:
        ScriptedChatModel(f"of {PLANTED['order']}").invoke("my pin", {"metadata": {"pin": PLANTED["pin"]}})
    with use_rules([]):
        store.keep("s", [recording])

    scan = Scan()
    scan.look_at_traces(store)

    kinds = {finding.kind for finding in scan.findings}
    assert kinds == {"`order` of llmtest_masks", "the value of `pin`"}
    (trace,) = store.traces()
    assert all(finding.file.startswith(f"{store.path}, trace {trace.key}, ") for finding in scan.findings)
    assert secret_in("\n".join(map(str, scan.findings))) == []
    assert summarize(scan) == f"0 files and 1 trace: {len(scan.findings)} likely secrets"


def test_what_is_said_of_a_scan() -> None:
    assert summarize(Scan(files=2)) == "2 files: no likely secret"
    assert rules_in_use(RULES, Path("a/pytest.ini")) == "with llmtest_masks of pytest.ini: `order`, `pin`"
    assert rules_in_use([], Path("a/pytest.ini")) == ""
    with pytest.raises(StoreError, match=r"^there is no file and no folder `none`$"):
        Scan().look_at([Path("none")])
