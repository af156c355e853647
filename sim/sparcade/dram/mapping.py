"""Address mappings: which bits of a byte address choose channel, bank, row and column.

A mapping is a text, fields from the lowest bit up, such as `channel,pc,bg,column,ba,row`. `column:2` takes two bits
of a field, the bare name the rest of it. After a `;` come XOR hashes: `ba.0^=row&0x5555` flips bit 0 of the bank by
the parity of the masked row bits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparcade._jit import kernel
from sparcade.dram.device import Device
from sparcade.errors import ConfigError, did_you_mean

Ints = npt.NDArray[np.int64]
#: Fields of a bank, from the highest: pseudo-channel, rank, SID, bank group, bank.
BANK_FIELDS = ("pc", "rank", "sid", "bg", "ba")
FIELDS = ("channel", *BANK_FIELDS, "row", "column")
NAMED = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR", "PcBgCo")
#: Addresses are looked up byte by byte.
_BYTES = 6


@dataclass(frozen=True, slots=True)
class Hash:
    """Bit `bit` of `target` is flipped by the parity of `source` & `mask`."""

    target: str
    bit: int
    source: str
    mask: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Bit order (field, bits; lowest first, above the bytes of a column step) and hashes."""

    order: tuple[tuple[str, int], ...]
    hashes: tuple[Hash, ...]


def check_channels(channels: int, *, where: str) -> None:
    """Raise a `ConfigError` for a number of channels that addresses cannot interleave over."""
    if not 1 <= channels <= 1024 or channels & (channels - 1):
        raise ConfigError(
            "the number of channels is not a power of two",
            where=where,
            expected="1, 2, 4, ..., 1024: channels interleave on address bits",
            got=str(channels),
            remedy="use 8 or 16",
        )


def field_bits(device: Device, channels: int) -> dict[str, int]:
    """Width of every field [bit]."""
    organisation = device.organisation
    counts = {
        "channel": channels,
        "pc": organisation.pseudo_channels,
        "rank": organisation.ranks,
        "sid": organisation.stack_ids,
        "bg": organisation.bank_groups,
        "ba": organisation.banks,
        "row": organisation.rows,
        "column": organisation.columns // organisation.prefetch,
    }
    return {name: count.bit_length() - 1 for name, count in counts.items()}


