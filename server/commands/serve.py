"""`telos serve`: HTTP and gRPC in front of every checkpoint of a folder."""

import argparse
import os
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve plans over HTTP and gRPC",
        description="Load every checkpoint of a folder, warm up, and answer POST /v1/plan and gRPC telos.v1.Planner "
        "until SIGTERM. The log goes to stderr; once ready, one line of JSON on stdout says the ports. Every setting "
        "is also an environment variable TELOS_<NAME>, for example TELOS_HTTP_PORT and TELOS_GRPC_PORT.",
    )
    parser.add_argument("--checkpoints", type=Path, help="folder of checkpoints (default: checkpoints)")
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--http-port", type=int, help="port for HTTP (default: 8600; 0 takes a free one)")
    parser.add_argument("--grpc-port", type=int, help="port for gRPC (default: 8601; 0 takes a free one)")
    parser.add_argument("--admin-port", type=int, help="port on 127.0.0.1 for loading models (default: none)")
    parser.add_argument("--device", help="cpu, cuda, or one GPU as cuda:0 (default: cpu)")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        default=None,
        help="listen to other machines; needs TELOS_TOKEN, which clients then send as a bearer token",
    )
    parser.add_argument("--log-format", choices=("console", "json"), help="default: console")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="keep plans as MCAP files, for telos replay")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from server.observability.logs import set_up_logs
    from server.serve import run as serve
    from server.serve import say_ports
    from server.settings import Settings

    given = (
        "checkpoints",
        "host",
        "http_port",
        "grpc_port",
        "admin_port",
        "device",
        "allow_remote",
        "log_format",
        "record",
    )
    settings = Settings.from_environment(os.environ, **{name: getattr(arguments, name) for name in given})
    set_up_logs(settings.log_format, settings.log_level)
    serve(settings, say_ports)
