"""What was masked in a cassette is kept in a file beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmtest import call
from llmtest.cassettes.masking import keep, kept, secrets_file
from llmtest.errors import CassetteError
from llmtest.scripts.files import ScriptFile
from llmtest.scripts.secret_texts import with_secrets, without_secrets

KEY = "sk-proj-abcdefghijklmnopqrstuvwx1234567890"


def test_a_number_under_the_name_of_a_secret_is_a_number_again(tmp_path: Path) -> None:
    file = ScriptFile("x.yaml", 2, models={"m": (call("login", password=123456, pins={"secret": 1.5}),)})

    hidden, secrets = without_secrets(file)
    keep(tmp_path / "x.yaml", secrets)

    assert secrets == {"<mask:password>": [123456], "<mask:secret>": [1.5]}
    assert with_secrets(hidden, kept(tmp_path / "x.yaml")) == file


def test_what_was_masked_is_kept_in_a_folder_that_git_ignores(tmp_path: Path) -> None:
    cassette = tmp_path / "x.yaml"

    keep(cassette, {"<mask:secret>": [KEY]})

    assert kept(cassette) == {"<mask:secret>": [KEY]}
    assert (tmp_path / ".secrets" / ".gitignore").read_text("utf-8") == "*\n"
    assert secrets_file(cassette).stat().st_mode & 0o077 == 0


def test_the_file_is_gone_when_nothing_is_masked_any_more(tmp_path: Path) -> None:
    cassette = tmp_path / "x.yaml"
    keep(cassette, {"<mask:secret>": [KEY]})

    keep(cassette, {})

    assert (kept(cassette), secrets_file(cassette).exists()) == ({}, False)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    cassette = tmp_path / "x.yaml"
    keep(cassette, {"<mask:secret>": [KEY]})
    secrets_file(cassette).write_text("{", "utf-8")

    with pytest.raises(CassetteError, match=r"x\.yaml\.json: what was masked in x\.yaml cannot be read: .*\n  delete the file$"):
        kept(cassette)
