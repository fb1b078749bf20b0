"""Every command that is given the path of something: where nothing is, it is a mistake in the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from biggan_scale import cli

NOWHERE = "nowhere/at-all"
COMMANDS = {
    "plan": [NOWHERE, "--world", "1"],
    "train": [NOWHERE],
    "status": [NOWHERE],
    "report": [NOWHERE],
    "sample": [NOWHERE, "--num", "1", "--out", "images.png"],
    "project": [NOWHERE, "a.png", "--out", "projection"],
    "evaluate": [NOWHERE, "--data", "packaged:emoji64"],
    "export": [NOWHERE, "--out", "export"],
    "import": [NOWHERE, "--from", "stylegan2-ada", "--out", "export"],
}


def test_no_command_is_left_out() -> None:
    assert COMMANDS.keys() == cli.COMMANDS.keys()


@pytest.mark.parametrize(("name", "more"), [*((name, []) for name in COMMANDS), ("sample", ["--sheet", "truncation"])])
def test_a_path_where_nothing_is_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, more: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([name, *COMMANDS[name], *more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and NOWHERE in err
    assert list(tmp_path.iterdir()) == []
