"""asyncua serving 10,000 variables of which 1,000 change each 100 ms; prints its port."""
import asyncio
import logging
import sys

from asyncua import Server, ua

logging.disable(logging.CRITICAL)


async def main():
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await server.register_namespace("urn:peer")
    folder = await server.nodes.objects.add_folder(2, "points")
    nodes = []
    for n in range(10_000):
        node = await folder.add_variable(ua.NodeId(f"p{n}", 2), f"p{n}", ua.Variant(0, ua.VariantType.UInt64))
        nodes.append(node.nodeid)
    async with server:
        print(server.bserver._server.sockets[0].getsockname()[1], flush=True)
        n = 0
        loop = asyncio.get_running_loop()
        asyncio.ensure_future(loop.run_in_executor(None, sys.stdin.read))
        due = loop.time()
        fast = nodes[::10]
        while True:
            n += 1
            for node in fast:
                await server.write_attribute_value(node, ua.DataValue(ua.Variant(n, ua.VariantType.UInt64)))
            due += 0.1
            await asyncio.sleep(max(0, due - loop.time()))


asyncio.run(main())
