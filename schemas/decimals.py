"""Decimal columns as Avro's bytes: big-endian two's complement of the unscaled number.

Avro 1.12, "Decimal". Polars 2.1 writes some numbers without their sign bit (unscaled 32,768 to
65,535, 2^31 to 2^32 and so on), so that 655.35 comes back as -0.01. These bytes are the shortest
right ones, as fastavro's are.
"""

import numpy as np
import polars as pl

_UNSCALED, _BYTES = pl.col("unscaled"), pl.col("bytes")
_WORD = 2**64
_DIGITS_OF_WORD = 18  # any number of so many digits has 64 bits


def avro_bytes(values: pl.Series) -> pl.Series:
    """A decimal column as binary; nulls stay."""
    frame = pl.DataFrame({"unscaled": values.to_physical()})
    known = _UNSCALED.fill_null(0)
    if isinstance(values.dtype, pl.Decimal) and values.dtype.precision <= _DIGITS_OF_WORD:
        whole = frame.select(known.cast(pl.Int64)).to_series().to_numpy()
        padded = whole.astype(">i8").view(np.uint8).reshape(-1, 8)
    else:
        high, low = (known // _WORD).cast(pl.Int64), (known % _WORD).cast(pl.UInt64)
        halves = frame.select(high.alias("high"), low.alias("low"))
        pairs = np.empty((len(values), 2), dtype=">u8")
        pairs[:, 0] = halves["high"].to_numpy().view(np.uint64)
        pairs[:, 1] = halves["low"].to_numpy()
        padded = pairs.view(np.uint8).reshape(-1, 16)
    wide = pl.Series("bytes", padded).cast(pl.List(pl.UInt8)).cast(pl.Binary)
    shortest = pl.when(_UNSCALED.is_not_null()).then(_BYTES.bin.tail(_size()))
    return frame.with_columns(wide).select(shortest).to_series()


def _size() -> pl.Expr:
    """How many bytes hold the number with its sign."""
    magnitude = pl.when(_UNSCALED < 0).then(-1 - _UNSCALED).otherwise(_UNSCALED)
    bits = 128 - magnitude.bitwise_leading_zeros().cast(pl.Int64)
    return bits // 8 + 1
