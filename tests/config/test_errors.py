"""What a user reads after a mistake in a page or on the command line: place, what was given, what is allowed. Word for word."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.components import LATENTS

Complaints = Callable[..., list[str]]

IN_A_PAGE = {
    "misspelt key": ("batch_size: 8", "batchsize: 8", [
        "page.yaml:3: unknown key 'batchsize'; did you mean 'batch_size'?",
        "page.yaml:1: missing key 'batch_size': a whole number",
    ]),
    "misspelt key in a section": ("eps: 1e-8", "esp: 1e-8", [
        "page.yaml:11: unknown key 'optim.D.esp'; did you mean 'eps'?",
        "page.yaml:11: missing key 'optim.D.eps': a number",
    ]),
    "unknown key of a component": ("dim: 16", "dim: 16, volume: 11", [
        "page.yaml:6: unknown key 'game.prior.volume'; allowed: dim, truncation, type",
    ]),
    "unknown type": ("type: gan", "type: gann", [
        "page.yaml:5: unknown game.type 'gann'; did you mean 'gan'?",
    ]),
    "unknown type, nothing near": ("type: normal", "type: weibull", [
        f"page.yaml:6: unknown game.prior.type 'weibull'; biggan_scale/latent has: {LATENTS}",
    ]),
    "type that climbs out of the package": ("type: normal", "type: ../games/gan", [
        f"page.yaml:6: unknown game.prior.type '../games/gan'; biggan_scale/latent has: {LATENTS}",
    ]),
    "no type": ("{type: normal, dim: 16}", "{dim: 16}", [
        f"page.yaml:6: missing key 'game.prior.type'; biggan_scale/latent has: {LATENTS}",
    ]),
    "component that is not a mapping": ("{type: normal, dim: 16}", "normal", [
        "page.yaml:6: game.prior: expected a mapping with the key 'type', got 'normal'",
    ]),
    "text for a whole number": ("batch_size: 8", "batch_size: eight", [
        "page.yaml:3: batch_size: expected a whole number, got 'eight'",
    ]),
    "fraction for a whole number": ("batch_size: 8", "batch_size: 8.5", [
        "page.yaml:3: batch_size: expected a whole number, got 8.5",
    ]),
    "truth for a whole number": ("batch_size: 8", "batch_size: true", [
        "page.yaml:3: batch_size: expected a whole number, got true",
    ]),
    "truth for a number": ("eps: 1e-8", "eps: false", [
        "page.yaml:11: optim.D.eps: expected a number, got false",
    ]),
    "infinity for a number": ("eps: 1e-8", "eps: 1e999", [
        "page.yaml:11: optim.D.eps: expected a number, got .inf",
    ]),
    "YAML 1.1 truth": ("resolution: 32", "resolution: 32, flip: yes", [
        "page.yaml:9: data.flip: expected true or false, got 'yes'",
    ]),
    "YAML 1.1 truth as a key": ("batch_size: 8", "batch_size: 8\nlog: {on: 1}", [
        "page.yaml:4: unknown key 'log.on'; allowed: every, tensorboard",
    ]),
    "number for text": ("run_dir: runs/a", "run_dir: 2024", [
        "page.yaml:1: run_dir: expected text, got 2024; text that reads as something else goes in quotes: '2024'",
    ]),
    "nothing for text": ("run_dir: runs/a", "run_dir:", [
        "page.yaml:1: run_dir: expected text, got null",
    ]),
    "choice that is none": ("batch_size: 8", "batch_size: 8\nprecision: fp8", [
        "page.yaml:4: precision: expected one of fp32, bf16, fp16, fp64, got 'fp8'",
    ]),
    "list too short": ("betas: [0, 0.999]", "betas: [0]", [
        "page.yaml:11: optim.D.betas: expected a list of 2, each a number, got 1 values",
    ]),
    "wrong item of a list": ("betas: [0, 0.999]", "betas: [0, high]", [
        "page.yaml:11: optim.D.betas[1]: expected a number, got 'high'",
    ]),
    "neither of two forms": ("resolution: 32", "resolution: [32, 32, 3]", [
        "page.yaml:9: data.resolution: expected a whole number or a list of 2, each a whole number, got a list",
    ]),
    "duration without a unit": ("until: 10 rounds", "until: 10", [
        "page.yaml:2: until: expected a number and one of img, kimg, Mimg, rounds, s, min, h, d, like '200 kimg', got 10",
    ]),
    "duration of a strange unit": ("until: 10 rounds", "until: 10 epochs", [
        "page.yaml:2: until: '10 epochs' is not a duration: a number and one of img, kimg, Mimg, rounds, s, min, h, d, like '200 kimg'",
    ]),
    "schedule without an end": ("lr: 2e-4", "lr: {from: 1, to: 0}", [
        "page.yaml:11: missing key 'optim.D.lr.end': a number and one of img, kimg, Mimg, rounds, s, min, h, d, like '200 kimg'",
    ]),
    "schedule by time": ("lr: 2e-4", "lr: {from: 1, to: 0, end: 3 h}", [
        "page.yaml:11: optim.D.lr: a schedule counts images or rounds, not time",
    ]),
    "value out of range": ("resolution: 32", "resolution: 32, workers: -1", [
        "page.yaml:9: data.workers -1 must be 0 or more",
    ]),
    "value of a component out of range": ("  type: gan", "  type: gan\n  d_steps: 0", [
        "page.yaml:6: game.d_steps 0 must be at least 1",
    ]),
    "optimizer of nobody": ("  G: {", "  E: {", [
        "page.yaml:11: optim has D, E, but the players of gan are D, G",
    ]),
    "strategy of the future": ("batch_size: 8", "batch_size: 8\nparallel: fsdp", [
        "page.yaml:4: parallel fsdp is not built yet; use ddp or zero",
    ]),
    "duplicate key": ("until: 10 rounds", "until: 10 rounds\nuntil: 20 rounds", [
        "page.yaml:3: key 'until' is given twice, first at page.yaml:2",
    ]),
    "base that is nowhere": ("run_dir: runs/a", "run_dir: runs/a\nbase: base/bigan", [
        "page.yaml:2: base: no file and no page 'base/bigan'; did you mean 'base/biggan'?",
    ]),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), IN_A_PAGE.values(), ids=IN_A_PAGE)
def test_mistake_in_a_page(complaints: Complaints, old: str, new: str, expected: list[str]) -> None:
    assert complaints(old=old, new=new) == expected


ON_THE_COMMAND_LINE = {
    "misspelt key": ("optim.G.lrr=1", "command line: unknown key 'optim.G.lrr'; did you mean 'lr'?"),
    "wrong value": ("batch_size=many", "command line: batch_size: expected a whole number, got 'many'"),
    "no value": ("batch_size", "command line: 'batch_size' is not key=value, like batch_size=64"),
    "no key": ("=3", "command line: '=3' is not key=value, like batch_size=64"),
    "hole in the key": ("game..type=gan", "command line: 'game..type=gan' is not key=value, like batch_size=64"),
    "anchor": ("seed=&a 1", "command line: anchors and aliases are not allowed; write the value out"),
    "broken YAML": ("run_dir='a", "command line: not valid YAML: while scanning a quoted scalar: found unexpected end of stream"),
    "misspelt type": ("game.prior.typ=censored", "command line: unknown key 'game.prior.typ'; did you mean 'type'?"),
    "another component's key": ("game.prior.thresh=1", "command line: unknown key 'game.prior.thresh'; allowed: dim, truncation, type"),
}  # fmt: skip


@pytest.mark.parametrize(("override", "expected"), ON_THE_COMMAND_LINE.values(), ids=ON_THE_COMMAND_LINE)
def test_mistake_on_the_command_line(complaints: Complaints, override: str, expected: str) -> None:
    assert complaints(override) == [expected]


def test_all_mistakes_are_told_at_once(complaints: Complaints) -> None:
    problems = complaints("seed=x", "game.prior.dimm=3", "ema.decay=2", "data.flip=1", old="until: 10|lr: 2e-4", new="until: ten|lr: fast")
    assert [problem.split(": ")[0] for problem in problems] == [
        "page.yaml:2", "command line", "command line", "page.yaml:11", "command line", "command line",
    ]  # fmt: skip


def test_what_a_page_lacks_is_told_of_the_page_and_not_of_the_command_line(complaints: Complaints) -> None:
    assert complaints("data.flip=true", old="path: shards, ", new="") == ["page.yaml:9: missing key 'data.path': text"]


def test_long_value_is_shown_short(complaints: Complaints) -> None:
    (problem,) = complaints(f"batch_size={'x' * 1000}")
    assert len(problem) < 140
