"""MCAP files of plans: requests and replies as wire messages, and images in the form that Foxglove shows.

https://mcap.dev/spec. A request and its reply have the same sequence number. Images are in the file twice, in the
request and as `foxglove.CompressedImage`; compression by chunk makes the second copy nearly free.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError, Message
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import NonSeekingReader
from mcap.writer import Writer

from telos import __version__
from telos.wire import telos_pb2 as pb

REQUEST_TOPIC = "/plan/request"
REPLY_TOPIC = "/plan/reply"


class PlanFileError(ValueError):
    """A file is not a recording of plans; the message says why."""


class PlanFile:
    """A file that is being written. Every method may raise OSError."""

    def __init__(self, path: Path) -> None:
        self._stream: BinaryIO = path.open("xb")
        self._writer = Writer(self._stream)
        self._writer.start(profile="", library=f"telos {__version__}")
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._plans = 0

    @property
    def size_bytes(self) -> int:
        """Bytes on disk, without the chunk that is being filled."""
        return self._stream.tell()

    def add(self, request: pb.PlanRequest, reply: pb.PlanResponse, asked_ns: int, answered_ns: int) -> None:
        """Add a plan. Both times are on the wall clock."""
        self._plans += 1
        self._write(REQUEST_TOPIC, request, asked_ns)
        for name, image in request.context[-1].images.items():
            self._picture(f"/camera/{name}", name, image, asked_ns)
        for index, goal in enumerate(request.goals):
            for name, image in goal.observation.images.items():
                self._picture(f"/goal/{index}/{name}", name, image, asked_ns)
        self._write(REPLY_TOPIC, reply, answered_ns)

    def flush(self) -> None:
        """Write all added plans to disk, as far as the operating system does."""
        self._writer.flush()
        self._stream.flush()

    def close(self) -> None:
        """Write the index and close the file."""
        try:
            self._writer.finish()
        finally:
            self._stream.close()

    def _picture(self, topic: str, frame: str, image: pb.Image, at_ns: int) -> None:
        picture = CompressedImage(frame_id=frame, data=image.encoded, format=image.format)
        picture.timestamp.FromNanoseconds(at_ns)
        self._write(topic, picture, at_ns)

    def _write(self, topic: str, message: Message, at_ns: int) -> None:
        if topic not in self._channels:
            schema = self._schema(message)
            self._channels[topic] = self._writer.register_channel(topic, "protobuf", schema)
        self._writer.add_message(self._channels[topic], at_ns, message.SerializeToString(), at_ns, self._plans)

    def _schema(self, message: Message) -> int:
        kind = message.DESCRIPTOR
        if kind.full_name not in self._schemas:
            described = FileDescriptorSet()
            for file in _files(kind.file):
                file.CopyToProto(described.file.add())
            data = described.SerializeToString()
            self._schemas[kind.full_name] = self._writer.register_schema(kind.full_name, "protobuf", data)
        return self._schemas[kind.full_name]


def read_plans(path: Path) -> Iterator[tuple[pb.PlanRequest, pb.PlanResponse]]:
    """Plans of a recording, in order. A file that was cut off gives those before the cut. Raises PlanFileError."""
    requests: dict[int, pb.PlanRequest] = {}
    with path.open("rb") as stream:
        messages = NonSeekingReader(stream, validate_crcs=True).iter_messages(
            topics=(REQUEST_TOPIC, REPLY_TOPIC), log_time_order=False
        )
        try:
            for _, channel, message in messages:
                if channel.topic == REQUEST_TOPIC:
                    requests[message.sequence] = pb.PlanRequest.FromString(message.data)
                elif message.sequence in requests:
                    yield requests.pop(message.sequence), pb.PlanResponse.FromString(message.data)
        except (EndOfFile, struct.error):  # the library raises either, by whether the cut lies between records
            return
        except (McapError, DecodeError) as error:
            raise PlanFileError(
                f"{path} is not a recording of plans: {error}; take one that telos serve wrote"
            ) from error


def _files(file: Any) -> Iterator[Any]:
    """Files of definitions, each after those that it needs."""
    for needed in file.dependencies:
        yield from _files(needed)
    yield file
