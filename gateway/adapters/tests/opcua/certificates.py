"""Certificates for the tests' server and its users: from themselves or from a CA, and valid as long as is said."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def _name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _builder(subject, issuer, key, days):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _store(folder, name, key, certificate):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}key.pem").write_bytes(pem)
    (folder / f"{name}cert.der").write_bytes(certificate.public_bytes(serialization.Encoding.DER))


def authority(folder):
    """The CA in a folder, made when there is none."""
    if not (folder / "ca-cert.der").exists():
        key, subject = _key(), _name("Test CA")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = (
            _builder(subject, subject, key, 300)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _store(folder, "ca-", key, made)
    key = serialization.load_pem_private_key((folder / "ca-key.pem").read_bytes(), None)
    return key, x509.load_der_x509_certificate((folder / "ca-cert.der").read_bytes())


def make(folder, name, uri, host, days=300, ca=None):
    """NAMEkey.pem and NAMEcert.der of an application or user."""
    key = _key()
    signer, issuer = (key, _name("asyncua test")) if ca is None else (ca[0], ca[1].subject)
    usage = x509.KeyUsage(True, True, True, True, False, ca is None, False, False, False)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = [x509.UniformResourceIdentifier(uri), _host(host)]
    made = (
        _builder(_name("asyncua test"), issuer, key, days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _store(folder, name, key, made)
