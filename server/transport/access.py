"""Identity of a client: its token, its certificate and its address."""

import hmac
import ipaddress
import ssl

import grpc

from server.errors import Code, ServiceError
from server.settings import Settings, SettingsError


def credential_of(header: str, tokens: tuple[str, ...]) -> str:
    """Name for the token of a header `Bearer <token>`, which does not reveal it; empty if no token is needed.

    Runs in the same time for wrong tokens and right ones. Raises ServiceError (unauthenticated).
    """
    given = header.encode("utf-8", "replace")
    matches = [hmac.compare_digest(given, f"Bearer {token}".encode()) for token in tokens]
    if tokens and not any(matches):
        detail = "send the server's token as 'Authorization: Bearer <token>', in gRPC as metadata"
        raise ServiceError(Code.UNAUTHENTICATED, detail)
    return f"token {matches.index(True)}" if tokens else ""


def client_name(credential: str, certificate: str, address: str) -> str:
    """Name of a client. An IPv6 network of /64, which one customer has, counts as one client."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{credential}|{certificate}|{address}"
    network = ipaddress.ip_network((ip, 64 if ip.version == 6 else 32), strict=False)
    return f"{credential}|{certificate}|{network}"


def http_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS settings for HTTP; None without TLS. Raises SettingsError."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"{_tls_files(settings)} cannot be used: {error}; wanted PEM files that match") from error
    return context


def grpc_tls(settings: Settings) -> grpc.ServerCredentials | None:
    """TLS settings for gRPC; None without TLS. Raises SettingsError."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    authority = settings.tls_client_ca
    try:
        pair = settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes()
        roots = None if authority is None else authority.read_bytes()
    except OSError as error:
        raise SettingsError(f"{_tls_files(settings)} cannot be read: {error}") from error
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=authority is not None)


def _tls_files(settings: Settings) -> str:
    names = ("tls_certificate", "tls_key", "tls_client_ca")
    given = {name: getattr(settings, name) for name in names}
    return ", ".join(f"{name}={path}" for name, path in given.items() if path is not None)
