"""A Modbus TCP device that we did not write: pymodbus with 200 registers and bits of each table, from 0 on.

Prints its port on one line and serves until its standard input ends.
"""

import asyncio
import sys
import types

# pymodbus wants pyserial also where there is no serial line.
serial_asyncio = types.ModuleType("serial_asyncio")
serial_asyncio.create_serial_connection = None
sys.modules.setdefault("serial", types.ModuleType("serial"))
sys.modules.setdefault("serial_asyncio", serial_asyncio)

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server.async_io import ModbusTcpServer
from pymodbus.transaction import ModbusSocketFramer


async def main():
    def block(values):
        return ModbusSequentialDataBlock(0, values)

    unit = ModbusSlaveContext(
        di=block([n % 3 == 0 for n in range(200)]),
        co=block([False] * 200),
        hr=block([0] * 200),
        ir=block([1000 + n for n in range(200)]),
        zero_mode=True,
    )
    context = ModbusServerContext(slaves={1: unit}, single=False)
    server = ModbusTcpServer(context, framer=ModbusSocketFramer, address=("127.0.0.1", 0))
    serving = asyncio.ensure_future(server.serve_forever())
    await server.serving
    print(server.server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    serving.cancel()


asyncio.run(main())
