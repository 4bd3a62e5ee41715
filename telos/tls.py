"""Certificates of an encrypted connection."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Tls:
    """PEM files. `certificate_file` and `key_file` are for a server that asks its clients for a certificate."""

    ca_file: Path | None = None
    """Authorities that may sign the server's certificate; None for those of this machine."""
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("give both certificate_file and key_file, or neither")
        for path in (self.ca_file, self.certificate_file, self.key_file):
            if path is not None and not path.is_file():
                raise ValueError(f"{path} does not exist; wanted a PEM file")

    def context(self) -> ssl.SSLContext:
        """SSL context that also checks the server's name. Raises OSError for files that are not PEM."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context
