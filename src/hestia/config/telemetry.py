"""`telemetry:`, where traces go: its keys, and whether what sends them is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hestia.core.model import Telemetry
from hestia.core.rules import check_response_name, check_value
from hestia.core.urls import parse_base_url

TRACES: Final = "/v1/traces"
HIDDEN: Final = "***"
_WRITTEN: Final = frozenset(("host", "content-type", "content-encoding", "user-agent"))
_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
MISSING: Final = "needs packages of OpenTelemetry that are not installed"
INSTALL: Final = "pip install 'hestia[otel]', or remove the key"
_DEFAULT: Final = Telemetry()


def _endpoint(text: str) -> str:
    address = text.strip().rstrip("/").removesuffix(TRACES).rstrip("/")
    example = "write the address of a collector's OTLP/HTTP port, such as http://localhost:4318"
    if not text.strip():
        raise ValueError(f"the address is empty; {example}")
    if not address.lower().startswith(("http://", "https://")):
        raise ValueError(f"{address.partition('@')[2] or address!r} is not http:// or https://; {example}")
    parse_base_url(address)
    return address


def _header(name: str) -> str:
    if name.lower() in _WRITTEN:
        raise ValueError(f"{name!r} is written by what sends traces; leave it out")
    return check_response_name(name)


def _as_text(value: object) -> object:
    # YAML reads `x-tenant: 7` as a number; what it wrote is meant
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class TelemetryKeys(BaseModel):
    """`telemetry` of the gateway. An empty mapping sends traces to wherever OTEL_… variables say."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    otlp_endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        default=_DEFAULT.otlp_endpoint,
        description="OTLP/HTTP address of a collector, without /v1/traces. Without it: "
        "OTEL_EXPORTER_OTLP_ENDPOINT, else http://localhost:4318.",
    )
    service_name: str = Field(
        default=_DEFAULT.service_name,
        description="Name of this gateway in traces. Without it: OTEL_SERVICE_NAME, else hestia.",
    )
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        default=_DEFAULT.sample,
        description="Share of the requests that go straight through and bring no traceparent. Those that "
        "waited or failed are always told, and one with a traceparent is when that says sampled.",
    )
    headers: dict[
        Annotated[str, AfterValidator(_header)],
        Annotated[str, BeforeValidator(_as_text), AfterValidator(check_value)],
    ] = Field(default={}, description="Headers for the collector, such as Authorization; never shown.")

    def made(self) -> Telemetry:
        return Telemetry(
            otlp_endpoint=self.otlp_endpoint,
            service_name=self.service_name.strip(),
            sample=float(self.sample),
            headers=tuple(self.headers.items()),
        )


def written_telemetry(value: Telemetry) -> dict[str, object]:
    """As it stands in the file, but for what the headers say."""
    return {
        "otlp_endpoint": value.otlp_endpoint,
        "service_name": value.service_name,
        "sample": value.sample,
        "headers": dict.fromkeys((name for name, _ in value.headers), HIDDEN),
    }


def is_installed() -> bool:
    """Whether the packages are there that send traces."""
    return all(map(_is_there, _NEEDED))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False
