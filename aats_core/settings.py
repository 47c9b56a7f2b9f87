"""What can be set: the sections of a team file, and the base of every plugin's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from aats_core.errors import InvalidRequest

DURATION = r"^(\d+(\.\d+)?[dhms])+$"
"""What a length of time looks like as text."""


def _seconds(value: Any) -> Any:
    from aats_core.plans.times import parse_seconds

    try:
        return parse_seconds(value)
    except InvalidRequest as error:
        raise ValueError(str(error)) from error


Seconds = Annotated[
    float, BeforeValidator(_seconds, json_schema_input_type=float | Annotated[str, Field(pattern=DURATION)])
]
"""A length of time in a team file: a number of seconds, or text such as `90s`, `15m` or `1h30m`; a float in code."""


def _readable(path: Path) -> Path:
    try:
        path = path.expanduser()
        with path.open("rb"):
            return path
    except (OSError, RuntimeError) as error:
        raise ValueError(f"the file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that is there and can be read when the settings are; relative to where the team was started."""


class PluginSettings(BaseModel):
    """The base of a plugin's settings: its section of the team file, in which an unknown key is an error.

    Fields that hold a secret are `pydantic.SecretStr`; give every field a description and an example, the
    reference of the team file is made from them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class HandlerRetries(PluginSettings):
    """How often a message whose handler raised is handled again, and after how many seconds."""

    limit: Annotated[int, Field(ge=0, description="Repetitions before the message is a dead letter.")] = 3
    backoff: Annotated[Seconds, Field(gt=0, description="Seconds before the first repetition.")] = 0.1
    factor: Annotated[float, Field(ge=1, description="By what each further wait is longer.")] = 2.0


class Restarts(PluginSettings):
    """How often a crashed agent is restarted, and after how many seconds."""

    limit: Annotated[int, Field(ge=0, description="Restarts within `window` before the agent is given up.")] = 5
    window: Annotated[Seconds, Field(gt=0, description="Seconds in which restarts are counted.")] = 60.0
    backoff: Annotated[Seconds, Field(gt=0, description="Seconds before the first restart; doubles each time.")] = 0.1


class AgentSettings(PluginSettings):
    """What every agent's section may hold; an agent's own `Settings` extends it."""

    plugin: Annotated[str, Field(description="Entry-point name of the plugin; the section's own name by default.")] = ""
    replicas: Annotated[
        int, Field(ge=1, description="How many of it in this process; so many tasks it runs at once.")
    ] = 1
    resources: Annotated[
        dict[str, float],
        Field(description="What its tasks may take together, by name.", examples=[{"cpu": 2}]),
    ] = {}
    mailbox: Annotated[int, Field(ge=1, description="Messages that may wait for it before senders do.")] = 1000
    handler_timeout: Annotated[
        Seconds, Field(gt=0, description="Seconds that a message handler may take; a task has its own timeout.")
    ] = 60.0
    retries: Annotated[HandlerRetries, Field(description="What happens when a message handler raises.")] = (
        HandlerRetries()
    )
    restarts: Annotated[Restarts, Field(description="What happens when the agent itself crashes.")] = Restarts()
    labels: Annotated[dict[str, str], Field(description="Free notes shown by `aats agents`.")] = {}

    @property
    def ending(self) -> float:
        """Seconds that its tasks may need to end once told to, beyond those that every task has."""
        return 0.0


class BrokerSettings(PluginSettings):
    """What every broker's section may hold; a broker's own settings extend it."""

    plugin: Annotated[str, Field(description="Entry-point name of the broker plugin.")] = "memory"
    max_attempts: Annotated[int, Field(ge=1, description="Deliveries of one message before it is a dead letter.")] = 5
    lease: Annotated[
        Seconds, Field(gt=0, description="Seconds after which an unsettled, unextended delivery is made again.")
    ] = 30.0
    timeout: Annotated[Seconds, Field(gt=0, description="Seconds to wait for the broker.")] = 10.0


class StoreSettings(PluginSettings):
    """What every store's section may hold; a store's own settings extend it."""

    plugin: Annotated[str, Field(description="Entry-point name of the store plugin.")] = "sqlite"
    timeout: Annotated[Seconds, Field(gt=0, description="Seconds to wait for the database.")] = 10.0


class IntegrationSettings(PluginSettings):
    """What every integration's section may hold; an integration's own settings extend it."""

    plugin: Annotated[str, Field(description="Entry-point name of the plugin; the section's own name by default.")] = ""


class TeamSection(PluginSettings):
    """The section `[team]`."""

    name: Annotated[str, Field(min_length=1, description="What the team is called.", examples=["release"])] = "team"
    namespace: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
            description="Prefix of topics, collections and keys, so that teams can share a broker and a database.",
        ),
    ] = "aats"
    state_dir: Annotated[
        Path,
        AfterValidator(Path.expanduser),
        Field(description="Where socket, embedded store and logs lie; relative to the team file."),
    ] = Path(".aats")
    migrations: Annotated[
        Path,
        AfterValidator(Path.expanduser),
        Field(description="Where the steps of migrations lie; relative to the team file."),
    ] = Path("migrations")
    grace: Annotated[
        Seconds, Field(ge=0, description="Seconds that running tasks have to finish when the team stops.")
    ] = 30.0
    lease: Annotated[
        Seconds,
        Field(
            gt=0,
            description="Seconds without a sign of life after which a worker's tasks are given away, "
            "and another process leads the team or migrates its stores.",
        ),
    ] = 30.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least serious of what is logged.")
    ] = "info"


class TeamInfo(msgspec.Struct, frozen=True):
    """What a part of the team may know of the whole; a constructor gets it by asking for this type.

    `node` names this process among all that run the team; `state_dir` exists and belongs to this process alone.
    """

    name: str = "team"
    namespace: str = "aats"
    state_dir: Path = Path(".aats")
    node: str = "local"
    grace: float = 30.0
    lease: float = 30.0
