//! Decodes the integers of pickles.

use super::value::Node;

/// A two's complement of any length, least significant byte first.
pub fn from_bytes(bytes: &[u8]) -> Node {
    let sign = match bytes.last() {
        Some(last) if last & 0x80 != 0 => 0xff,
        _ => 0,
    };
    let mut all = [sign; 8];
    let len = bytes.len().min(8);
    all[..len].copy_from_slice(&bytes[..len]);
    let value = i64::from_le_bytes(all);
    let fits = bytes[len..].iter().all(|&byte| byte == sign);
    if fits && (value < 0) == (sign != 0) {
        Node::Int(value)
    } else {
        Node::BigInt
    }
}

/// A decimal of protocol 0: `00` and `01` are bools there, and `L` ends a long one.
pub fn from_text(text: &[u8]) -> Option<Node> {
    match text {
        b"00" => return Some(Node::Bool(false)),
        b"01" => return Some(Node::Bool(true)),
        _ => {}
    }
    let digits = text.strip_suffix(b"L").unwrap_or(text);
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    if magnitude.is_empty() || !magnitude.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    Some(text.parse().map_or(Node::BigInt, Node::Int))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(node: Node) -> Option<i64> {
        match node {
            Node::Int(value) => Some(value),
            _ => None,
        }
    }

    #[test]
    fn twos_complements_of_every_length() {
        assert_eq!(int(from_bytes(&[])), Some(0));
        assert_eq!(int(from_bytes(&[0xff])), Some(-1));
        assert_eq!(int(from_bytes(&[0xff, 0])), Some(255));
        assert_eq!(int(from_bytes(&i64::MIN.to_le_bytes())), Some(i64::MIN));
        let above = [0, 0, 0, 0, 0, 0, 0, 0x80, 0];
        assert_eq!(int(from_bytes(&above)), None);
        assert_eq!(int(from_bytes(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0])), Some(5));
        assert_eq!(int(from_bytes(&[0, 0, 0, 0, 0, 0, 0, 0, 1])), None);
    }

    #[test]
    fn decimals() {
        assert_eq!(from_text(b"-12L").and_then(int), Some(-12));
        assert!(matches!(from_text(b"01"), Some(Node::Bool(true))));
        assert!(matches!(
            from_text(b"99999999999999999999"),
            Some(Node::BigInt)
        ));
        assert!(from_text(b"").is_none() && from_text(b"1_0").is_none());
        assert!(from_text(b"--1").is_none());
    }
}
