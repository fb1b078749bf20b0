"""The rules of the house that a reader can rely on, read off the source: imports go down, no cycles, nothing that executes data.

Every import counts, also one inside a function; `TYPE_CHECKING` blocks count for the order and not for cycles. A violation is
reported as `file:line: what, and what is allowed`.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A package of biggan_scale imports from itself and from packages to its left.
ORDER = [
    "config",
    "dist",
    "nn",
    "augment",
    "latent",
    "losses",
    "networks",
    "games",
    "data",
    "metrics",
    "engine",
    "export",
    "editing",
    "evaluation",
    "report",
    "cli",
]
OUTSIDE = {"launch": {"config", "cli"}, "data_tools": {"config", "data", "metrics"}}

# Modules that load neither torch nor what loads it, so that help, config errors and packing are quick.
TORCH_FREE = ("biggan_scale.config", "biggan_scale.cli", "biggan_scale.data.order", "biggan_scale.data.index", "biggan_scale.data.pack")
NUMPY_FREE = ("biggan_scale.config", "biggan_scale.cli")

HANDED_OUT = {"biggan_scale.load": "biggan_scale.export.load"}  # by biggan_scale/__init__.py, on demand

CARELESS_ON_PURPOSE = {"tests/safety/test_gadgets.py"}  # shows that its gadgets would work on someone else
EXEC_ALLOWED = {"biggan_scale/config/component.py"}  # executes dataclass definitions of our own files, picked by ast


@dataclass(frozen=True)
class Import:
    """`module` imported by the file's module at `line`; lazy inside a function, typing only under TYPE_CHECKING."""

    module: str
    line: int
    lazy: bool
    typing_only: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files(*tops: str) -> dict[str, Path]:
    return {module_name(path): path for top in tops for path in sorted((ROOT / top).rglob("*.py"))}


PACKAGES = source_files("biggan_scale", "launch", "data_tools")
EVERYTHING = PACKAGES | source_files("benchmarks", "tests")


def imports(tree: ast.AST, module: str, is_package: bool = False, known: frozenset[str] = frozenset(PACKAGES)) -> Iterator[Import]:
    """Every import of a file, `from package import name` resolved to package.name where that is a module."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            base = ".".join(package + ([node.module] if node.module else []))
            full_names = [f"{base}.{alias.name}" for alias in node.names]
            names = [HANDED_OUT.get(name, name if name in known else base) for name in full_names]
        else:
            continue
        around = list(ancestors(node, parents))
        lazy = any(isinstance(a, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) for a in around)
        typing_only = any(isinstance(a, ast.If) and ast.unparse(a.test).endswith("TYPE_CHECKING") for a in around)
        yield from (Import(name, node.lineno, lazy, typing_only) for name in names)


def ancestors(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    while node in parents:
        node = parents[node]
        yield node


def package_of(module: str) -> str:
    """'biggan_scale.nn.attention' -> 'nn', 'biggan_scale' -> '', 'launch.slurm' -> 'launch'."""
    parts = module.split(".")
    return (parts[1] if len(parts) > 1 else "") if parts[0] == "biggan_scale" else parts[0]


def order_problem(module: str, imported: str) -> str | None:
    """Why `module` may not import `imported`, or None."""
    if imported.split(".")[0] not in {"biggan_scale", *OUTSIDE}:
        return None
    here, there = package_of(module), package_of(imported)
    if here == there or "" in (here, there):  # biggan_scale/__init__.py has the version and hands out `load`
        return None
    allowed = OUTSIDE[here] if here in OUTSIDE else set(ORDER[: ORDER.index(here)])
    if there in allowed:
        return None
    return f"{here} must not import {imported}; allowed: {', '.join(sorted(allowed, key=ORDER.index)) or 'nothing of ours'}"


def call_problems(tree: ast.AST, allow_exec: bool = False) -> Iterator[tuple[int, str]]:
    """Calls that execute what they read, or that write where an archive says."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}
        if name == "torch.load" and keywords.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "marshal") and name.split(".")[-1] in ("load", "loads"):
            yield node.lineno, f"{name} executes what it reads; use safetensors or JSON"
        if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
            yield node.lineno, f"{name}; configs are read by biggan_scale.config only"
        if keywords.get("shell") == "True" or name in ("os.system", "os.popen"):
            yield node.lineno, f"{name} starts a shell; pass a list of arguments"
        if name.split(".")[-1] == "extractall":
            yield node.lineno, "extractall writes where the archive says; read members"
        if keywords.get("allow_pickle", "False") != "False":
            yield node.lineno, f"{name} with allow_pickle"
        if name in ("eval", "exec") and not allow_exec:
            yield node.lineno, f"{name}() of text"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@functools.cache
def imports_of(module: str) -> list[Import]:
    path = PACKAGES[module]
    return list(imports(parse(path), module, path.name == "__init__.py"))


def where(module: str, line: int) -> str:
    return f"{PACKAGES[module].relative_to(ROOT)}:{line}"


