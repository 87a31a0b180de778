"""The other side of the golden matrix: pymodbus serves registers that Python's struct packed.

Serves Modbus TCP, and RTU and ASCII frames over TCP, all on the same registers. Prints one line of JSON: the ports, and
the cases with the value and the registers of each place. Then answers lines on standard input: `<case>` prints the
value that stands in the case's second place, where the tested side writes, and puts that back to what it was before;
`<case> <register>...` prints the value that these registers are. Orders are worked out from their letters here, and
nothing is shared with the tested side but the names.
"""

import asyncio
import json
import logging
import struct
import sys
import types

# pymodbus wants pyserial also where there is no serial line.
serial_asyncio = types.ModuleType("serial_asyncio")
serial_asyncio.create_serial_connection = None
sys.modules.setdefault("serial", types.ModuleType("serial"))
sys.modules.setdefault("serial_asyncio", serial_asyncio)

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server.async_io import ModbusTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

logging.disable(logging.CRITICAL)

# Where the tested side writes: as far behind what it reads.
WRITES = 20000
LONG = {"abcd": "abcdefgh", "cdab": "ghefcdab", "badc": "badcfehg", "dcba": "hgfedcba"}
NUMBERS = {
    "u16": ("H", [0, 1, 513, 65535]),
    "i16": ("h", [-32768, -2, 32767]),
    "u32": ("I", [0x01020304, 4294967295]),
    "i32": ("i", [-2147483648, -2, 2147483647]),
    "f32": ("f", [72.5, -0.1, 3.4e38, 1e-40]),
    "u64": ("Q", [0x0102030405060708, 18446744073709551615]),
    "i64": ("q", [-9223372036854775808, -2, 9223372036854775807]),
    "f64": ("d", [72.5, -0.1, 1e300, 5e-324]),
}
FOUR = ["abcd", "cdab", "badc", "dcba"]
EIGHT = ["abcdefgh", "ghefcdab", "badcfehg", "hgfedcba", "cdabghef", "dcbahgfe", "efghabcd", "fehgbadc"]


def letters(order, size):
    """The order in which the bytes come, by their letters."""
    if size == 2:
        return "ba" if order in ("badc", "dcba") else "ab"
    return LONG.get(order, order) if size == 8 else order


def onto_line(raw, order):
    return bytes(raw[ord(c) - 97] for c in letters(order, len(raw)))


def off_line(sent, order):
    raw = bytearray(len(sent))
    for byte, c in zip(sent, letters(order, len(sent))):
        raw[ord(c) - 97] = byte
    return bytes(raw)


def words(sent):
    return list(struct.unpack(f">{len(sent) // 2}H", sent))


def sent(registers):
    return struct.pack(f">{len(registers)}H", *registers)


def number(kind):
    code = NUMBERS[kind][0]
    return (
        lambda value, order: words(onto_line(struct.pack(">" + code, value), order)),
        lambda regs, order: struct.unpack(">" + code, off_line(sent(regs), order))[0],
    )


def bcd(digits):
    return (
        lambda value, order: words(onto_line(bytes.fromhex(f"{value:0{digits}d}"), order)),
        lambda regs, order: int(off_line(sent(regs), order).hex()),
    )


