"""`model_router`: the model that a request names decides which instances may serve it.

Looked up exactly, then by its alias, then by glob, in `by_model` and in the `models` of the instances. A
model that nobody is meant for goes to the instances that are open to any, by the rules of the load balancer,
then to `base_url`. Who is meant for certain models gets others only where there is nobody else at all.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field

from hestia.core.model import InstanceId, InstanceSettings
from hestia.core.strategy import Asked, Candidate, Ejection, Ranking, Reads, Unfit
from hestia.strategies.load_balancer import LoadBalancer, LoadBalancerOptions
from hestia.strategies.naming import instance_of
from hestia.strategies.options import PEEK, Bytes, Text

_REMEMBERED: Final = 4096  # names of models that were looked up; anybody may send any


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Targets = Annotated[tuple[Text, ...], BeforeValidator(_as_list), Field(min_length=1)]


class ModelRouterOptions(LoadBalancerOptions):
    """`routing` of a service with the strategy `model_router`; also the keys of `load_balancer`, which
    chooses among several that are fit."""

    model_key: Text = Field(
        default="model",
        min_length=1,
        description="Where the request names the model: a key of its query, of its JSON body (at the top), "
        "of its form or multipart form.",
    )
    by_model: Mapping[Text, Targets] = Field(
        default_factory=dict,
        description="Model, or a glob for models, to the address or the name of an instance, or a list of "
        "them, best first.",
        examples=[{"llama3": "http://llm-a:11434", "mistral*": "llm-b"}],
    )
    aliases: Mapping[Text, Text] = Field(
        default_factory=dict,
        description="Other names of models; the request itself is not changed.",
        examples=[{"gpt-4": "llama3"}],
    )
    peek_max: Bytes = PEEK
    merge_models: bool = Field(
        default=False,
        description="Answer `GET /v1/models` and `GET /api/tags` with the models of all instances: of those "
        "that sleep as last seen. Nobody is woken.",
    )


class ModelRouter:
    """The strategy of one service."""

    name: ClassVar[str] = "model_router"
    version: ClassVar[str] = "1.0.0"
    features: ClassVar[tuple[str, ...]] = (
        "exact_models",
        "model_aliases",
        "model_globs",
        "instance_models",
        "load_balancer_fallback",
        "base_url_fallback",
        "merged_model_lists",
    )
    Options: ClassVar[type[ModelRouterOptions]] = ModelRouterOptions

    def __init__(self, options: ModelRouterOptions, instances: Sequence[InstanceSettings]) -> None:
        self.merge_models = options.merge_models
        self.reads: Reads | None = Reads(options.model_key, options.peek_max)
        self._balance = LoadBalancer(options, instances)
        self.ejection: Ejection | None = self._balance.ejection
        self._aliases = options.aliases
        self._exact: dict[str, tuple[InstanceId, ...]] = {}
        self._globs: list[tuple[re.Pattern[str], tuple[InstanceId, ...]]] = []
        meant: dict[str, list[InstanceId]] = {}
        for model, targets in options.by_model.items():
            for at, target in enumerate(targets):
                way = ("by_model", model, at) if len(targets) > 1 else ("by_model", model)
                meant.setdefault(model, []).append(instance_of(target, instances, way))
        for one in instances:
            for model in one.models:
                meant.setdefault(model, []).append(one.id)
        for alias, model in options.aliases.items():
            if alias in meant:
                raise Unfit(
                    f"{alias!r} is a model of an instance already, so it is no other name of {model!r}",
                    way=("aliases", alias),
                    remedy="remove the one or the other",
                )
        for model, names in meant.items():
            ids = tuple(dict.fromkeys(names))
            if any(mark in model for mark in "*?["):
                self._globs.append((re.compile(fnmatch.translate(model)), ids))
            else:
                self._exact[model] = ids
        self._globs.sort(key=lambda glob: -len(glob[0].pattern))  # the most precise one first
        self._taken = frozenset(name for names in meant.values() for name in names)
        # open to any, `base_url` last: for when those that are meant for a model have failed
        self._free = tuple(one.id for one in instances if one.id not in self._taken)
        self._then: dict[tuple[InstanceId, ...], tuple[InstanceId, ...]] = {}
        self._seen: dict[str, tuple[InstanceId, ...]] = {}

    def rank(self, asked: Asked, candidates: Sequence[Candidate]) -> Ranking:
        """The instances meant for the model of the request, or those that are open to any."""
        model = asked.key
        if model is None:
            return self._balance.among(asked, candidates, "the request names no model, ")
        fit = self._fit(model)
        if not fit:
            return self._open_to_any(asked, candidates, "no instance is meant for its model, ")
        then = self._then.get(fit)
        if then is None:
            then = self._then[fit] = tuple([name for name in self._free if name not in fit])
        if len(fit) == 1:
            return Ranking(fit, then, "by model")
        mine = [one for one in candidates if one.id in fit]
        mine.sort(key=lambda one: fit.index(one.id))
        ranking = self._balance.among(asked, mine, "by model, ")
        return ranking._replace(then=(*ranking.then, *[name for name in then if name not in ranking.then]))

    def _fit(self, model: str) -> tuple[InstanceId, ...]:
        """Instances for a model: exact, then by its alias, then by glob."""
        found = self._exact.get(model)
        if found is None:
            found = self._seen.get(model)
        if found is None:
            found = self._search(model)
            if len(self._seen) < _REMEMBERED:
                self._seen[model] = found
        return found

    def _search(self, model: str) -> tuple[InstanceId, ...]:
        names: Iterable[str] = (model,)
        if (other := self._aliases.get(model)) is not None:
            if (found := self._exact.get(other)) is not None:
                return found
            names = (other, model)
        return next((ids for name in names for glob, ids in self._globs if glob.match(name)), ())

    def _open_to_any(self, asked: Asked, candidates: Sequence[Candidate], why: str) -> Ranking:
        """Those that are meant for no model in particular; with none of them, all."""
        free = [one for one in candidates if one.id not in self._taken]
        return self._balance.among(asked, free or candidates, why)