def matches(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def loaded_at_import(module: str) -> Iterator[tuple[str, Import]]:
    """(importer, import) for everything loaded when `module` is, through our own modules and their parent packages."""
    seen, todo = set(), [module]
    while todo:
        current = todo.pop()
        if current in seen or current not in PACKAGES:
            continue
        seen.add(current)
        todo.append(current.rpartition(".")[0])
        for found in imports_of(current):
            if not found.lazy and not found.typing_only:
                yield current, found
                todo.append(found.module)


def test_every_package_is_in_the_order() -> None:
    assert {package_of(module) for module in PACKAGES} - {""} == {*ORDER, *OUTSIDE}


def test_imports_go_down() -> None:
    problems = []
    for module in PACKAGES:
        for found in imports_of(module):
            if problem := order_problem(module, found.module):
                problems.append(f"{where(module, found.line)}: {problem}")
    assert not problems, "\n".join(problems)


def test_no_cycles_between_modules() -> None:
    graph = {
        module: sorted({found.module for found in imports_of(module) if found.module in PACKAGES and not found.typing_only} - {module})
        for module in PACKAGES
    }
    assert not (cycle := find_cycle(graph)), "import cycle: " + " -> ".join(cycle)


@pytest.mark.parametrize(("library", "modules"), [("torch", TORCH_FREE), ("numpy", NUMPY_FREE)], ids=["torch", "numpy"])
def test_light_modules_do_not_load(library: str, modules: tuple[str, ...]) -> None:
    problems = set()
    for module in (m for m in PACKAGES if matches(m, modules)):
        for importer, found in loaded_at_import(module):
            if found.module.split(".")[0] == library:
                problems.add(f"{where(importer, found.line)}: imports {library}, and so does importing {module}")
    assert not problems, "\n".join(sorted(problems))


def test_config_never_imports_torch_or_numpy_even_inside_functions() -> None:
    problems = [
        f"{where(module, found.line)}: imports {found.module}"
        for module in PACKAGES
        if matches(module, ("biggan_scale.config",))
        for found in imports_of(module)
        if found.module.split(".")[0] in ("torch", "numpy")
    ]
    assert not problems, "\n".join(problems)


def test_torchvision_is_imported_nowhere() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{found.line}: imports {found.module}"
        for module, path in EVERYTHING.items()
        for found in imports(parse(path), module)
        if found.module.split(".")[0] == "torchvision"
    ]
    assert not problems, "\n".join(problems)


def test_nothing_executes_what_it_reads() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path in EVERYTHING.values()
        if str(path.relative_to(ROOT)) not in CARELESS_ON_PURPOSE
        for line, problem in call_problems(parse(path), allow_exec=str(path.relative_to(ROOT)) in EXEC_ALLOWED)
    ]
    assert not problems, "\n".join(problems)


def find_cycle(graph: dict[str, list[str]]) -> list[str]:
    """The modules of one cycle, the first repeated at the end; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            for successor in graph[node]:
                if cycle := visit(successor, [*path, node]):
                    return cycle
            done.add(node)
        return []

    return next((cycle for node in graph if (cycle := visit(node, []))), [])


# The checks themselves, on code that breaks the rules.


@pytest.mark.parametrize(
    ("module", "code", "imported"),
    [
        ("biggan_scale.nn.x", "from biggan_scale.engine import loop", "biggan_scale.engine"),
        ("biggan_scale.config.x", "def f():\n    import biggan_scale.dist.seeds", "biggan_scale.dist.seeds"),
        ("biggan_scale.losses.x", "from ..networks import biggan", "biggan_scale.networks"),
        ("biggan_scale.games.x", "import launch.slurm", "launch.slurm"),
        ("data_tools.x", "from biggan_scale import engine", "biggan_scale.engine"),
        ("biggan_scale.metrics.x", "from biggan_scale import load", "biggan_scale.export.load"),
        ("launch.x", "from biggan_scale.dist.seeds import Noise", "biggan_scale.dist.seeds"),
    ],
)
def test_an_import_that_goes_up_is_found(module: str, code: str, imported: str) -> None:
    found = list(imports(ast.parse(code), module, known=frozenset(["biggan_scale.engine"])))
    assert [f.module for f in found] == [imported]
    assert order_problem(module, imported) is not None


def test_a_cycle_is_found() -> None:
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert find_cycle({"a": ["b", "c"], "b": ["c"], "c": []}) == []


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "pickle.loads(b)",
        "yaml.load(t, Loader=L)",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "tarfile.open(f).extractall(d)",
        "np.load(f, allow_pickle=True)",
        "eval(text)",
        "exec(compile(tree, name, 'exec'))",
    ],
)
def test_a_call_that_executes_data_is_found(code: str) -> None:
    assert list(call_problems(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["torch.load(f, weights_only=True)", "model.eval()", "yaml.safe_load(t)", "np.load(f, allow_pickle=False)"]
)
def test_a_safe_call_passes(code: str) -> None:
    assert not list(call_problems(ast.parse(code)))
