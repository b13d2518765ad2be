//! An LDAP server's side of a connection, message by message (RFC 4511).
use std::{io::Read, net::TcpStream};

pub const BOUND: u8 = 0x61;
pub const FOUND: u8 = 0x65;

/// A request. Where it is not a valid LDAP message, what came at once.
pub fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend(&piece[..read]);
        let long = usize::from(bytes.get(1).filter(|long| **long > 0x7f).map_or(0, |long| long & 0x7f));
        let length = match long {
            0 => bytes.get(1).map(|short| usize::from(*short)),
            _ => bytes.get(2..2 + long).map(|all| all.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))),
        };
        if bytes[0] != 0x30 || length.is_some_and(|length| bytes.len() >= 2 + long + length) {
            return Some(bytes);
        }
    }
}

/// Tag, length in four bytes, contents.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len()).unwrap().to_be_bytes();
    [&[tag, 0x84], &length[..], contents].concat()
}

/// Sequences within each other.
pub fn nested(levels: u32) -> Vec<u8> {
    let heads = (1..levels).rev().map(|within| [&[0x30, 0x84], &(6 * within - 4).to_be_bytes()[..]].concat());
    heads.chain([vec![0x30, 0]]).flatten().collect()
}

/// The id of a request, which is below 128.
pub fn id(request: &[u8]) -> u8 {
    let at = if request[1] > 0x7f { 2 + usize::from(request[1] & 0x7f) } else { 2 };
    request[at + 2]
}

pub fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    element(0x30, &[&[0x02, 1, id], operation].concat())
}

/// The end of an operation that went well.
pub fn done(tag: u8) -> Vec<u8> {
    element(tag, &[0x0a, 1, 0, 0x04, 0, 0x04, 0])
}

/// An entry with attributes, each with its values.
pub fn entry(dn: &str, attributes: &[(&str, Vec<&str>)]) -> Vec<u8> {
    let text = |text: &str| element(0x04, text.as_bytes());
    let attribute = |(name, values): &(&str, Vec<&str>)| {
        let values: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        element(0x30, &[text(name), element(0x31, &values)].concat())
    };
    let attributes: Vec<u8> = attributes.iter().flat_map(attribute).collect();
    element(0x64, &[text(dn), element(0x30, &attributes)].concat())
}
