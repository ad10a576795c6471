"""Certificates for servers of the tests: made by openssl, and trusted by those alone who have them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """`file` is the certificate and its own authority, `key` its private key."""

    file: Path
    key: Path


def make_certificate(directory: Path, name: str) -> Certificate:
    """Make a certificate for `name`, a host or an IP address.

    Skips the test without openssl, unless REQUIRE_SERVERS is set.
    """
    if shutil.which("openssl") is None:
        if os.environ.get("REQUIRE_SERVERS"):
            pytest.fail("there is no openssl on the PATH")
        pytest.skip("there is no openssl on the PATH")
    made = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    kind = "IP" if name[0].isdigit() else "DNS"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName={kind}:{name}", "-keyout", str(made.key), "-out", str(made.file)]
    subprocess.run(command, check=True, capture_output=True)
    made.key.chmod(0o600)
    return made