def parse_mapping(text: str, device: Device, channels: int) -> Mapping:
    """The mapping of a name or a text for a device.

    Raises
    ------
    ConfigError
        For an unknown name or field, bits that do not add up to the device, or a hash that cannot be undone.
    """
    bits = field_bits(device, channels)
    organisation = device.organisation
    named = _named(text, bits, (organisation.transaction_bytes // organisation.step_bytes).bit_length() - 1)
    if named is not None:
        return named
    order_text, _, hash_text = text.partition(";")
    if order_text.strip() in NAMED:
        raise _error(text, "a name takes no hashes", "a bit order in front of the hashes", "write the order out")
    order: list[tuple[str, int]] = []
    left = dict(bits)
    for part in order_text.split(","):
        name, colon, count = part.strip().partition(":")
        if name not in FIELDS:
            raise _error(
                text,
                f"{name!r} is no field",
                f"one of {', '.join(FIELDS)}; or {', '.join(NAMED)}",
                did_you_mean(name, (*FIELDS, *NAMED)),
            )
        width = left[name]
        if colon:
            width = int(count) if re.fullmatch(r"[0-9]{1,3}", count) else -1
        spent = not colon and width == 0 < bits[name]
        if spent or not 0 <= width <= left[name]:
            raise _error(
                text,
                f"{part.strip()!r} asks for bits that {name} does not have",
                f"0 to {left[name]} bits, {left[name]} being left of {bits[name]}",
                "correct the width",
            )
        left[name] -= width
        order.append((name, width))
    missing = [name for name, width in left.items() if width]
    if missing:
        raise _error(
            text,
            f"{missing[0]} is not complete",
            f"all {bits[missing[0]]} bits of {missing[0]} of {device.name!r} with {channels} channels",
            f"add {missing[0]} to the order",
        )
    return Mapping(
        tuple(order), tuple(_parse_hash(part.strip(), text, bits) for part in hash_text.split(";") if part.strip())
    )


def _named(name: str, bits: dict[str, int], inner: int) -> Mapping | None:
    """A mapping by name; `inner`: column bits inside one transaction, which stay below the channel."""
    whole = {field: (field, bits[field]) for field in FIELDS}
    upper = (whole["pc"], whole["rank"], whole["sid"])
    below, column = (("column", inner), whole["channel"]), ("column", bits["column"] - inner)
    if name == "RoBaRaCoCh":
        return Mapping((*below, column, *upper, whole["bg"], whole["ba"], whole["row"]), ())
    if name == "ChRaBaRoCo":
        return Mapping(
            (
                whole["column"],
                whole["row"],
                whole["ba"],
                whole["bg"],
                whole["sid"],
                whole["rank"],
                whole["pc"],
                whole["channel"],
            ),
            (),
        )
    if name == "PcBgCo":
        hashes = tuple(
            Hash("ba", bit, "row", sum(1 << row for row in range(bit, bits["row"], 2)))
            for bit in range(min(2, bits["ba"]))
        )
        return Mapping(
            (*below, whole["pc"], whole["bg"], column, whole["ba"], whole["rank"], whole["sid"], whole["row"]), hashes
        )
    if name == "MOP4CLXOR":
        low = min(2, column[1])
        order = (*below, ("column", low), *upper, whole["bg"], whole["ba"], ("column", column[1] - low), whole["row"])
        targets = [(field, bit) for field in ("pc", "rank", "sid", "bg", "ba", "row") for bit in range(bits[field])]
        return Mapping(
            order, tuple(Hash(*target, "column", 1 << k) for k, target in enumerate(targets[: bits["column"]]))
        )
    return None


_HASH = re.compile(r"(\w+)\.(\d{1,2})\^=(\w+)&(0x[0-9a-fA-F]{1,12}|[1-9]\d{0,11})", re.ASCII)


def _parse_hash(part: str, text: str, bits: dict[str, int]) -> Hash:
    found = _HASH.fullmatch(part.replace(" ", ""))
    if found is None:
        raise _error(
            text, f"{part!r} is no hash", "FIELD.BIT^=FIELD&MASK, such as ba.0^=row&0x5555", "correct the hash"
        )
    target, bit, source, mask = found[1], int(found[2]), found[3], int(found[4], 16 if found[4][:2] == "0x" else 10)
    for name in (target, source):
        if name not in FIELDS:
            raise _error(text, f"{name!r} is no field", f"one of {', '.join(FIELDS)}", did_you_mean(name, FIELDS))
    if bit >= bits[target] or not 0 < mask < 1 << bits[source]:
        raise _error(
            text,
            f"{part!r} reaches beyond its fields",
            f"{target} has {bits[target]} bits, {source} {bits[source]}",
            "correct the bit or the mask",
        )
    return Hash(target, bit, source, mask)


def _error(text: str, what: str, expected: str, remedy: str) -> ConfigError:
    return ConfigError(
        f"the address mapping is wrong: {what}",
        where=f"mapping {text!r}",
        expected=expected,
        got=repr(text),
        remedy=remedy,
    )


@dataclass(frozen=True, slots=True)
class AddressMap:
    """A mapping as lookup tables: every place is a XOR of one table entry per address byte.

    A place is one integer: channel | bank (flat over pc or rank, SID, bank group, bank) | row | column.
    """

    table: Ints  #: [bytes of an address, 256] place of each byte value
    address_bits: int
    column_shift: int  #: bits of the column
    row_shift: int  #: bits of row and column
    bank_shift: int  #: bits of bank, row and column

    @property
    def address_limit(self) -> int:
        """Bytes of all channels: the first address beyond the devices."""
        return 1 << self.address_bits


def address_map(mapping: Mapping, device: Device, channels: int) -> AddressMap:
    """Build the lookup tables."""
    bits = field_bits(device, channels)
    step_shift = device.organisation.step_bytes.bit_length() - 1
    address_bits = step_shift + sum(bits.values())
    if address_bits > 8 * _BYTES:
        raise ConfigError(
            "the memory is too large",
            where="channels",
            got=f"2^{address_bits} bytes",
            expected=f"at most 2^{8 * _BYTES} bytes in all channels",
            remedy="use fewer channels",
        )
    images = [_place(mapping, bits, (1 << bit) >> step_shift) for bit in range(address_bits)]
    if _rank(images) < address_bits - step_shift:
        raise ConfigError(
            "the address mapping is wrong: two addresses share a place",
            where=f"mapping of {device.name!r}",
            expected="hashes that can be undone",
            got=f"hashes that lose {address_bits - step_shift - _rank(images)} bits",
            remedy="do not hash two fields with each other, or a field with itself",
        )
    images += [0] * (8 * _BYTES - address_bits)
    table = np.zeros((_BYTES, 256), np.int64)
    for byte in range(_BYTES):
        for bit in range(8):
            table[byte, np.arange(256) >> bit & 1 == 1] ^= images[8 * byte + bit]
    bank_bits = sum(bits[name] for name in BANK_FIELDS)
    row_shift = bits["row"] + bits["column"]
    return AddressMap(table, address_bits, bits["column"], row_shift, row_shift + bank_bits)


def _place(mapping: Mapping, bits: dict[str, int], address: int) -> int:
    """Place of an address counted in column steps; linear over XOR."""
    value, filled = dict.fromkeys(FIELDS, 0), dict.fromkeys(FIELDS, 0)
    for name, width in mapping.order:
        value[name] |= (address & (1 << width) - 1) << filled[name]
        filled[name] += width
        address >>= width
    flips = [(entry, (value[entry.source] & entry.mask).bit_count() & 1) for entry in mapping.hashes]
    for entry, flip in flips:
        value[entry.target] ^= flip << entry.bit
    place = 0
    for name in FIELDS:
        place = place << bits[name] | value[name]
    return place


def _rank(rows: list[int]) -> int:
    """Rank of a matrix over GF(2), its rows given as integers."""
    basis: list[int] = []
    for row in rows:
        for pivot in basis:
            row = min(row, row ^ pivot)
        if row:
            basis.append(row)
    return len(basis)


@kernel
def place_of(table: Ints, address: int) -> int:
    """Place of a byte address (see `AddressMap`)."""
    return (
        table[0, address & 255]
        ^ table[1, (address >> 8) & 255]
        ^ table[2, (address >> 16) & 255]
        ^ table[3, (address >> 24) & 255]
        ^ table[4, (address >> 32) & 255]
        ^ table[5, (address >> 40) & 255]
    )
