//! Runs the opcodes that carry their value.

use super::cursor::refuse;
use super::cursor::{Cursor, Fault, Span};
use super::machine::Machine;
use super::value::Node;
use super::{integer, opcode as op};

impl Machine<'_> {
    /// Opcodes that hold a number or a constant.
    pub(super) fn scalar(&mut self, code: u8) -> Result<bool, Fault> {
        let cursor = &mut self.values.cursor;
        let node = match code {
            op::NONE => Node::None,
            op::NEWTRUE => Node::Bool(true),
            op::NEWFALSE => Node::Bool(false),
            op::BININT => Node::Int(i32::from_le_bytes(cursor.array()?).into()),
            op::BININT1 => Node::Int(cursor.byte()?.into()),
            op::BININT2 => Node::Int(u16::from_le_bytes(cursor.array()?).into()),
            op::LONG1 => {
                let len = cursor.byte()?;
                long(cursor, len.into())?
            }
            op::LONG4 => {
                let len = u32::from_le_bytes(cursor.array()?);
                long(cursor, len.into())?
            }
            op::INT | op::LONG => {
                let line = cursor.line()?;
                integer::from_text(cursor.bytes(line))
                    .ok_or_else(|| refuse("malformed pickle: a decimal integer is wanted"))?
            }
            op::BINFLOAT => Node::Float(f64::from_be_bytes(cursor.array()?)),
            op::FLOAT => {
                let line = cursor.line()?;
                let text = std::str::from_utf8(cursor.bytes(line)).ok();
                let value = text.and_then(|text| text.parse().ok());
                Node::Float(value.ok_or_else(|| refuse("malformed pickle: a float is wanted"))?)
            }
            _ => return Ok(false),
        };
        self.push(node)?;
        Ok(true)
    }

    /// Opcodes that hold text or bytes.
    pub(super) fn text(&mut self, code: u8) -> Result<bool, Fault> {
        let cursor = &mut self.values.cursor;
        let len = match code {
            op::SHORT_BINSTRING | op::SHORT_BINUNICODE | op::SHORT_BINBYTES => {
                cursor.byte()?.into()
            }
            op::BINSTRING | op::BINUNICODE | op::BINBYTES => {
                u32::from_le_bytes(cursor.array()?).into()
            }
            op::BINUNICODE8 | op::BINBYTES8 | op::BYTEARRAY8 => u64::from_le_bytes(cursor.array()?),
            op::STRING | op::UNICODE => {
                let line = cursor.line()?;
                let span = unquoted(cursor, line, code == op::STRING)?;
                self.push_text(span)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let span = cursor.take(len)?;
        match code {
            op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                self.push(Node::Bytes(span))?;
            }
            _ => self.push_text(span)?,
        }
        Ok(true)
    }
}

fn long(cursor: &mut Cursor<'_>, len: u64) -> Result<Node, Fault> {
    let span = cursor.take(len)?;
    Ok(integer::from_bytes(cursor.bytes(span)))
}

/// The content of a line of protocol 0, which torch does not write: escapes are refused, and so is `UNICODE`
/// beyond ASCII, which Python reads as Latin-1 and which would become another name here.
fn unquoted(cursor: &Cursor<'_>, line: Span, quotes: bool) -> Result<Span, Fault> {
    let bytes = cursor.bytes(line);
    let len = bytes.len();
    if bytes.contains(&b'\\') || !quotes && !bytes.is_ascii() {
        return Err(refuse(
            "text of protocol 0 with escapes or beyond ASCII; accepted: pickle protocols 2 to 5",
        ));
    }
    if !quotes {
        return Ok(line);
    }
    let quoted = len >= 2 && bytes[0] == bytes[len - 1] && matches!(bytes[0], b'\'' | b'"');
    if !quoted {
        return Err(refuse("malformed pickle: text without quotes"));
    }
    Ok(cursor.part(line, 1, len - 1))
}
