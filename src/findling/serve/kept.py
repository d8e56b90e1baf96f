"""An answer without its documents: what a cache keeps of it. They are fetched anew, by their rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

from findling.records import Answer

_DOCUMENT = b',"document":'


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """Rows of documents in one snapshot, and the ready-made JSON around each of them.

    `heads` are the hits up to their documents, `tail` is what follows all hits.
    """

    rows: list[int]
    heads: list[bytes]
    tail: bytes
    degraded: bool

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """All of an answer but the documents."""
        heads = []
        for hit in answer.hits:
            plain = {"id": hit.id, "rank": hit.rank, "score": hit.score, "scores": hit.scores}
            if hit.ranks is not None:
                plain["ranks"] = hit.ranks
            if hit.highlights:
                plain["highlights"] = hit.highlights
            heads.append(msgspec.json.encode(plain)[:-1] + _DOCUMENT)
        around = {
            "facets": {
                name: [{"value": value, "count": count} for value, count in counts]
                for name, counts in answer.facets.items()
            },
            "offset": answer.offset,
            "k": answer.k,
            "snapshot": answer.snapshot,
            "degraded": answer.degraded,
        }
        return cls(
            [hit.row for hit in answer.hits], heads, msgspec.json.encode(around)[1:-1], answer.degraded
        )

    def to_json(self, documents: Sequence[bytes], took_ms: float, cache: str) -> bytes:
        """The answer as HTTP gives it: joined, not built."""
        hits = b",".join(
            [head + document + b"}" for head, document in zip(self.heads, documents, strict=True)]
        )
        end = b',"cache":"%s","took_ms":%.3f}' % (cache.encode(), took_ms)
        return b'{"hits":[' + hits + b"]," + self.tail + end

    def to_bytes(self) -> bytes:
        """As a cache holds it: MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self | None:
        """What `to_bytes` gave; None for anything else."""
        try:
            return msgspec.msgpack.decode(content, type=cls)
        except msgspec.MsgspecError:
            return None
