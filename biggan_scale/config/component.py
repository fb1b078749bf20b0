"""Name = file = component: `game: {type: gan}` is the class `Gan` of `biggan_scale/games/gan.py`, configured by its `Config`.

There is no registry: a new file is a new choice. Where a package holds components of several roles in one file, the field that
asks for one names the role: `generator: Part = part("networks", "Generator")` takes `Generator` and `GeneratorConfig`.

Component files import torch, which takes seconds, and a spelling mistake in YAML should not. So their config dataclasses are
read without importing them: the file is parsed, and only the definitions the dataclass stands on are executed. For that they
may lean on nothing but `TORCH_FREE` modules, the file's own constants and other component files' config dataclasses.
"""

from __future__ import annotations
import __future__

import ast
import dataclasses
import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from biggan_scale.config.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]  # the package biggan_scale
TORCH_FREE = ("__future__", "collections.abc", "dataclasses", "math", "typing")  # and biggan_scale.config and all below it
MIRROR = ":config"  # a module read without importing it is known to Python as "biggan_scale.games.gan:config"


@dataclass(frozen=True)
class Part:
    """A component chosen in the configuration: which one, and its config dataclass."""

    package: str  # "networks"
    role: str  # "Generator", or "" where a file holds one component
    type: str  # "biggan": the file's name
    config: Any  # the config dataclass, built

    @property
    def module(self) -> str:
        return f"biggan_scale.{self.package}.{self.type}"


@dataclass(frozen=True)
class Reference:
    """What a field of type Part asks for."""

    package: str
    role: str

    @property
    def config_name(self) -> str:
        return f"{self.role}Config"

    def choices(self) -> list[str]:
        """The types there are: files of the package that define this role's config."""
        files = sorted((ROOT / self.package).glob("*.py"))
        return [file.stem for file in files if self.config_name in _statements(file)]

    def config_class(self, type: str) -> type:
        """The config dataclass of a type (one of `choices()`), read without importing its file."""
        return _read(f"biggan_scale.{self.package}.{type}", self.config_name)


def part(package: str, role: str = "", *, optional: bool = False) -> Any:
    """Declares a dataclass field that holds a component of `biggan_scale/PACKAGE`; annotate it `Part` (`Part | None` if optional)."""
    metadata = {"part": Reference(package, role)}
    return dataclasses.field(default=None, metadata=metadata) if optional else dataclasses.field(metadata=metadata)


def build(part: Part, *args: Any, **kwargs: Any) -> Any:
    """The component itself: imports its file and returns `Class(config, *args, **kwargs)`."""
    name = part.role or "".join(word.capitalize() for word in part.type.split("_"))
    return getattr(importlib.import_module(part.module), name)(_imported(part.config), *args, **kwargs)


def source_file(module: str) -> Path:
    """The file of a module of this package."""
    return ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")


def definition(file: Path, name: str) -> ast.ClassDef:
    """The source of a class defined at the top of a file."""
    statement = _statements(file)[name]
    assert isinstance(statement, ast.ClassDef), f"{file}: {name} is not a class"
    return statement


def _imported(value: Any) -> Any:
    """The same config, of the class of the real, imported module instead of its mirror."""
    if isinstance(value, tuple):
        return tuple(_imported(item) for item in value)
    if isinstance(value, dict):
        return {key: _imported(item) for key, item in value.items()}
    mirror = type(value).__module__
    if not mirror.endswith(MIRROR):
        return value
    real = getattr(importlib.import_module(mirror.removesuffix(MIRROR)), type(value).__name__)
    return real(**{field.name: _imported(getattr(value, field.name)) for field in dataclasses.fields(value)})


def _read(module: str, name: str) -> Any:
    """The value of a name defined at the top of a file of this package, executing only what that definition stands on."""
    mirror = sys.modules.setdefault(module + MIRROR, ModuleType(module + MIRROR))
    if name in vars(mirror):
        return vars(mirror)[name]
    file = source_file(module)
    statement = _statements(file)[name]
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return vars(mirror).setdefault(name, _import(statement, name, file))
    for needed in sorted(_names_in(statement) & _statements(file).keys() - {name}):
        _read(module, needed)
    _execute(statement, file, vars(mirror))
    return vars(mirror)[name]


def _import(statement: ast.Import | ast.ImportFrom, name: str, file: Path) -> Any:
    alias = next(alias for alias in statement.names if name in (alias.asname, alias.name))
    source = alias.name if isinstance(statement, ast.Import) else statement.module or ""
    if source in TORCH_FREE or f"{source}.".startswith("biggan_scale.config."):
        scope: dict[str, Any] = {}
        _execute(statement, file, scope)
        return scope[name]
    if source.startswith("biggan_scale.") and source_file(source).is_file():
        return _read(source, alias.name)
    raise ConfigError(
        f"{file}:{statement.lineno}: a config dataclass here needs '{name}' from {source}, but is read without importing that; "
        f"allowed: {', '.join(TORCH_FREE)}, biggan_scale.config"
    )


def _execute(statement: ast.stmt, file: Path, scope: dict[str, Any]) -> None:
    module = ast.Module(body=[statement], type_ignores=[])
    code = compile(module, str(file), "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    exec(code, scope)  # our own source, one definition of it


def _names_in(statement: ast.stmt) -> set[str]:
    """The names a statement reads: what it stands on, if they are defined at the top of the file."""
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


@functools.cache
def _statements(file: Path) -> dict[str, ast.stmt]:
    """The statements at the top of a file by the names they define."""
    found: dict[str, ast.stmt] = {}
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            found[statement.name] = statement
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            found.update({alias.asname or alias.name: statement for alias in statement.names})
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            found.update({target.id: statement for target in targets if isinstance(target, ast.Name)})
    return found
