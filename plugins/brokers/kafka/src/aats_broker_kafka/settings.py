"""The section `[broker]` of a team file that uses Kafka."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from aats_core.addresses import parse_url, server_url
from aats_core.settings import BrokerSettings, PluginSettings, Seconds
from aats_core.tls import TlsSettings

_EXAMPLE = "k1.internal:9092"


def _host_and_port(server: str) -> str:
    if "://" in server:
        raise ValueError(f"it has no scheme; an address looks like {_EXAMPLE}")
    if parse_url(f"kafka://{server}", _EXAMPLE, "kafka").port is None:
        raise ValueError(f"it lacks the port; an address looks like {_EXAMPLE}")
    return server


class RegistrySettings(PluginSettings):
    """A schema registry that payloads are checked by."""

    url: Annotated[
        str,
        server_url("http://host:8081", "http", "https", path=True),
        Field(description="Its address.", examples=["http://registry.internal:8081"]),
    ]
    user: Annotated[str, Field(description="Who asks it.", examples=["aats"])] = ""
    password: Annotated[SecretStr, Field(description="The password of `user`.")] = SecretStr("")
    subject: Annotated[
        str,
        Field(
            description="The subject of a message's schema, made of its {topic} and {type}.",
            examples=["{topic}-{type}"],
        ),
    ] = "{topic}-value"
    refresh: Annotated[Seconds, Field(gt=0, description="Seconds for which a schema is kept.")] = 300.0


class KafkaSettings(BrokerSettings):
    """What can be set on Kafka: where it is, who asks, what topics are like, and how its groups move."""

    servers: Annotated[
        list[Annotated[str, AfterValidator(_host_and_port)]],
        Field(
            min_length=1, description="Brokers to ask first, `host:port`; one has to answer.", examples=[["k1:9092"]]
        ),
    ] = Field(default=["localhost:9092"])
    user: Annotated[str, Field(description="User name of SASL; none without.", examples=["aats"])] = ""
    password: Annotated[SecretStr, Field(description="The password of `user`.")] = SecretStr("")
    mechanism: Annotated[
        Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"], Field(description="How SASL proves the password.")
    ] = "SCRAM-SHA-512"
    tls: Annotated[
        TlsSettings | None,
        Field(description="Speak TLS, with these files.", examples=[{"ca": "/etc/kafka/ca.pem"}]),
    ] = None
    partitions: Annotated[int, Field(ge=1, description="Partitions of a topic that is created.", examples=[12])] = 6
    replication_factor: Annotated[
        int, Field(ge=1, description="Copies of every topic that is created; 1 where there is one broker.")
    ] = 3
    retention: Annotated[
        Seconds, Field(gt=0, description="How long a topic keeps messages and dead letters.", examples=["7d"])
    ] = 7 * 86_400.0
    max_message_bytes: Annotated[
        int, Field(ge=1024, description="Largest message that is accepted, encoded.", examples=[1_048_576])
    ] = 8 * 1024 * 1024
    window: Annotated[
        int, Field(ge=1, description="Unsettled messages of one group that are read ahead.", examples=[1000])
    ] = 4000
    window_bytes: Annotated[
        int, Field(ge=1024, description="Bytes of one group's messages that are read ahead.", examples=[16_777_216])
    ] = 64 * 1024 * 1024
    session: Annotated[
        Seconds, Field(gt=0, description="Seconds of silence after which a client has left its groups.")
    ] = 10.0
    heartbeat: Annotated[
        Seconds, Field(gt=0, description="Seconds between signs of life; within them changes of a group are noticed.")
    ] = 1.0
    internal_prefix: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-]+$",
            description="Beginning of the names of topics that the broker makes for itself.",
        ),
    ] = "aats-internal"
    registry: Annotated[
        RegistrySettings | None,
        Field(description="Check payloads by the schemas of a registry.", examples=[{"url": "http://registry:8081"}]),
    ] = None

    @model_validator(mode="after")
    def _lively(self) -> KafkaSettings:
        if self.heartbeat * 2 > self.session:
            raise ValueError("session has to be at least twice the heartbeat")
        return self

    def connection(self) -> dict[str, Any]:
        """Return what every client of the driver takes to connect."""
        security = "SASL_" if self.user else ""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": security + ("SSL" if self.tls else "PLAINTEXT")
            if security or self.tls
            else "PLAINTEXT",
            "retry_backoff_ms": 50,
        }
        if self.tls:
            options["ssl_context"] = self.tls.context()
        if self.user:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        return options
