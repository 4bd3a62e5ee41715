"""Who is let in (22): nobody from afar without a token or a certificate, on any route, of either transport."""

import http.client
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from server.settings import Settings, SettingsError
from server.transport.http_gate import PUBLIC_PATHS
from telos.wire import telos_pb2 as pb
from tests.reliability.report import Measure
from tests.reliability.server_process import ROOT
from tests.server.live import MODEL, Live, serving, settings_for

pytestmark = pytest.mark.reliability(22)

TOKEN = "right-token"
HEALTH = "grpc.health.v1.Health"
METHODS = [
    f"/{pb.DESCRIPTOR.services_by_name['Planner'].full_name}/{m.name}"
    for m in pb.DESCRIPTOR.services_by_name["Planner"].methods
]
METHODS += ["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/telos.v1.Planner/Nothing"]
WRONG = [
    "",
    "Bearer",
    "Bearer wrong",
    "Bearer right-token2",
    "bearer right-token",
    "Basic right-token",
    f"Bearer  {TOKEN}",
]


@pytest.fixture(scope="module")
def guarded(checkpoints: Path) -> Iterator[Live]:
    with serving(settings_for(checkpoints, token=f"other,{TOKEN}")) as running:
        yield running


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "robots.example"])
@pytest.mark.parametrize("given", [{}, {"TELOS_TOKEN": TOKEN}, {"TELOS_ALLOW_REMOTE": "1"}], ids=str)
def test_a_remote_bind_wants_more_than_half(host: str, given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="reachable from other machines"):
        Settings.from_environment(given, host=host)


def test_the_command_refuses_to_start(checkpoints: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "serve", "--checkpoints", str(checkpoints), "--host", "0.0.0.0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode not in (0, None) and not ended.stdout
    assert "reachable from other machines" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize("token", [",", "a,", ",a", "a,,b", " ", "a b", "a\tb", "é"])
def test_no_token_is_empty_by_accident(token: str) -> None:
    with pytest.raises(SettingsError, match="token must be"):
        Settings(token=token)


def routes(live: Live) -> Iterator[tuple[str, str]]:
    """Every method of every path that the application answers, and some that it does not."""
    for route in live.running.app.routes:
        path: str = route.path
        for method in getattr(route, "methods", None) or {"GET"}:
            yield method, path.replace("{name}", MODEL)
    for path in ("/", "/v1", "/v1/nothing", "//v1/plan", "/v1/plan/", "/healthz/", "/healthz/../v1/models", "/HEALTHZ"):
        yield "GET", path


def test_every_route_wants_the_token(guarded: Live, measure: Measure) -> None:
    found = sorted(set(routes(guarded)))
    assert len([path for _, path in found if path.startswith("/v1/")]) > 5
    open_ones = []
    for method, path in found:
        for header in WRONG:
            status, headers, body = guarded.http(method, path, b"{", {"Authorization": header} if header else {})
            if status != 401:
                open_ones.append((method, path))
                continue
            assert headers["www-authenticate"] == "Bearer"
            assert method == "HEAD" or b"unauthenticated" in body
        assert guarded.http(method, path, b"{", {"Authorization": f"Bearer {TOKEN}"})[0] != 401
    assert {path for _, path in open_ones} == PUBLIC_PATHS
    measure("routes without the token", len({path for _, path in open_ones} - PUBLIC_PATHS), at_most=0)


def test_the_token_is_asked_for_before_the_body_is_read(guarded: Live) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(10**7)}
    assert guarded.http("POST", "/v1/plan", b"{", headers, timeout_s=2)[0] == 401


@pytest.mark.parametrize("method", METHODS)
def test_every_grpc_method_wants_the_token(guarded: Live, method: str) -> None:
    for header in WRONG[1:]:
        assert grpc_status(guarded, method, (("authorization", header),)) == "UNAUTHENTICATED"
    assert grpc_status(guarded, method, ()) == "UNAUTHENTICATED"
    assert grpc_status(guarded, method, (("authorization", f"Bearer {TOKEN}"),)) != "UNAUTHENTICATED"


def test_grpc_health_is_open_to_all(guarded: Live) -> None:
    assert grpc_status(guarded, f"/{HEALTH}/Check", ()) == "OK"


