"""TLS in front of a server that has none: an authority and a certificate made for the test, and what ends the TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 10.0
_BLOCK_BYTES = 2**16


@dataclass(frozen=True)
class Certificates:
    """Files of an authority and of a server that it vouches for.

    Attributes:
        authority: the authority's certificate.
        chain: the server's certificate and its key.
    """

    authority: Path
    chain: Path

    @classmethod
    def make(cls, folder: Path, *, host: str = HOST) -> Certificates:
        """Make both, valid for a day.

        Args:
            folder: where the files go; must exist.
            host: the address that the server's certificate is for.
        """
        authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca = x509.BasicConstraints(ca=True, path_length=None)
        authority = _certificate("authority", authority_key, "authority", authority_key, ca)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        server = _certificate("server", server_key, "authority", authority_key, names)
        made = cls(folder / "authority.pem", folder / "server.pem")
        made.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        made.chain.write_bytes(server.public_bytes(serialization.Encoding.PEM) + _key_bytes(server_key))
        return made

    @property
    def option(self) -> str:
        """The authority as an option of a URL."""
        return f"ssl_ca_certs={quote(str(self.authority))}"


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    )
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class TlsFront:
    """Ends TLS on a free port of 127.0.0.1 and passes what is inside on to a server; a context manager.

    Args:
        certificates: what it shows.
        port: of the server, on 127.0.0.1.
        read_bytes: how much it reads at a time from a client.
        pause_s: how long it waits before it reads on.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self, certificates: Certificates, port: int, *, read_bytes: int = _BLOCK_BYTES, pause_s: float = 0.0
    ) -> None:
        self.port = free_port()
        self._target = port
        self._read_bytes = read_bytes
        self._pause_s = pause_s
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.chain)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="tls-front", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(WAIT_S)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda *_: None)  # clients that distrust the certificate are expected
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(
            self._serve, HOST, self.port, ssl=self._context, limit=self._read_bytes, ssl_shutdown_timeout=0.1
        )
        self._ready.set()
        await self._stopped.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            from_server, to_server = await asyncio.open_connection(HOST, self._target)
            try:
                ways = [self._pass_on(reader, to_server, self._pause_s), self._pass_on(from_server, writer, 0.0)]
                await asyncio.wait([asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
            finally:
                to_server.transport.abort()
                writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pause_s: float) -> None:
        with suppress(OSError):
            while data := await reader.read(self._read_bytes):
                writer.write(data)
                await writer.drain()
                if pause_s:
                    await asyncio.sleep(pause_s)
