"""TLS as every plugin that speaks to a server has it set."""

from __future__ import annotations

import ssl
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from aats_core.errors import SettingsError
from aats_core.settings import PluginSettings, ReadableFile


class TlsSettings(PluginSettings):
    """How a server is checked, and how this client shows who it is; all files are PEM."""

    ca: Annotated[
        ReadableFile | None,
        Field(description="Authorities that may have signed the server's certificate; the system's by default."),
    ] = None
    certificate: Annotated[ReadableFile | None, Field(description="This client's certificate, with its chain.")] = None
    key: Annotated[
        ReadableFile | None, Field(description="The certificate's key, where `certificate` does not hold it.")
    ] = None
    key_password: Annotated[
        SecretStr | None, Field(description="What the key is encrypted with.", examples=[{"env": "TLS_KEY_PASSWORD"}])
    ] = None
    verify_host: Annotated[bool, Field(description="Whether the server's name has to be in its certificate.")] = True

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.ca or self.certificate:
            try:
                self.context()
            except SettingsError as error:
                raise ValueError(str(error)) from error
        return self

    def context(self) -> ssl.SSLContext:
        """Return what opens connections so; raises `SettingsError` naming the files that cannot be used."""
        password = self.key_password.get_secret_value() if self.key_password else ""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key, lambda: password)  # or it would ask the terminal
        except OSError as error:
            named = {name: getattr(self, name) for name in ("ca", "certificate", "key")}
            files = ", ".join(f"tls.{name} = {str(file)!r}" for name, file in named.items() if file)
            raise SettingsError(f"{files}: {_why(error)}") from error
        context.check_hostname = self.verify_host
        return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{error.strerror or error}; PEM files are needed that belong together, and a key's password"
    return error.strerror or str(error)