def grpc_status(live: Live, method: str, metadata: tuple[tuple[str, str], ...]) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{live.running.grpc_port}") as channel:
        try:
            if method.endswith(("Stream", "Info")):
                next(channel.stream_stream(method)(iter([b"\xff"]), timeout=10, metadata=metadata), None)
            else:
                channel.unary_unary(method)(b"", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name  # type: ignore[attr-defined]
    return "OK"


HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/nothing"])
def test_every_answer_has_the_headers(guarded: Live, path: str) -> None:
    for authorization in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        _, headers, _ = guarded.http("GET", path, headers=authorization)
        assert headers.items() >= HEADERS.items() and "server" not in headers


def test_who_forwards_is_not_believed(guarded: Live) -> None:
    """A client that names itself differently each time is still one client, by its rate."""
    names = set()
    for index in range(5):
        guarded.http("GET", "/v1/models", headers={"X-Forwarded-For": f"10.0.0.{index}"})
        names |= set(guarded.running.admission._clients)
    assert not any("10.0.0" in name for name in names)


@dataclass(frozen=True)
class Pki:
    """An authority, the server's certificate by it, and one of a robot; and another authority's robot."""

    folder: Path
    files: dict[str, Path]
    authority: trustme.CA
    robot: trustme.LeafCert
    stranger: trustme.LeafCert

    def context(self, certificate: trustme.LeafCert | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    files = {name: folder / f"{name}.pem" for name in ("tls_certificate", "tls_key", "tls_client_ca")}
    server.cert_chain_pems[0].write_to_path(files["tls_certificate"])
    server.private_key_pem.write_to_path(files["tls_key"])
    authority.cert_pem.write_to_path(files["tls_client_ca"])
    robot = authority.issue_cert("robot@example.org", common_name="arm-1")
    return Pki(folder, files, authority, robot, trustme.CA().issue_cert("robot@example.org", common_name="arm-1"))


@pytest.fixture(scope="module")
def mutual(checkpoints: Path, pki: Pki) -> Iterator[Live]:
    with serving(settings_for(checkpoints, host="0.0.0.0", allow_remote=True, **pki.files)) as running:
        yield running


def https_status(live: Live, context: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection("127.0.0.1", live.running.http_port, timeout=10, context=context)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_certificate_lets_in_over_http(mutual: Live, pki: Pki) -> None:
    assert https_status(mutual, pki.context(pki.robot)) == 200
    assert any("arm-1" in name for name in mutual.running.admission._clients)


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_no_certificate_of_ours_no_answer_over_http(mutual: Live, pki: Pki, who: str) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        https_status(mutual, pki.context(pki.stranger if who == "stranger" else None))


def test_plain_http_gets_nothing_from_a_tls_port(mutual: Live) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        mutual.http("GET", "/v1/models", timeout_s=2)


@pytest.mark.parametrize(("who", "status"), [("robot", "OK"), ("stranger", "UNAVAILABLE"), ("nobody", "UNAVAILABLE")])
def test_grpc_over_tls(mutual: Live, pki: Pki, who: str, status: str) -> None:
    root = pki.authority.cert_pem.bytes()
    leaf = {"robot": pki.robot, "stranger": pki.stranger}.get(who)
    pair: dict[str, Any] = {}
    if leaf is not None:
        pair = {"private_key": leaf.private_key_pem.bytes(), "certificate_chain": leaf.cert_chain_pems[0].bytes()}
    with grpc.secure_channel(
        f"127.0.0.1:{mutual.running.grpc_port}", grpc.ssl_channel_credentials(root, **pair)
    ) as channel:
        try:
            channel.unary_unary("/telos.v1.Planner/ListModels")(b"", timeout=5)
            answered = "OK"
        except grpc.RpcError as error:
            answered = error.code().name  # type: ignore[attr-defined]
    assert answered == status


@pytest.mark.parametrize("missing", ["tls_certificate", "tls_key"])
def test_half_of_tls_is_a_mistake(pki: Pki, missing: str) -> None:
    with pytest.raises(SettingsError, match="belong together"):
        Settings(**{name: path for name, path in pki.files.items() if name != missing})  # type: ignore[arg-type]


def test_client_certificates_want_tls(pki: Pki) -> None:
    with pytest.raises(SettingsError, match="tls_client_ca needs"):
        Settings(tls_client_ca=pki.files["tls_client_ca"])


def test_tls_files_that_do_not_fit_are_named(checkpoints: Path, pki: Pki, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    pki.robot.private_key_pem.write_to_path(other)
    with pytest.raises(SettingsError, match=r"tls_key=.*other\.pem.* cannot be used"):
        with serving(settings_for(checkpoints, **pki.files | {"tls_key": other})):
            pass