def text(length, codec, chars, fill):
    """Bytes of the text, then how they lie in registers."""

    def put(value, order):
        raw = value.encode(codec).ljust(length, fill)
        if chars == "both":
            raw = raw.ljust((length + 1) // 2 * 2, b"\0")
        elif chars == "low":
            raw = b"".join(bytes([0, b]) for b in raw)
        else:
            raw = b"".join(bytes([b, 0]) for b in raw)
        if order == "badc":
            raw = b"".join(raw[i + 1 : i + 2] + raw[i : i + 1] for i in range(0, len(raw), 2))
        return words(raw)

    def get(regs, order):
        raw = sent(regs)
        if order == "badc":
            raw = b"".join(raw[i + 1 : i + 2] + raw[i : i + 1] for i in range(0, len(raw), 2))
        raw = {"both": raw[:length], "low": raw[1::2], "high": raw[0::2]}[chars]
        return raw.rstrip(fill).decode(codec)

    return put, get


def cases():
    """Keys of the point, value, registers, and how registers are a value."""
    for kind, (code, values) in NUMBERS.items():
        size = struct.calcsize(">" + code)
        orders = {2: ["abcd", "badc"], 4: FOUR, 8: FOUR + EIGHT}[size]
        put, get = number(kind)
        for order in orders:
            for value in values:
                if kind == "f32":
                    value = struct.unpack(">f", struct.pack(">f", value))[0]
                yield {"type": kind, "order": order}, value, put, get
    for kind, digits, values in (("bcd16", 4, [0, 1234, 9999]), ("bcd32", 8, [12345678, 99999999])):
        put, get = bcd(digits)
        for order in ["abcd", "badc"] if digits == 4 else FOUR:
            for value in values:
                yield {"type": kind, "order": order}, value, put, get
    for length, codec, chars, trim, value in (
        (12, "utf-8", "both", "zeros", "LFP-280"),
        (7, "utf-8", "both", "zeros", "seven b"),
        (9, "utf-8", "both", "both", "涂布"),
        (6, "latin-1", "both", "spaces", "Öl 5"),
        (5, "utf-8", "low", "zeros", "slot"),
        (5, "latin-1", "high", "zeros", "µ42"),
    ):
        put, get = text(length, codec, chars, b" " if trim == "spaces" else b"\0")
        for order in ("abcd", "badc"):
            keys = {"type": "string", "order": order, "length": length, "trim": trim, "chars": chars}
            keys["encoding"] = "latin1" if codec == "latin-1" else "utf8"
            yield keys, value, put, get
    # Mantissa and exponent, side by side either way round.
    for value, mantissa, exponent in ((72.5, 725, -1), (-0.003, -3, -3), (4000.0, 4, 3)):
        put = lambda _, order, m=mantissa, e=exponent: words(struct.pack(">hh", m, e))
        get = lambda regs, order: pair(struct.unpack(">hh", sent(regs)))
        yield {"type": "i16", "exponent": 1}, value, put, get
        put = lambda _, order, m=mantissa, e=exponent: words(struct.pack(">hi", e, m))
        get = lambda regs, order: pair(struct.unpack(">hi", sent(regs))[::-1])
        yield {"type": "i32", "exponent": -1}, value, put, get
    for value in (True, False):
        yield {"type": "bool"}, value, lambda v, o: [int(v)], lambda r, o: bool(r[0])
    # One bit of a register whose others must stay as they are.
    for bit in (0, 7, 8, 15):
        put = lambda v, o, b=bit: [1 << b]
        get = lambda r, o, b=bit: {0xAAAA | 1 << b: True, 0xAAAA & ~(1 << b): False}.get(r[0], r[0])
        yield {"type": "bool", "bit": bit}, True, put, get


def pair(parts):
    mantissa, exponent = parts
    return float(f"{mantissa}e{exponent}")


async def main():
    holding = [0] * 40000
    coils = [n % 3 == 0 for n in range(200)]
    told, known, at = [], [], 3
    for n, (keys, value, put, get) in enumerate(cases()):
        registers = put(value, keys.get("order", "abcd"))
        holding[at : at + len(registers)] = registers
        if "bit" in keys:
            holding[at + WRITES] = 0xAAAA
        told.append({"keys": keys, "address": at, "count": len(registers), "value": value, "registers": registers})
        known.append((at + WRITES, len(registers), keys.get("order", "abcd"), get))
        at += len(registers) + n % 3
    before = list(holding)
    block = ModbusSequentialDataBlock(0, holding)
    unit = ModbusSlaveContext(
        di=ModbusSequentialDataBlock(0, [not c for c in coils]),
        co=ModbusSequentialDataBlock(0, coils),
        hr=block,
        ir=ModbusSequentialDataBlock(0, [1000 + n for n in range(200)]),
        zero_mode=True,
    )
    context = ModbusServerContext(slaves={17: unit}, single=False)
    ports, serving = {}, []
    for name, framer in (("tcp", ModbusSocketFramer), ("rtu", ModbusRtuFramer), ("ascii", ModbusAsciiFramer)):
        server = ModbusTcpServer(context, framer=framer, address=("127.0.0.1", 0))
        serving.append(asyncio.ensure_future(server.serve_forever()))
        await server.serving
        ports[name] = server.server.sockets[0].getsockname()[1]
    print(json.dumps({"ports": ports, "cases": told}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        case, *words = map(int, line.split())
        place, count, order, get = known[case]
        if words:
            print(json.dumps(get(words, order)), flush=True)
            continue
        print(json.dumps(get(block.getValues(place, count), order)), flush=True)
        block.setValues(place, before[place : place + count])


asyncio.run(main())
