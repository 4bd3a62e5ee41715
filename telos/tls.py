"""Whom a client trusts, and what it shows of itself, when the connection is encrypted."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files. `certificate_file` and `key_file` are for a server that asks its clients for a certificate."""

    ca_file: Path | None = None
    """Authorities that the server's certificate may come from; None: those of this machine."""
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("give certificate_file and key_file both, or neither")
        for path in (self.ca_file, self.certificate_file, self.key_file):
            if path is not None and not path.is_file():
                raise ValueError(f"{path} is not there; wanted a file in PEM")

    def context(self) -> ssl.SSLContext:
        """For the standard library. The server's name is checked. Raises OSError for files that are no PEM."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context
