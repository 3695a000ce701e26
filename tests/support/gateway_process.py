"""A gateway in a process of its own, on a sink that takes its time. Prints its port."""

import asyncio
import signal
import sys

import uvloop

from services.gateway.serve import listen, serve
from services.settings import Gateway as GatewaySettings
from tests.support.http import World, source


async def main(seconds: float) -> None:
    world = World([source()], settings=GatewaySettings(port=0))
    world.sink.gate.clear()
    listener = listen(world.settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    stop_waiting = asyncio.create_task(_open_later(world, seconds))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await serve(world.ports, world.settings, listener, stop)
    stop_waiting.cancel()
    sys.stdout.write(f"{len(world.sink.records)} {world.sink.closed}\n")


async def _open_later(world: World, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        world.sink.gate.set()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1])))
