"""A TCP proxy that fails on demand: it cuts, stalls, slows and refuses connections. Standard library only; loopback only."""

import asyncio
import random
import socket
import struct
import threading

# Chunks of 64 KiB that one direction of one connection holds back at most; then the sender feels it.
HELD_MAX = 256
# Closing sends RST, not FIN.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Stands before one server, on a port of its own that stays the same whatever becomes of the server.

    What it can do to the connections:
    - `cut()`: breaks all of them at once (RST), as a failing node does. New ones are taken.
    - `stall()`: takes what is sent and passes nothing on, in both directions, as a half-open connection does; new connections are
      taken and stalled too. `go_on()` ends it: what was held back by then is passed on.
    - `slow(seconds)`: what is passed on comes so much later, a seeded half more or less, in its order; `slow(0)` ends it.
    - `close()`: new connections are refused and old ones broken, as when the server is scaled to zero; `open()` ends it.
    """

    def __init__(self, server, seed=0, tls=None):
        """`server`: host:port that is connected to, for each connection anew, so that it may be set again. `tls`: context of a TLS server,
        which callers then speak to; what lies behind is spoken to without."""
        self.server = server
        self.tls = tls
        self.cuts = 0
        self.draw = random.Random(seed)
        self.delay_s = 0.0
        self.passing = None
        self.listener = None
        self.ends = set()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.port = None
        self._do(self._start())

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def cut(self):
        """Returns how many connections were broken."""
        return self._do(self._cut())

    def stall(self):
        self._do(self._pass(False))

    def go_on(self):
        self._do(self._pass(True))

    def slow(self, seconds):
        self.delay_s = seconds

    def close(self):
        self._do(self._close())

    def open(self):
        self._do(self._start())

    def _do(self, task):
        return asyncio.run_coroutine_threadsafe(task, self.loop).result(timeout=30)

    async def _start(self):
        if self.passing is None:
            self.passing = asyncio.Event()
            self.passing.set()
        self.listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port or 0, ssl=self.tls)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def _close(self):
        self.listener.close()
        await self._cut()

    async def _pass(self, passing):
        (self.passing.set if passing else self.passing.clear)()

    async def _cut(self):
        ends, self.ends = self.ends, set()
        for end in ends:
            # one that its peer has broken just now has no socket any more
            if not end.transport.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()
        broken = (len(ends) + 1) // 2
        self.cuts += broken
        return broken

    async def _serve(self, reader, writer):
        host, port = self.server.rsplit(":", 1)
        try:
            server_reader, server_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, server_writer}
        self.ends |= mine
        ways = [asyncio.ensure_future(self._carry(*way)) for way in ((reader, server_writer), (server_reader, writer))]
        await asyncio.gather(*ways, return_exceptions=True)
        for end in mine:
            end.close()
        self.ends -= mine

    async def _carry(self, reader, writer):
        """One direction until its end."""
        held = asyncio.Queue(HELD_MAX)
        passing_on = asyncio.ensure_future(self._pass_on(held, writer))
        try:
            while chunk := await reader.read(1 << 16):
                late = self.delay_s * self.draw.uniform(0.5, 1.5)
                await held.put((self.loop.time() + late, chunk))
            await held.put((0, b""))
            await passing_on
        except OSError:
            passing_on.cancel()
            writer.transport.abort()

    async def _pass_on(self, held, writer):
        while True:
            due, chunk = await held.get()
            await asyncio.sleep(max(0, due - self.loop.time()))
            await self.passing.wait()
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()
