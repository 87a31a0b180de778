//! As much of MQTT 3.1.1 as a link needs that tells packets apart: where one ends, and what a PUBLISH carries.

/// Bytes of the packet at the beginning of `bytes`; none while not all of it is there.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (header, remaining) = remaining(bytes)?;
    (bytes.len() >= header + remaining).then_some(header + remaining)
}

/// Bytes of the fixed header, and how many follow it.
fn remaining(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (i, byte) in bytes.iter().skip(1).take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((i + 2, value));
        }
    }
    None
}

/// What a PUBLISH carries, and its packet identifier; none of other packets.
pub fn publish(packet: &[u8]) -> Option<(Option<u16>, &[u8])> {
    if packet.first()? >> 4 != 3 {
        return None;
    }
    let (header, _) = remaining(packet)?;
    let topic = usize::from(u16::from_be_bytes([*packet.get(header)?, *packet.get(header + 1)?]));
    let at = header + 2 + topic;
    if packet[0] & 0b110 == 0 {
        return Some((None, packet.get(at..)?));
    }
    let id = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    Some((Some(id), packet.get(at + 2..)?))
}

/// The same PUBLISH with something else in it.
pub fn replaced(packet: &[u8], payload: &[u8]) -> Vec<u8> {
    let (header, _) = remaining(packet).expect("a whole packet");
    let (_, old) = publish(packet).expect("a PUBLISH");
    let before = &packet[header..packet.len() - old.len()];
    let mut out = vec![packet[0]];
    put_length(before.len() + payload.len(), &mut out);
    out.extend(before);
    out.extend(payload);
    out
}

fn put_length(mut left: usize, packet: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(left & 0x7f).expect("seven bits");
        left >>= 7;
        packet.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            break;
        }
    }
}

/// A PUBLISH of quality 0.
pub fn message(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x30];
    put_length(2 + topic.len() + payload.len(), &mut packet);
    packet.extend(u16::try_from(topic.len()).expect("a short topic").to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(payload);
    packet
}

/// A PUBLISH of quality 1.
pub fn acknowledged(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x32];
    put_length(2 + topic.len() + 2 + payload.len(), &mut packet);
    packet.extend(u16::try_from(topic.len()).expect("a short topic").to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A CONNECT of a new session, without a keep-alive.
pub fn connect(client: &str) -> Vec<u8> {
    let mut packet = vec![0x10];
    put_length(12 + client.len(), &mut packet);
    packet.extend([0, 4]);
    packet.extend(b"MQTT");
    packet.extend([4, 2, 0, 0]);
    packet.extend(u16::try_from(client.len()).expect("a short name").to_be_bytes());
    packet.extend(client.as_bytes());
    packet
}

/// A PUBACK.
pub fn puback(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x40, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart_and_publishes_opened() {
        for size in [0, 1, 100, 200, 20_000, 70_000] {
            let payload = vec![7u8; size];
            let packet = message("a/b", &payload);
            assert_eq!(length(&packet), Some(packet.len()), "{size}");
            assert_eq!(length(&packet[..packet.len() - 1]), None, "{size}");
            assert_eq!(publish(&packet), Some((None, &payload[..])), "{size}");
        }
        let acknowledged = [0x32, 7, 0, 1, b'a', 1, 2, 9, 8];
        assert_eq!(publish(&acknowledged), Some((Some(258), &[9u8, 8][..])));
        assert_eq!(replaced(&acknowledged, &[9, 8]), acknowledged);
        assert_eq!(super::acknowledged("a", 258, &[9, 8]), acknowledged);
        let longer = replaced(&acknowledged, &[5; 300]);
        assert_eq!(length(&longer), Some(longer.len()));
        assert_eq!(publish(&longer), Some((Some(258), &[5u8; 300][..])));
        assert_eq!(publish(&puback(3)), None);
        assert_eq!(length(&[0x30]), None);
        assert_eq!(length(&connect("a-sensor")), Some(connect("a-sensor").len()));
    }
}
