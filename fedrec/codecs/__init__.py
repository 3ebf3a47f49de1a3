"""Update codecs: fewer bytes on the way up, with the effect on sensitivity stated for each."""

from fedrec.codecs.bounded import bounded_roundtrip, encode_bounded
from fedrec.codecs.codec import Codec
from fedrec.codecs.registry import CODECS, codec_for
from fedrec.codecs.replies import reply_codec, round_codec

__all__ = ["CODECS", "Codec", "bounded_roundtrip", "codec_for", "encode_bounded", "reply_codec", "round_codec"]
