"""Sends a server something that can be asked for: python3 schemathesis_seed.py URL TENANT

A remote write 1.0 request by hand: floats, a native histogram, an exemplar, metadata.
"""
import struct
import sys
import time
import urllib.request


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def message(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def number(field, value):
    return varint(field << 3) + varint(value)


def double(field, value):
    return varint(field << 3 | 1) + struct.pack('<d', value)


def series(labels, *content):
    pairs = (message(1, message(1, name.encode()) + message(2, value.encode())) for name, value in sorted(labels.items()))
    return message(1, b''.join(pairs) + b''.join(content))


def snappy(text):
    """A block of literals only."""
    out = varint(len(text))
    for at in range(0, len(text), 60):
        piece = text[at:at + 60]
        out += bytes([(len(piece) - 1) << 2]) + piece
    return out


def main(url, tenant):
    now = int(time.time() * 1000)
    request = b''
    for instance in 'abc':
        samples = [message(2, double(1, n * 1.5) + number(2, now - (20 - n) * 15_000)) for n in range(20)]
        exemplar = message(3, message(1, message(1, b'trace_id') + message(2, b'1')) + double(2, 1.5) + number(3, now))
        request += series({'__name__': 'up', 'instance': instance, 'job': 'node'}, *samples, exemplar)
    buckets = message(11, number(1, 0) + number(2, 2)) + message(12, b'\x02\x02')
    histogram = number(1, 3) + double(3, 4.5) + number(4, 2) + number(6, 0) + buckets + number(15, now)
    request += series({'__name__': 'latency_seconds'}, message(4, histogram))
    request += message(3, number(1, 2) + message(2, b'up') + message(4, b'Whether it answers.'))
    headers = {'Content-Type': 'application/x-protobuf', 'Content-Encoding': 'snappy', 'X-Scope-OrgID': tenant}
    write = urllib.request.Request(url + '/api/v1/write', data=snappy(request), headers=headers)
    with urllib.request.urlopen(write) as answer:
        assert answer.status == 204, answer.status


main(*sys.argv[1:])
