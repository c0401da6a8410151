"""The document of `GET /v1/strategies`; its names are the seeds'."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoadedStrategy(_Document):
    """One strategy that services can use."""

    name: str = Field(examples=["load_balancer"])
    version: str = Field(examples=["1.0.0"])
    features: list[str] = Field(examples=[["round_robin_selection", "health_tracking"]])
    origin: str = Field(description="The package or the file it is from.", examples=["hestia"])


class FailedStrategy(_Document):
    """A file or package whose strategy could not be loaded; everything else works all the same."""

    file: str
    detail: str = Field(description="What is wrong, in one sentence.")
    trace: str = Field(description="Where it broke; empty where nothing was raised.")


class RoutedInstance(_Document):
    """One instance as strategies see it."""

    id: str = Field(examples=["llm-a-11434"])
    url: str = Field(examples=["http://llm-a:11434"])
    weight: float
    region: str
    models: list[str]
    last: bool = Field(description="The `base_url` beside `instances`: for what nothing else is fit for.")


class ServiceRouting(_Document):
    """How a service with a strategy, or with several instances, is routed."""

    strategy: str | None = Field(description="Null: its instances in their order.")
    instances: list[RoutedInstance]
    routing: dict[str, JsonValue] = Field(description="As written; secrets as the places they are read from.")
    error: str = Field(description="Why its strategy could not be made; empty when it could.")
    failures: int = Field(
        description="Requests for which its strategy failed since it was made; they got the configured order."
    )


class Strategies(_Document):
    """All strategies, and who uses which."""

    loaded_strategies: dict[str, LoadedStrategy]
    failed_strategies: list[FailedStrategy]
    service_configurations: dict[str, ServiceRouting]
