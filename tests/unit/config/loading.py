"""How these tests load a configuration: a folder of their own, an environment that says nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hestia.config import ConfigProblems, Problem, Row, effective, load
from hestia.core.model import ServiceId, ServiceSettings, Settings
from hestia.engines.registry import load_engines
from hestia.strategies.registry import Finder

FINDER = Finder()
ENGINES = {name: plugin.Options for name, plugin in load_engines().items()}


@dataclass(slots=True)
class Loader:
    """Loads what is written here. programs: those that are on the PATH."""

    folder: Path
    programs: tuple[str, ...] = ()

    def write(self, text: str, name: str = "hestia_config.yml") -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def __call__(
        self,
        text: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        dotenv: str | None = None,
        path: str | None = None,
        **overrides: object,
    ) -> Settings:
        """The settings. text: of the file. dotenv: of `.env`. overrides: from the command line."""
        if text is not None:
            self.write(text)
        if dotenv is not None:
            self.write(dotenv, ".env")
        return load(
            path=path,
            environ=env or {},
            cwd=str(self.folder),
            overrides=overrides,
            engines=ENGINES,
            strategies=FINDER,
            which=lambda name: f"/usr/bin/{name}" if name in self.programs else None,
        )

    def chat(self, keys: str = "", **more: str) -> ServiceSettings:
        """The one service of a file: its keys are in braces, `idle_timeout: 5m, hosts: [a.lan]`."""
        text = f"services: {{chat: {{base_url: 'http://localhost:9000', {keys}}}}}\n"
        return self(text, env=more).services[ServiceId("chat")]

    def problems(self, text: str | None = None, **more: object) -> tuple[Problem, ...]:
        """What is wrong with it; fails when nothing is."""
        try:
            settings = self(text, **more)  # type: ignore[arg-type]  # the arguments of __call__
        except ConfigProblems as exc:
            return exc.problems
        raise AssertionError(f"no problem was found; warnings: {settings.warnings}")

    def chat_problem(self, keys: str) -> Problem:
        """The one thing that is wrong with these keys of a service."""
        (problem,) = self.problems(f"services: {{chat: {{base_url: 'http://localhost:9000', {keys}}}}}\n")
        return problem

    def rows(self, text: str | None = None, **more: object) -> dict[str, Row]:
        """The rows of `config show` by key."""
        settings = self(text, **more)  # type: ignore[arg-type]  # the arguments of __call__
        return {row.key: row for row in effective(settings)}
