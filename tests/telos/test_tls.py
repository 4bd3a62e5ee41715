"""A server that robots reach over TLS and that wants to know them by their certificates."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from server.benchmark.instant_engine import NAME, InstantEngine
from server.settings import Settings
from telos import TelosError, Tls, connect
from tests.server.live import Live, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates: of an authority, of the server, of a robot that it knows, and of another authority."""
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    for name, certificate in (
        ("server", authority.issue_cert("127.0.0.1")),
        ("robot", authority.issue_cert("robot@example.org")),
    ):
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
        certificate.private_key_pem.write_to_path(folder / f"{name}-key.pem")
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    settings = Settings(
        http_port=0,
        grpc_port=0,
        tls_certificate=folder / "server.pem",
        tls_key=folder / "server-key.pem",
        tls_client_ca=folder / "ca.pem",
    )
    with serving(settings, InstantEngine()) as running:
        yield running


@pytest.fixture(params=["https", "grpcs"])
def address(live: Live, request: pytest.FixtureRequest) -> str:
    port = live.running.http_port if request.param == "https" else live.running.grpc_port
    return f"{request.param}://127.0.0.1:{port}"


def robot(folder: Path, ca: str = "ca.pem") -> Tls:
    return Tls(ca_file=folder / ca, certificate_file=folder / "robot.pem", key_file=folder / "robot-key.pem")


def test_a_robot_that_is_known(address: str, folder: Path) -> None:
    with connect(address, tls=robot(folder), timeout_s=10) as planner:
        assert planner.model(NAME).ready


def test_a_robot_that_shows_nothing(address: str, folder: Path) -> None:
    with connect(address, tls=Tls(ca_file=folder / "ca.pem"), timeout_s=1) as planner, pytest.raises(TelosError):
        planner.models()


@pytest.mark.parametrize("tls", ["other-ca.pem", None])
def test_a_server_that_is_not_trusted(address: str, folder: Path, tls: str | None) -> None:
    trusted = None if tls is None else robot(folder, tls)
    with connect(address, tls=trusted, timeout_s=2) as planner, pytest.raises(TelosError, match="unreachable"):
        planner.models()


def test_an_address_says_whether_it_is_encrypted(folder: Path) -> None:
    for address in ("http://127.0.0.1:1", "grpc://127.0.0.1:1"):
        with pytest.raises(ValueError, match="tls is given"):
            connect(address, tls=robot(folder))
    for address in ("127.0.0.1:1", "ftp://127.0.0.1:1", "grpc://127.0.0.1"):
        with pytest.raises(ValueError, match="wanted"):
            connect(address)


def test_files_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(ValueError, match="give both certificate_file and key_file, or neither"):
        Tls(certificate_file=folder / "robot.pem")
    with pytest.raises(ValueError, match="does not exist; wanted a PEM file"):
        Tls(ca_file=folder / "nobody.pem")
