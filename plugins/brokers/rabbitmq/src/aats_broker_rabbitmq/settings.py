"""The section `[broker]` of a team file that uses RabbitMQ."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from aats_core.addresses import server_url
from aats_core.settings import BrokerSettings, Seconds
from aats_core.tls import TlsSettings


class RabbitSettings(BrokerSettings):
    """Where RabbitMQ is, who we are there, and the bounds of what it keeps."""

    servers: Annotated[
        list[Annotated[str, server_url("amqp://host:5672, or amqps://host:5671 for TLS", "amqp", "amqps")]],
        Field(
            min_length=1,
            description="Addresses of the nodes of one cluster; the first that answers is used.",
            examples=[["amqps://mq1.internal:5671", "amqps://mq2.internal:5671"]],
        ),
    ] = Field(default=["amqp://127.0.0.1:5672"])
    vhost: Annotated[str, Field(min_length=1, description="Virtual host.", examples=["aats"])] = "aats"
    user: Annotated[str, Field(description="User.", examples=["aats"])] = "guest"
    password: Annotated[
        SecretStr, Field(description="Password of the user.", examples=[{"env": "RABBITMQ_PASSWORD"}])
    ] = SecretStr("guest")
    tls: Annotated[TlsSettings, Field(description="Certificates, for addresses with `amqps://`.")] = TlsSettings()
    heartbeat: Annotated[
        Seconds, Field(ge=1, description="Seconds after which a silent connection is suspected.", examples=["10s"])
    ] = 10.0
    group_expires: Annotated[
        Seconds | None,
        Field(gt=0, description="Time without a consumer after which a group is removed.", examples=["30d"]),
    ] = None
    delivery_limit: Annotated[
        int,
        Field(ge=1, description="Returns of one message after which the server itself gives it up.", examples=[100]),
    ] = 1000
    max_dead_letters: Annotated[
        int, Field(ge=1, description="Dead letters that are kept; beyond it the oldest is dropped.", examples=[500])
    ] = 10_000
    max_message_bytes: Annotated[
        int, Field(ge=1, description="Largest message that is accepted, encoded.", examples=[1_048_576])
    ] = 128 * 1024 * 1024

    @model_validator(mode="after")
    def _reserve_for_the_server(self) -> Self:
        if self.delivery_limit <= self.max_attempts:
            raise ValueError(f"delivery_limit has to be larger than max_attempts, which is {self.max_attempts}")
        return self
