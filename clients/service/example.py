"""An example client: what a program on the device says to the local service. Copy it, with ``device.proto`` beside it.

    python -m clients.service.example unix:/var/lib/fedrec/run/api.sock
    FEDREC_TOKEN=... python -m clients.service.example 127.0.0.1:8765

It asks for a list with reasons, says that its first item was chosen, and asks again. It needs grpcio, protobuf and the
stubs alone; ``clients.service.client`` is the same with fedrec's errors around it.
"""

import os
import sys

import grpc

from clients.service import device_pb2 as pb
from clients.service.device_pb2_grpc import DeviceStub

SECONDS = 2.0
"""How long an answer may take: always set a deadline."""


def main(target: str) -> None:
    """Talk to the service at ``target``."""
    token = os.environ.get("FEDREC_TOKEN")
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    # A Unix socket has no host name: say one, or gRPC sends the socket's path as one.
    options = (("grpc.default_authority", "localhost"),)
    with grpc.insecure_channel(target, options=options) as channel:
        device = DeviceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        reply = device.Recommend(pb.RecommendRequest(k=5, explain=True), timeout=SECONDS, metadata=metadata)
        for rank, pick in enumerate(reply.recommendations, 1):
            print(f"{rank}. {pick.title}: {'; '.join(reason.text for reason in pick.reasons)}")
        chosen = reply.recommendations[0].item
        device.RecordFeedback(pb.RecordFeedbackRequest(item=chosen, kind="view"), timeout=SECONDS, metadata=metadata)
        again = device.Recommend(pb.RecommendRequest(k=5), timeout=SECONDS, metadata=metadata)
        print("then:", ", ".join(pick.title for pick in again.recommendations))


if __name__ == "__main__":
    main(sys.argv[1])
