//! URIs of items: built and taken apart here and nowhere else.
//!
//! `file:///folder/name` and `s3://bucket/key`, every byte outside RFC 3986's unreserved set and `/` percent-encoded, so
//! that any file name (UTF-8 or not) and any object key has exactly one URI.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &b in bytes {
        if unreserved(b) || b == b'/' {
            text.push(char::from(b));
        } else {
            text.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]].map(char::from));
        }
    }
    text
}

/// `%XX` becomes the byte; a `%` that starts no such group stays.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let digit = |k: usize| bytes.get(k).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[i], digit(i + 1), digit(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (b, ..) => {
                out.push(b);
                i += 1;
            }
        }
    }
    out
}

/// URI of an absolute path.
pub fn of_file(path: &Path) -> String {
    format!("file://{}", encode(path.as_os_str().as_bytes()))
}

/// URI of an object. `key` is the plain key, not encoded.
pub fn of_object(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{}", encode(key.as_bytes()))
}

/// Where a URI points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    File(PathBuf),
    /// `key` is decoded; it may be empty (the whole bucket).
    Object {
        bucket: String,
        key: String,
    },
}

/// Takes a `file://` or `s3://` URI apart. `None` when it is neither, or has no bucket, or no absolute path, or a key
/// that is not UTF-8.
pub fn parse(uri: &str) -> Option<Address> {
    if let Some(path) = uri.strip_prefix("file://") {
        let path = path.strip_prefix("localhost").unwrap_or(path);
        path.starts_with('/').then(|| Address::File(PathBuf::from(OsStr::from_bytes(&decode(path)))))
    } else {
        let (bucket, key) = uri.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        let key = String::from_utf8(decode(key)).ok()?;
        (!bucket.is_empty()).then(|| Address::Object { bucket: bucket.to_owned(), key })
    }
}

/// The one spelling of an address.
pub fn of(address: &Address) -> String {
    match address {
        Address::File(path) => of_file(path),
        Address::Object { bucket, key } => of_object(bucket, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_has_one_uri_and_comes_back() {
        let odd = Path::new(OsStr::from_bytes(b"/a b/%41/\xff\xc3\xa9#?.dcm"));
        let uri = of_file(odd);
        assert_eq!(uri, "file:///a%20b/%2541/%FF%C3%A9%23%3F.dcm");
        assert_eq!(parse(&uri), Some(Address::File(odd.to_owned())));
        let uri = of_object("films", "2020/a b+c%.dcm");
        assert_eq!(uri, "s3://films/2020/a%20b%2Bc%25.dcm");
        assert_eq!(of(&parse(&uri).unwrap()), uri);
        assert_eq!(of(&parse("s3://films/2020/a b+c%.dcm").unwrap()), uri, "also from a sloppy spelling");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in ["http://x/y", "s3:///key", "file://host/x", "plain/path", ""] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
