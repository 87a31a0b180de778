"""The plant of the boot test, on the host: a Modbus TCP device, and a Modbus RTU device at the other end of the box's serial line.

Written after the standard and not after the gateway: functions 03, 06 and 16. Each read raises register 9 by one.
"""

import socketserver
import struct
import threading


def crc(data):
    """Of a serial frame (Modbus over serial line V1.02, 6.2.2)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


class Registers:
    """From `first` upwards, `more` of them after register 9."""

    def __init__(self, first, more=0):
        self.lock = threading.Lock()
        self.values = [first + n for n in range(9)] + [0] + [first + n for n in range(10, 10 + more)]

    def answer(self, pdu):
        function, start, count = struct.unpack(">BHH", pdu[:5])
        if function == 6:
            count, words = 1, [count]
        elif function == 16:
            words = struct.unpack(f">{count}H", pdu[6:])
        elif function != 3:
            return struct.pack(">BB", function | 0x80, 1)
        if start + count > len(self.values) or count == 0:
            return struct.pack(">BB", function | 0x80, 2)
        with self.lock:
            if function != 3:
                self.values[start : start + count] = words
                return pdu[:5]
            self.values[9] = (self.values[9] + 1) & 0xFFFF
            words = self.values[start : start + count]
        return struct.pack(f">BB{count}H", function, 2 * count, *words)


def exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def tcp(registers):
    class Device(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                while True:
                    transaction, protocol, length, unit = struct.unpack(">HHHB", exactly(self.request, 7))
                    answer = registers.answer(exactly(self.request, length - 1))
                    self.request.sendall(struct.pack(">HHHB", transaction, protocol, len(answer) + 1, unit) + answer)
            except OSError:
                pass

    return Device


def rtu(registers):
    """Reads alone: a frame of eight bytes."""

    class Device(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                while True:
                    frame = exactly(self.request, 8)
                    # What the console says while the box starts is no frame: look for the next place where one begins.
                    while crc(frame[:6]) != frame[6:]:
                        frame = frame[1:] + exactly(self.request, 1)
                    answer = frame[:1] + registers.answer(frame[1:6])
                    self.request.sendall(answer + crc(answer))
            except OSError:
                pass

    return Device


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve(handler):
    """Serves on a free port of this machine; gives the port."""
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
