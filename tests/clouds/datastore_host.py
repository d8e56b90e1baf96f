"""A Datastore of our own on loopback: the two gRPC calls that storing and fetching entities take."""

from __future__ import annotations

from concurrent import futures
from typing import Any

import grpc
from google.cloud.datastore_v1 import types

_SERVICE = "google.datastore.v1.Datastore"


class DatastoreHost:
    """Entities by kind and name; `calls` counts requests by their name."""

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str, str], Any] = {}
        self.calls: dict[str, int] = {"Lookup": 0, "Commit": 0}
        self.refuse = False
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        calls = {
            "Lookup": grpc.unary_unary_rpc_method_handler(
                self._lookup, types.LookupRequest.deserialize, types.LookupResponse.serialize
            ),
            "Commit": grpc.unary_unary_rpc_method_handler(
                self._commit, types.CommitRequest.deserialize, types.CommitResponse.serialize
            ),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, calls)])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()

    def _lookup(self, request: Any, context: Any) -> Any:
        self._check("Lookup", context)
        assert len(request.keys) <= 1000
        found, missing = [], []
        for key in request.keys:
            entity = self.entities.get(_name(key))
            if entity is None:
                missing.append(types.EntityResult(entity=types.Entity(key=key)))
            else:
                found.append(types.EntityResult(entity=entity))
        return types.LookupResponse(found=found, missing=missing)

    def _commit(self, request: Any, context: Any) -> Any:
        self._check("Commit", context)
        assert len(request.mutations) <= 500
        for mutation in request.mutations:
            self.entities[_name(mutation.upsert.key)] = mutation.upsert
        return types.CommitResponse(mutation_results=[types.MutationResult() for _ in request.mutations])

    def _check(self, call: str, context: Any) -> None:
        self.calls[call] += 1
        if self.refuse:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")


def _name(key: Any) -> tuple[str, str, str]:
    return key.partition_id.namespace_id, key.path[0].kind, key.path[0].name
