"""Recoverable ECDSA over secp256k1 with RFC 6979 nonces, and zbase32 (spec/teos.md section 4).

Plain arithmetic, for tests only: slow, and not constant in time.
"""

import hashlib
import hmac

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)

ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


class BadSignature(ValueError):
    pass


# Points in Jacobian coordinates (X, Y, Z): x = X/Z^2, y = Y/Z^3.  Z = 0 is infinity.


def _double(p):
    x, y, z = p
    if not y or not z:
        return (0, 1, 0)
    s = 4 * x * y * y % P
    m = 3 * x * x % P
    x3 = (m * m - 2 * s) % P
    return (x3, (m * (s - x3) - 8 * pow(y, 4, P)) % P, 2 * y * z % P)


def _add(p, q):
    if not p[2]:
        return q
    if not q[2]:
        return p
    z1, z2 = p[2] * p[2] % P, q[2] * q[2] % P
    u1, u2 = p[0] * z2 % P, q[0] * z1 % P
    s1, s2 = p[1] * z2 * q[2] % P, q[1] * z1 * p[2] % P
    if u1 == u2:
        return _double(p) if s1 == s2 else (0, 1, 0)
    h, r = (u2 - u1) % P, (s2 - s1) % P
    h2 = h * h % P
    h3, v = h * h2 % P, u1 * h2 % P
    x3 = (r * r - h3 - 2 * v) % P
    return (x3, (r * (v - x3) - s1 * h3) % P, h * p[2] * q[2] % P)


def multiply(point, k):
    """k times an affine point; None is infinity."""
    total, addend = (0, 1, 0), (point[0], point[1], 1)
    while k:
        if k & 1:
            total = _add(total, addend)
        addend = _double(addend)
        k >>= 1
    return _affine(total)


def _affine(p):
    if not p[2]:
        return None
    inverse = pow(p[2], -1, P)
    return (p[0] * inverse**2 % P, p[1] * inverse**3 % P)


def compress(point):
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def lift(x, odd):
    """The point with this x and parity of y."""
    if x >= P:
        raise BadSignature("x is not a field element")
    square = (pow(x, 3, P) + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        raise BadSignature("not on the curve")
    return (x, y if (y & 1) == odd else P - y)


def public_key(secret):
    return compress(multiply(G, secret))


def _nonces(secret, digest):
    """RFC 6979 with SHA-256, no extra entropy."""
    key, value = bytes(32), b"\x01" * 32
    seed = secret.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    for tag in (b"\x00", b"\x01"):
        key = hmac.digest(key, value + tag + seed, "sha256")
        value = hmac.digest(key, value, "sha256")
    while True:
        value = hmac.digest(key, value, "sha256")
        k = int.from_bytes(value, "big")
        if 0 < k < N:
            yield k
        key = hmac.digest(key, value + b"\x00", "sha256")
        value = hmac.digest(key, value, "sha256")


def sign_digest(secret, digest):
    """65 bytes: header, r, s; low s."""
    z = int.from_bytes(digest, "big")
    for k in _nonces(secret, digest):
        point = multiply(G, k)
        r = point[0] % N
        s = pow(k, -1, N) * (z + r * secret) % N
        if r and s:
            recovery = (2 if point[0] >= N else 0) | (point[1] & 1)
            if s > N // 2:
                s, recovery = N - s, recovery ^ 1
            return bytes([31 + recovery]) + r.to_bytes(32, "big") + s.to_bytes(32, "big")
    raise AssertionError("unreachable")


def recover_digest(signature, digest):
    """The 33-byte public key that made this signature over this digest."""
    if len(signature) != 65:
        raise BadSignature(f"{len(signature)} bytes, not 65")
    if not 31 <= signature[0] <= 34:
        raise BadSignature(f"header byte {signature[0]} outside 31..34")
    recovery = signature[0] - 31
    r, s = int.from_bytes(signature[1:33], "big"), int.from_bytes(signature[33:], "big")
    if not 0 < r < N or not 0 < s < N:
        raise BadSignature("r or s outside 1..n-1")
    x = r + (N if recovery & 2 else 0)
    point = lift(x, recovery & 1)
    inverse = pow(r, -1, N)
    z = int.from_bytes(digest, "big")
    a = multiply(point, s * inverse % N)
    b = multiply(G, -z * inverse % N)
    jacobian = _add((*a, 1) if a else (0, 1, 0), (*b, 1) if b else (0, 1, 0))
    key = _affine(jacobian)
    if key is None:
        raise BadSignature("the key is the point at infinity")
    return compress(key)


def zbase32_encode(data):
    bits = int.from_bytes(data, "big")
    spare = -len(data) * 8 % 5
    bits <<= spare
    count = (len(data) * 8 + spare) // 5
    return "".join(ZBASE32[bits >> 5 * (count - 1 - i) & 31] for i in range(count))


def zbase32_decode(text):
    if len(text) % 8 in (1, 3, 6):
        raise BadSignature("impossible length")
    bits = 0
    for c in text.lower():
        value = ZBASE32.find(c)
        if value < 0:
            raise BadSignature(f"{c!r} is not in the alphabet")
        bits = bits << 5 | value
    spare = len(text) * 5 % 8
    if bits & ((1 << spare) - 1):
        raise BadSignature("spare bits are not zero")
    return (bits >> spare).to_bytes(len(text) * 5 // 8, "big")


def message_digest(message):
    inner = hashlib.sha256(b"Lightning Signed Message:" + message).digest()
    return hashlib.sha256(inner).digest()


def sign(secret, message):
    """The Lightning "signmessage" text over message."""
    return zbase32_encode(sign_digest(secret, message_digest(message)))


def recover(message, text):
    return recover_digest(zbase32_decode(text), message_digest(message))
